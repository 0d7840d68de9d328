"""A month's costs are those of hand_ledger.md, which nobody's program computed."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from money.charges import month_charges
from money.exact import cents
from money.quantities import Part
from tests.money.books import FIVE_CONTRACTS, GB, GIB, book, hour, quantities

LEDGER = Path(__file__).with_name("hand_ledger.md").read_text()


def table(title):
    """Return a table's rows as mappings."""
    _, _, rest = LEDGER.partition(f"## {title}\n")
    lines = rest.partition("\n## ")[0].splitlines()
    begin = next(index for index, line in enumerate(lines) if line.startswith("---"))
    head = [cell.strip() for cell in lines[begin - 1].split("|")]
    rows = []
    for line in lines[begin + 1 :]:
        if line.strip():
            cells = [cell.strip() for cell in line.split("|")]
            rows.append(dict(zip(head, cells + [""] * (len(head) - len(cells)), strict=True)))
    return rows


def by_outcome(text):
    pairs = (each.split() for each in text.split(", ") if each)
    return {outcome: int(number) for outcome, number in pairs}


def as_book():
    rows = []
    for row in table("Traffic"):
        unit = GIB if row["vendor"] == "vendor-e" else GB
        sizes = {name: float(row[name]) * unit for name in ("delivered", "refused", "failed")}
        requests, tunnels = by_outcome(row["requests by outcome"]), by_outcome(row["tunnels"])
        if row["vendor"] == "vendor-e":
            plain = requests["success"] - tunnels["success"]
            sizes["delivered"] += 250 * tunnels["success"] + 60 * plain
        rows.append(
            (
                hour(row["hour"]),
                Part(row["vendor"], row["product"], row["team"], "shops"),
                quantities(
                    sent={name: size / 4 for name, size in sizes.items()},
                    received={name: size * 3 / 4 for name, size in sizes.items()},
                    requests=requests,
                    tunnels=tunnels,
                ),
            )
        )
    return book(rows, until=hour("2026-11-30 23"))


@pytest.fixture(scope="module")
def charges():
    return month_charges(as_book(), FIVE_CONTRACTS, 2026, 11).charges


def test_each_days_parts_cost_what_the_hand_says(charges):
    """Five kinds of contract, to the cent; days without traffic are nobody's."""
    computed, lost = defaultdict(Decimal), defaultdict(Decimal)
    for charge in charges:
        part = charge.part
        day = charge.day.isoformat() if part.team else "other days"
        key = (day, part.vendor, part.product, part.team, charge.kind)
        if charge.cost or charge.kind != "usage":
            computed[key] += charge.cost
            lost[key] += charge.failed_cost
    said = {
        (
            "other days" if "other" in row["day"] else row["day"],
            *(row[name] for name in ("vendor", "product", "team", "kind")),
        ): row
        for row in table("Costs of each day")
    }
    assert {key: str(cents(cost)) for key, cost in computed.items()} == {
        key: row["cost"] for key, row in said.items()
    }
    assert {key: str(cents(cost)) for key, cost in lost.items()} == {
        key: row["of it failed"] for key, row in said.items()
    }


def test_the_months_sums_are_those_of_the_hand(charges):
    """By vendor, product and team; euros and dollars apart."""
    sums = defaultdict(Decimal)
    for charge in charges:
        part = charge.part
        sums["vendor", part.vendor, charge.currency] += charge.cost
        sums["team", part.team, charge.currency] += charge.cost
        if part.product:
            sums["product", part.product, charge.currency] += charge.cost
    assert {key: str(cents(cost)) for key, cost in sums.items()} == {
        (row["by"], row["name"], row["currency"]): row["cost"]
        for row in table("Costs of the month")
    }
