"""Oxylabs' residential and mobile proxies: GB by sub-user, one request for each day.

developers.oxylabs.io/products/proxies/residential-proxies/public-api, November 2026: `/login` by
Basic gives a token for an hour; `target-stats` knows the last 30 days, `client-stats` this month
alone. `traffic` is in GB, and no page says of how many bytes: `usage.unit` has to.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from money.contract import GIGABYTES
from money.usage.account import Account, Credentials
from money.usage.asking import Client, basic
from money.usage.figures import DayOfUsage, Usage, UsageError, added_up, days_between

URL = "https://residential-api.oxylabs.io"
DAYS_KEPT = 30
CLOSE = Decimal("0.001")
"""Of the month: `client-stats` is asked some seconds after the days."""


def usage(account: Account, credentials: Credentials, start: date, end: date) -> Usage:
    """Ask for each sub-user that `products` names."""
    if not account.products:
        raise UsageError("usage.products: is missing; name Oxylabs' sub-users and their products")
    if not account.unit:
        raise UsageError("usage.unit: is missing, and Oxylabs counts in GB; write GB or GiB")
    today = datetime.now(UTC).date()
    if start < today - timedelta(days=DAYS_KEPT):
        raise UsageError(
            f"Oxylabs: keeps {DAYS_KEPT} days, and {start} is older; give a CSV file with FILE="
        )
    login = credentials.required_login("those of Oxylabs' main user")
    url = account.url or URL
    entered = Client("Oxylabs", url, basic(login)).post("/v2/login")
    client = Client("Oxylabs", url, f"Bearer {entered['token'].text()}")
    user = entered["user_id"].text()
    if not re.fullmatch(r"[\w.@-]{1,64}", user):
        raise entered["user_id"].refused("is no name of a user")
    size = GIGABYTES[account.unit]
    rows = [
        _day(client, user, sub_user, product, day, size)
        for sub_user, product in account.products.items()
        for day in days_between(start, end)
    ]
    return Usage(
        vendor=account.vendor,
        source="Oxylabs' API",
        start=start,
        end=end,
        time_zone=account.time_zone,
        rows=added_up(rows),
        notes=_others(client, user, rows, start, today, size),
    )


def _day(
    client: Client, user: str, sub_user: str, product: str, day: date, size: int
) -> DayOfUsage:
    path = f"/v2/users/{user}/sub-users/{sub_user}/target-stats"
    answer = client.get(path, date=str(day))
    traffic = answer["traffic"].number()
    requests = answer["requests"].whole()
    if requests and traffic * size / requests > 10**9:
        # 1 GB a request: no crawler does, and bytes in place of GB do.
        raise answer["traffic"].refused("is too much for its requests, as if it were in bytes")
    return DayOfUsage(day=day, product=product, bytes=traffic * size, requests=requests)


def _others(
    client: Client, user: str, rows: list[DayOfUsage], start: date, today: date, size: int
) -> list[str]:
    """Say what sub-users used this month that `products` does not name."""
    if start != today.replace(day=1):
        return []
    whole = client.get(f"/v2/users/{user}/client-stats")["traffic"].number() * size
    known = sum((row.bytes or Decimal(0) for row in rows), Decimal(0))
    if whole - known <= whole * CLOSE:
        return []
    return [
        f"{(whole - known) / size:.2f} {'GB' if size == 10**9 else 'GiB'} of this month are of "
        "today, or of sub-users that usage.products does not name"
    ]
