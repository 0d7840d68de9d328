"""Oxylabs' Web Unblocker: bytes by day, as text.

developers.oxylabs.io/products/web-unblocker/usage-statistics, November 2026: the user's name gets
`WU__` in front, `group_by=day` parts the answer, and traffic is in bytes. The page shows no grouped
answer: that `date` names a row's day is taken from the sister API, data.oxylabs.io/v2/stats.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from money.usage.account import Account, Credentials
from money.usage.answers import Answer
from money.usage.asking import Client, basic
from money.usage.figures import DayOfUsage, Usage, added_up, refuse_missing_days, with_empty_days

URL = "https://data.oxylabs.io"
PREFIX = "WU__"


def usage(account: Account, credentials: Credentials, start: date, end: date) -> Usage:
    """Ask for all traffic of a Web Unblocker user."""
    login = credentials.required_login("those of a Web Unblocker user")
    login = login if login.startswith(PREFIX) else f"{PREFIX}{login}"
    client = Client("Oxylabs", account.url or URL, basic(login))
    last = end - timedelta(days=1)
    answer = client.get("/v1/stats", group_by="day", date_from=str(start), date_to=str(last))
    if answer["meta"]["group_by"].text() != "day":
        raise answer["meta"].refused("is not grouped by day")
    product = next(iter(account.products.values()), "")
    rows = added_up(_day(one, product, start, end) for one in answer["data"]["sources"].elements())
    if account.skips_empty_days:
        rows = with_empty_days(rows, start, end)
    refuse_missing_days(rows, start, end, "Oxylabs")
    return Usage(
        vendor=account.vendor,
        source="Oxylabs' API",
        start=start,
        end=end,
        time_zone=account.time_zone,
        rows=rows,
    )


def _day(row: Answer, product: str, start: date, end: date) -> DayOfUsage:
    day = row["date"].day()
    if not start <= day < end:
        raise row["date"].refused(f"is not from {start} up to {end}")
    traffic = (row[name].whole(as_text=True) for name in ("request_traffic", "response_traffic"))
    return DayOfUsage(day=day, product=product, bytes=sum(traffic, Decimal()))
