"""Webshare: bytes and requests by hour.

apidocs.webshare.io/proxystats/list_stats, November 2026: hours without traffic are left out, 90
days are kept, and future hours come as projections (`is_projected`), which nobody used.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from money.usage.account import Account, Credentials
from money.usage.answers import Answer
from money.usage.asking import Client
from money.usage.figures import DayOfUsage, Usage, UsageError, added_up, with_empty_days

URL = "https://proxy.webshare.io"
DAYS_KEPT = 90


def usage(account: Account, credentials: Credentials, start: date, end: date) -> Usage:
    """Ask for each plan that `products` names, or for the account's own."""
    if start < datetime.now(UTC).date() - timedelta(days=DAYS_KEPT):
        raise UsageError(
            f"Webshare: keeps {DAYS_KEPT} days, and {start} is older; give a CSV file with FILE="
        )
    token = credentials.required_token("an API key of Webshare")
    client = Client("Webshare", account.url or URL, f"Token {token}")
    rows = [
        row
        for plan, product in (account.products or {"": ""}).items()
        for row in _hours(client, plan, product, start, end)
    ]
    return Usage(
        vendor=account.vendor,
        source="Webshare's API",
        start=start,
        end=end,
        rows=with_empty_days(added_up(rows), start, end),
    )


def _hours(client: Client, plan: str, product: str, start: date, end: date) -> list[DayOfUsage]:
    answer = client.get(
        "/api/v2/stats/",
        timestamp__gte=f"{start}T00:00:00Z",
        timestamp__lte=f"{end - timedelta(days=1)}T23:59:59Z",
        **({"plan_id": plan} if plan else {}),
    )
    hours: dict[datetime, DayOfUsage] = {}
    for one in answer.elements():
        if one["is_projected"].value is not False:
            if one["is_projected"].value is not True:
                raise one["is_projected"].refused("is neither true nor false")
            continue
        hour = _hour(one, start, end)
        if hour in hours:
            raise one["timestamp"].refused("is there twice")
        hours[hour] = DayOfUsage(
            day=hour.date(),
            product=product,
            bytes=one["bandwidth_total"].whole(),
            requests=one["requests_total"].whole(),
        )
    none = Decimal(0)
    return list(hours.values()) or [
        DayOfUsage(day=start, product=product, bytes=none, requests=none)
    ]


def _hour(row: Answer, start: date, end: date) -> datetime:
    hour = row["timestamp"].moment().astimezone(UTC)
    if (hour.minute, hour.second, hour.microsecond) != (0, 0, 0):
        raise row["timestamp"].refused("is no full hour of UTC")
    if not start <= hour.date() < end:
        raise row["timestamp"].refused(f"is not from {start} up to {end}")
    return hour
