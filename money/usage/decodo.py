"""Decodo: bytes by day for each type of proxy. No cost, no documented schema.

As public clients use it (November 2026): POST `/api/v2/statistics/traffic` with the key bare in the
header, times in UTC; rows have `grouping_key` and `rx_tx_bytes`, and the sum is `total_rx_tx`,
either in `metadata` or in its `totals`. A row that is missing shows in that sum.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from money.usage.account import Account, Credentials
from money.usage.answers import Answer
from money.usage.asking import Client
from money.usage.figures import DayOfUsage, Usage, added_up, with_empty_days

URL = "https://api.decodo.com"
TYPES = {"residential_proxies": ""}
"""Without `products`: the only type that is known, for all of the vendor's traffic."""

PAGE = 500


def usage(account: Account, credentials: Credentials, start: date, end: date) -> Usage:
    """Ask for each type of proxy that `products` names."""
    token = credentials.required_token("an API key of Decodo")
    client = Client("Decodo", account.url or URL, token)
    rows = [
        row
        for kind, product in (account.products or TYPES).items()
        for row in _days(client, kind, product, start, end)
    ]
    return Usage(
        vendor=account.vendor,
        source="Decodo's API",
        start=start,
        end=end,
        rows=with_empty_days(added_up(rows), start, end),
    )


def _days(client: Client, kind: str, product: str, start: date, end: date) -> list[DayOfUsage]:
    body = {
        "proxyType": kind,
        "startDate": f"{start} 00:00:00",
        "endDate": f"{end - timedelta(days=1)} 23:59:59",
        "groupBy": "day",
        "limit": PAGE,
        "page": 1,
        "sortBy": "grouping_key",
        "sortOrder": "asc",
    }
    answer = client.post("/api/v2/statistics/traffic", body)
    rows = [_day(one, product, start, end) for one in answer["data"].elements()]
    if len({row.day for row in rows}) != len(rows):
        raise answer["data"].refused("has a day twice")
    totals = answer["metadata"]
    if "total_rx_tx" not in totals:
        totals = totals["totals"]
    total = totals["total_rx_tx"].whole()
    found = sum((row.bytes or Decimal(0) for row in rows), Decimal(0))
    if total != found:
        raise answer["data"].refused(f"adds up to {found} bytes, and its total is {total}")
    # Also where there was no traffic at all.
    return rows or [DayOfUsage(day=start, product=product, bytes=Decimal(0))]


def _day(row: Answer, product: str, start: date, end: date) -> DayOfUsage:
    day = row["grouping_key"].day()
    if not start <= day < end:
        raise row["grouping_key"].refused(f"is not from {start} up to {end}")
    return DayOfUsage(day=day, product=product, bytes=row["rx_tx_bytes"].whole())
