"""Ask vendors from a pod: accounts from a ConfigMap, credentials from mounted Secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path

from money.usage.account import Account, Credentials
from money.usage.apis import usage_of

Ask = Callable[[date, date], Mapping[date, float]]
"""Returns a vendor's bytes by day, from a day to before another."""


def accounts_json(accounts: Iterable[Account]) -> str:
    """Return accounts as text; nothing of them is secret."""
    return json.dumps([asdict(one) for one in accounts], indent=1, sort_keys=True)


def asks_of(accounts: str, secrets: Path) -> dict[str, Ask]:
    """Return how to ask each vendor.

    Args:
        accounts: as `accounts_json` writes them.
        secrets: a folder for each vendor, with the files `token`, or `username` and `password`.
            They are read at each question, so that a new password needs no restart.

    Raises:
        ValueError: the accounts are something else.
    """
    try:
        known = [Account(**one) for one in json.loads(accounts)]
    except TypeError as error:
        raise ValueError(f"holds no accounts ({error})") from None
    return {account.vendor: _ask_of(account, secrets / account.vendor) for account in known}


def _ask_of(account: Account, folder: Path) -> Ask:
    def ask(start: date, end: date) -> Mapping[date, float]:
        found = {name: _content(folder / name) for name in ("token", "username", "password")}
        return usage_of(account, Credentials(**found), start, end).daily_bytes()

    return ask


def _content(file: Path) -> str:
    # A newline at its end comes from an editor, and belongs to no password.
    return file.read_text(encoding="utf-8").rstrip("\r\n") if file.is_file() else ""
