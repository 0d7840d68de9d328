"""Bright Data: bytes by day and zone, and what a zone cost.

docs.brightdata.com/api-reference/account-management-api, November 2026: `/zone/bw` answers with
arrays by day, and `/zone/cost` with the cost as invoiced. In both `to` is exclusive: the sample of
2022-10-01 to 2022-11-23 has 53 elements. Days are of UTC. A token may ask once a second.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from money.usage.account import Account, Credentials
from money.usage.answers import Answer
from money.usage.asking import Client
from money.usage.figures import DayOfUsage, Usage, UsageError, added_up

URL = "https://api.brightdata.com"
REQUESTS = ("http_direct_req", "https_direct_req", "http_svc_req", "https_svc_req")
"""Which of them an answer has depends on the zone's type."""

CLOSE = Decimal("0.001")
"""How far the bytes of both pages may differ: one is read a second after the other."""


def usage(account: Account, credentials: Credentials, start: date, end: date) -> Usage:
    """Ask for each zone that `products` names."""
    if not account.products:
        raise UsageError("usage.products: is missing; name Bright Data's zones and their products")
    token = credentials.required_token("an API key of Bright Data")
    client = Client("Bright Data", account.url or URL, f"Bearer {token}", pause_seconds=1.0)
    rows: list[DayOfUsage] = []
    costs: dict[str, Decimal] = {}
    for zone, product in account.products.items():
        days = _days(client, zone, product, start, end)
        cost = _cost(client, zone, start, end, sum((row.bytes or Decimal(0)) for row in days))
        rows += days
        costs[product] = costs.get(product, Decimal(0)) + cost
    return Usage(
        vendor=account.vendor,
        source="Bright Data's API",
        start=start,
        end=end,
        rows=added_up(rows),
        currency="USD",
        costs=costs,
    )


def _days(client: Client, zone: str, product: str, start: date, end: date) -> list[DayOfUsage]:
    span = {"from": f"{start}T00:00:00", "to": f"{end}T00:00:00"}
    answer = client.get("/zone/bw", zone=zone, **span).only()
    if (answer["from"].day(), answer["to"].day()) != (start, end):
        raise answer.refused(f"is of another span than {start} to {end}")
    data = answer["data"][zone]
    length = (end - start).days
    sums = _by_day(data["bw_sum"], length)
    counted = [_by_day(data[name], length) for name in REQUESTS if name in data]
    return [
        DayOfUsage(
            day=start + timedelta(days=number),
            product=product,
            bytes=sums[number],
            requests=sum((one[number] for one in counted), Decimal(0)) if counted else None,
        )
        for number in range(length)
    ]


def _by_day(array: Answer, length: int) -> list[Decimal]:
    found = [one.whole() for one in array.elements()]
    if len(found) != length:
        raise array.refused(f"has {len(found)} days, and the span has {length}")
    return found


def _cost(client: Client, zone: str, start: date, end: date, days: Decimal | int) -> Decimal:
    span = {"from": str(start), "to": str(end)}
    custom = client.get("/zone/cost", zone=zone, **span).only()["custom"]
    if "bw" in custom:
        whole = custom["bw"].whole()
        if abs(whole - days) > max(whole, Decimal(days)) * CLOSE:
            raise custom["bw"].refused(f"is {whole}, and the days add up to {days}")
    return custom["cost"].number()
