"""A reconciliation as text, page, CSV, JSON, and the invoice itself as FOCUS columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from money.charges import Charge, Month
from money.contract import Contract
from money.quantities import Part
from money.reconcile.compare import sentence
from money.reconcile.findings import BytesOfVendor, DayLine, Finding, Reconciliation
from money.reconcile.prices import contract_costs
from money.report.csv_text import Cell, csv_text
from money.report.focus import focus_csv
from money.report.html import Markup, document, facts, html, paragraph, table
from money.usage.figures import Usage

COLUMNS = (
    *("day", "product", "measure", "metered", "expected", "billed", "difference"),
    *("hours_without_data", "cost", "contract_cost", "currency", "remark"),
)
HEADING = ("Day", "Product", "Metered", "Billed", "Difference", "Cost", "By contract", "Remark")


def text_lines(found: Reconciliation) -> list[str]:
    """Return the verdict, why, and the days that differ."""
    lines = [sentence(found), *([explained(found.bytes)] if found.bytes else []), ""]
    for one in found.findings:
        kind = "do not pay" if one.is_defect else "no reason to wait"
        about = f" ({found.currency} {one.amount:.2f})" if one.amount else ""
        lines.append(f"  {kind}: {one.text}{about}")
    odd = [line for line in found.lines if line.remark]
    if odd:
        lines += ["", f"  {'day':<12}{'product':<16}{'metered':>14}{'billed':>14}{'differs':>9}"]
        lines += [
            f"  {line.day!s:<12}{line.product or '-':<16}{size(line.expected, line):>14}"
            f"{size(line.billed, line):>14}{difference(line):>9}  {line.remark}"
            for line in odd
        ]
    return lines if found.findings else lines[:-1]


def explained(found: BytesOfVendor) -> str:
    """Say why billed bytes are fewer than those on the wire."""
    wire, free, overhead, billable = (
        f"{one / 10**9:,.2f} GB"
        for one in (found.measured, found.free, found.overhead, found.billable)
    )
    return (
        f"Crawlers used {wire} of wire bytes; by the contract {free} of them are free and "
        f"{overhead} overhead, so that {billable} are billable."
    )


def size(quantity: float, line: DayLine) -> str:
    if line.measure == "requests":
        return f"{quantity:,.0f}"
    return f"{quantity / 10**9:,.3f} GB"


def difference(line: DayLine) -> str:
    if not line.expected:
        return "new" if line.billed else "0.0 %"
    share = round(100 * (line.billed / line.expected - 1), 1)
    return f"{share + 0.0:+.1f} %"


def as_json(found: Reconciliation) -> dict[str, Any]:
    """Return the report of `make reconcile`; status 1 is: do not pay."""

    def money(amount: Decimal | None) -> str | None:
        return None if amount is None else f"{amount:.2f}"

    def said(one: Finding) -> dict[str, Any]:
        return {
            "kind": one.kind,
            "text": one.text,
            "defect": one.is_defect,
            "product": one.product,
            "days": [str(day) for day in one.days],
            "amount": money(one.amount),
        }

    return {
        "status": 0 if found.pay else 1,
        "findings": [f"{found.vendor}: {one.text}" for one in found.defects],
        "vendor": found.vendor,
        "month": f"{found.start:%Y-%m}",
        "source": found.source,
        "sentence": sentence(found),
        "pay": found.pay,
        "currency": found.currency,
        "cost": money(found.cost),
        "contractCost": money(found.contract_cost),
        "bytes": found.bytes
        and {
            "wire": round(found.bytes.measured),
            "free": round(found.bytes.free),
            "overhead": round(found.bytes.overhead),
            "billable": round(found.bytes.billable),
        },
        "differences": [said(one) for one in found.findings],
        "days": [
            {
                "day": str(line.day),
                "product": line.product,
                "measure": line.measure,
                "metered": round(line.metered),
                "expected": round(line.expected),
                "billed": round(line.billed),
                "hoursWithoutData": round(line.hours_without_data, 2),
                "cost": money(line.cost),
                "contractCost": money(line.contract_cost),
                "remark": line.remark,
            }
            for line in found.lines
        ],
    }


def as_csv(found: Reconciliation) -> str:
    """Return a line for each day and product."""

    def cells(line: DayLine) -> Sequence[Cell]:
        share = f"{line.billed / line.expected - 1:.4f}" if line.expected else None
        return (
            *(str(line.day), line.product, line.measure),
            *(round(line.metered), round(line.expected), round(line.billed)),
            Decimal(share) if share else None,
            Decimal(f"{line.hours_without_data:.2f}"),
            *(line.cost, line.contract_cost, found.currency, line.remark),
        )

    return csv_text(COLUMNS, map(cells, found.lines))


def as_html(found: Reconciliation) -> str:
    """Return a page that loads nothing."""
    return document(f"Invoice of {found.vendor}, {found.start:%B %Y}", _parts(found))


def _parts(found: Reconciliation) -> Iterator[str]:
    yield f"<h1>{html(f'Is the invoice of {found.vendor} right? {found.start:%B %Y}')}</h1>"
    yield paragraph(sentence(found), "" if found.pay else "warn")
    if found.bytes:
        yield paragraph(explained(found.bytes))
    yield facts(
        [
            ("Asked for", _money(found, found.cost), found.source),
            ("By the contract", _money(found, found.contract_cost), "of the billed quantities"),
            ("In question", _money(found, found.in_question), "of what is asked for"),
        ]
    )
    if found.findings:
        yield "<h2>Differences</h2>"
        yield table(
            ("", "What", found.currency or "Money"),
            [
                (
                    "Do not pay" if one.is_defect else "Explained",
                    one.text,
                    f"{one.amount:,.2f}" if one.amount else "",
                )
                for one in found.findings
            ],
            words=2,
        )
    yield "<h2>Day by day</h2>"
    yield table(HEADING, map(_row, found.lines), words=2)


def _row(line: DayLine) -> Sequence[str]:
    return (
        Markup(f'<span style="white-space: nowrap">{line.day}</span>'),
        line.product,
        size(line.expected, line),
        size(line.billed, line),
        difference(line),
        "" if line.cost is None else f"{line.cost:,.2f}",
        "" if line.contract_cost is None else f"{line.contract_cost:,.2f}",
        line.remark,
    )


def _money(found: Reconciliation, amount: Decimal | None) -> str:
    return "not said" if amount is None else f"{found.currency} {amount:,.2f}".strip()


def as_focus(usage: Usage, contracts: Sequence[Contract]) -> str | None:
    """Return the invoice as a FOCUS dataset: each day and product as the vendor bills it.

    A day without a cost of its own has that which the contract makes of it. None where neither is
    known.
    """
    own = [one for one in contracts if one.vendor == usage.vendor]
    computed = contract_costs(usage.vendor, usage.rows, own)
    charges = []
    for row in usage.rows:
        cost = row.cost
        if cost is None and computed:
            cost = computed.usage[row.day, row.product]
        if cost is None:
            return None
        by_bytes = row.requests is None or bool(row.bytes)
        quantity = (row.bytes or Decimal(0)) / 10**9 if by_bytes else row.requests
        charges.append(
            Charge(
                day=row.day,
                part=Part(usage.vendor, row.product, "", ""),
                kind="usage",
                currency=usage.currency or own[0].currency,
                cost=cost,
                quantity=quantity or Decimal(0),
                unit="GB" if by_bytes else "request",
                failed_cost=Decimal(0),
            )
        )
    month = Month(year=usage.start.year, month=usage.start.month, charges=charges, without_price=())
    return focus_csv(month)
