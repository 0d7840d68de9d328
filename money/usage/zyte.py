"""Zyte API: requests, cost and billed bytes by day.

docs.zyte.com/zyte-api/usage/stats, November 2026: Basic with the dashboard's key (not the Zyte API
key) as user name; at most 500 rows a page; 20 calls a minute; days without requests have no row;
`/api/stats` is for organizations billed in USD. Decimals are text in the samples and numbers in the
OpenAPI schema. `billed_traffic_bytes` is only what is charged by the GB, mostly nothing.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from money.usage.account import Account, Credentials
from money.usage.answers import Answer
from money.usage.asking import Client, basic
from money.usage.figures import DayOfUsage, Usage, UsageError, with_empty_days

URL = "https://zyte-api-stats.zyte.com"
PAGE = 500
MICRO = Decimal(10**6)
PAUSE_SECONDS = 3.0


def usage(account: Account, credentials: Credentials, start: date, end: date) -> Usage:
    """Ask for an organization's days."""
    if not account.organization.isdecimal():
        raise UsageError(
            "usage.organization: is no number; copy it from the address of Zyte's dashboard"
        )
    token = credentials.required_token("a key of Zyte's dashboard, not of Zyte API")
    client = Client("Zyte", account.url or URL, basic(f"{token}:"), pause_seconds=PAUSE_SECONDS)
    product = next(iter(account.products.values()), "")
    rows = _pages(client, account.organization, product, start, end)
    return Usage(
        vendor=account.vendor,
        source="Zyte's API",
        start=start,
        end=end,
        rows=with_empty_days(rows or [_nothing(start, product)], start, end),
        currency="USD",
    )


def _pages(
    client: Client, organization: str, product: str, start: date, end: date
) -> list[DayOfUsage]:
    rows: dict[date, DayOfUsage] = {}
    listed, page = 0, 1
    while True:
        answer = client.get(
            "/api/stats",
            organization_id=organization,
            groupby_time="day",
            start_time=f"{start}T00:00:00Z",
            end_time=f"{end - timedelta(days=1)}T23:59:59Z",
            page=str(page),
            page_size=str(PAGE),
        )
        results = answer["results"].elements()
        for one in results:
            row = _day(one, organization, product, start, end)
            if row.day in rows:
                raise one["day"].refused("is there twice")
            rows[row.day] = row
        listed, page = listed + len(results), page + 1
        total = answer["total_result_count"].whole()
        if listed >= total:
            break
        if not results:
            raise answer.refused(f"has {listed} of {total} rows")
    if listed != total:
        raise answer.refused(f"has {listed} rows, and says {total}")
    return list(rows.values())


def _day(row: Answer, organization: str, product: str, start: date, end: date) -> DayOfUsage:
    if str(row["organization_id"].whole()) != organization:
        raise row["organization_id"].refused("is another organization")
    day = row["day"].day()
    if not start <= day < end:
        raise row["day"].refused(f"is not from {start} up to {end}")
    return DayOfUsage(
        day=day,
        product=product,
        bytes=row["billed_traffic_bytes"].whole(),
        requests=row["request_count"].whole(),
        cost=row["cost_microusd_total"].number(as_text=True) / MICRO,
    )


def _nothing(day: date, product: str) -> DayOfUsage:
    none = Decimal(0)
    return DayOfUsage(day=day, product=product, bytes=none, requests=none, cost=none)
