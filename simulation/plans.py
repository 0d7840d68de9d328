"""Checks of a plan's JSON, one value at a time; every finding names key, value, reason and fix."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

EVERY_ADDRESS = "*"
# What stands between a user and an address; a key that is not known, or a variable's name that is
# none, is often a password in the wrong place.
PASSWORD = re.compile(r'([^\s":/@]+):(?!//)[^\s"]+@')
SECRET_KEY = re.compile(r"pass|secret|token|credential|login|auth|proxy|url", re.IGNORECASE)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_SHOWN = 400
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,199}")
Json = dict[str, object]
T = TypeVar("T")
U = TypeVar("U")


class PlanError(Exception):
    """Every finding in a plan, one line each: key, value, reason, fix.

    None holds a password of an address like `me:password@10.1.0.10`, or what moves a terminal.
    """

    def __init__(self, findings: list[str]) -> None:
        self.findings = [_printable(PASSWORD.sub(r"\1:***@", finding)) for finding in findings]
        super().__init__("\n".join(self.findings))


class SecretValueError(ValueError):
    """A value that may be a secret: the finding must not hold it."""


def _printable(finding: str) -> str:
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in finding)


def shown(value: object) -> str:
    """As JSON, of a bearable length."""
    whole_of_it = json.dumps(value)
    return whole_of_it if len(whole_of_it) <= MAX_SHOWN else whole_of_it[: MAX_SHOWN - 1] + "…"


def whole(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"is out of range: give a whole number from {low} to {high}")
        return value

    return check


def number(low: float, high: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        if type(value) not in (int, float) or not low <= cast(float, value) <= high:
            raise ValueError(f"is out of range: give a number from {low:g} to {high:g}")
        return float(cast(float, value))

    return check


def or_null(check: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else check(value)


def text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is not a text: give a non-empty string")
    if not encodable(value):
        raise ValueError("is no text in UTF-8: write it anew")
    return value


def encodable(value: str) -> bool:
    """Whether UTF-8 has it: not half a character out of JSON, or of a variable's odd bytes."""
    return not any("\ud800" <= each <= "\udfff" for each in value)


def variable(value: object) -> str:
    """The name of a variable; what is none may be its secret content."""
    if not isinstance(value, str) or not VARIABLE.fullmatch(value):
        raise SecretValueError("is no name of a variable: give the name, not what it holds")
    return value


def name(value: object) -> str:
    """What may stand in a label and in a host name as it is."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("is not a name: give letters, digits, hyphens and dots")
    return value


def address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(text(value)))
    except ValueError:
        raise ValueError("is not an IP address: give one such as 10.1.0.10") from None


def address_or_all(value: object) -> str:
    """Where to listen; "*" is every address of both families: "::" is IPv6 alone."""
    return EVERY_ADDRESS if value == EVERY_ADDRESS else address(value)


def host_to_bind(where: str) -> str | None:
    """Return it as asyncio takes it."""
    return None if where == EVERY_ADDRESS else where


def anything(value: object) -> object:
    return value


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false: give one of them")
    return value


def one_of(known: Sequence[str]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"is unknown: use {' or '.join(known)}")
        return value

    return check


def some_objects(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("is not a list of objects: give [{...}], or leave it out")
    return value


def objects(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError("is not a list of objects: give at least one entry")
    return value


def mapping(value: object) -> Json:
    if not isinstance(value, dict):
        raise ValueError('is not an object: give {"name": ...}')
    return value


def shares(known: Sequence[str]) -> Callable[[object], dict[str, float]]:
    """A check for {"name": share}: names out of `known`, shares 0 to 1, together at most 1."""

    def check(value: object) -> dict[str, float]:
        if not isinstance(value, dict):
            raise ValueError('is not an object: give {"' + known[0] + '": 0.1}')
        for key, share in value.items():
            if key not in known:
                raise ValueError(f"names {key}: use {', '.join(known)}")
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise ValueError(f"gives {key} {json.dumps(share)}: a share is from 0 to 1")
        if sum(value.values()) > 1 + 1e-9:
            raise ValueError(f"sums to {sum(value.values()):g}: shares are at most 1 together")
        return {key: float(share) for key, share in value.items()}

    return check


class Section:
    """One JSON object of the plan; `take` reads a key and notes a finding where it is bad."""

    def __init__(self, raw: object, path: str, findings: list[str], known: Sequence[str]) -> None:
        self._path, self._findings = path, findings
        self._raw: Json = raw if isinstance(raw, dict) else {}
        if not isinstance(raw, dict):
            self.note("", raw, "is not an object: give {" + ", ".join(known) + "}")
        for key in self._raw.keys() - set(known):
            near = difflib.get_close_matches(key, known, 1)
            fix = near[0] if near else f"one of {', '.join(known)}"
            reason = f"is an unknown key: use {fix}"
            if SECRET_KEY.search(key):
                self._note_secret(key, reason)
            else:
                self.note(key, self._raw[key], reason)

    def note(self, key: str, value: object, reason: str) -> None:
        self._findings.append(f"{self._where(key)}: {shown(value)} {reason}")

    def _note_secret(self, key: str, reason: str) -> None:
        self._findings.append(f"{self._where(key)}: (its value is not shown) {reason}")

    def _where(self, key: str) -> str:
        return f"{self._path}.{key[:MAX_SHOWN]}".strip(".") or "plan"

    def given(self, key: str) -> object:
        return self._raw.get(key)

    def take(
        self, key: str, check: Callable[[object], U], default: T, *, required: bool = False
    ) -> T | U:
        if key not in self._raw:
            if required:
                self._findings.append(f"{self._path}.{key}: is missing: add it".lstrip("."))
            return default
        try:
            return check(self._raw[key])
        except SecretValueError as reason:
            self._note_secret(key, str(reason))
            return default
        except ValueError as reason:
            self.note(key, self._raw[key], str(reason))
            return default
