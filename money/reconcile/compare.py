"""Compare a vendor's figures with the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cached_property
from math import fsum

from money.charges import ANY_BYTES
from money.contract import GIGABYTES, Contract
from money.quantities import Book, Part
from money.reconcile.days import OFFSET, Month, OddDay, odd_days
from money.reconcile.findings import DayLine, Finding, Measure, ReconcileError, Reconciliation
from money.reconcile.metered import Metered, zone_of
from money.reconcile.prices import asked_cost, contract_costs, price_findings, span
from money.reconcile.readings import Reading, chosen, readings
from money.usage.figures import DayOfUsage, Usage, days_between

LEAST_DAYS_KNOWN = 0.5
"""With data of fewer of the days, nothing can be said of how the vendor counts."""

REMARKS = {
    "billed_more": "billed more",
    "billed_less": "billed less",
    "not_billed": "not billed",
    "day_twice": "billed twice",
    "foreign_traffic": "no crawler sent it",
    "moved": "booked on another day",
    "without_data": "hours without data",
}


def reconcile(usage: Usage, book: Book, contracts: Sequence[Contract]) -> Reconciliation:
    """Compare a month.

    Args:
        book: The ledger of the month, and of a day before and after it: the vendor's days may be
            of another time zone.

    Raises:
        ReconcileError: there is nothing to compare.
    """
    own = [one for one in contracts if one.vendor == usage.vendor]
    compared = Compared(usage=usage, book=book, contracts=own)
    series = list(compared.series())
    if not series:
        raise ReconcileError(
            f"{usage.source}: has neither bytes nor requests that the contract of {usage.vendor} "
            "charges for"
        )
    findings = [finding for one in series for finding in compared.findings_of(one)]
    findings += compared.findings_of_prices() + compared.notes()
    costs = contract_costs(usage.vendor, usage.rows, own)
    return Reconciliation(
        vendor=usage.vendor,
        source=usage.source,
        start=usage.start,
        end=usage.end,
        currency=usage.currency or compared.currency,
        lines=[line for one in series for line in compared.lines_of(one)],
        findings=findings,
        cost=asked_cost(usage),
        contract_cost=costs.total if costs else None,
        bytes=compared.metered.bytes_of(
            days_between(usage.start, usage.end), zone_of(usage.time_zone)
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Series:
    """One product's month, by one measure."""

    product: str
    measure: Measure
    unit: str
    month: Month
    contract: Reading
    odd: Sequence[OddDay]
    is_charged: bool
    """Whether the quantity costs something: of rented addresses the bytes do not."""

    def size(self, quantity: float) -> str:
        """Write a quantity in the contract's unit."""
        if self.measure == "requests":
            return f"{quantity:,.0f} requests"
        amount = quantity / GIGABYTES[self.unit]
        return f"{amount:,.{2 if abs(amount) >= 0.1 else 5}f} {self.unit}"

    @property
    def of_product(self) -> str:
        return f" of {self.product}" if self.product else ""

    def explained(self, odd: Sequence[OddDay], text: str) -> Finding:
        """Return a difference that is no reason not to pay."""
        days = [one.day for one in odd]
        said = f"{span(days)}{self.of_product}: {text}"
        return Finding(kind=odd[0].kind, text=said, product=self.product, days=days)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Both sides of a month."""

    usage: Usage
    book: Book
    contracts: Sequence[Contract]

    @property
    def currency(self) -> str:
        return next((one.currency for one in self.contracts), "")

    @cached_property
    def metered(self) -> Metered:
        return Metered(book=self.book, vendor=self.usage.vendor, contracts=self.contracts)

    def series(self) -> Iterator[Series]:
        """Yield each product by what its contract charges for."""
        days = days_between(self.usage.start, self.usage.end)
        zone = zone_of(self.usage.time_zone)
        for product in self.usage.products:
            rows = {row.day: row for row in self.usage.rows if row.product == product}
            listed = {day: row.listed for day, row in rows.items()}
            # Without products of its own, the vendor's figures are of all its traffic.
            whose = product if self.usage.products != [""] else None
            part = Part(self.usage.vendor, product, "", "")
            by_bytes = self.metered.rule(part, self.usage.start, "bytes")
            for measure in self._measures(product, rows):
                billed = {day: float(getattr(row, measure)) for day, row in rows.items()}
                found = list(readings(self.metered, whose, measure, days, zone))
                self._refuse_unknown(found[0])
                month = Month(reading=chosen(found, billed), billed=billed, listed=listed)
                rule = self.metered.rule(part, self.usage.start, measure)
                yield Series(
                    product=product,
                    measure=measure,
                    unit=by_bytes.unit if by_bytes else "GB",
                    month=month,
                    contract=found[0],
                    odd=odd_days(month),
                    is_charged=not self.contracts or rule not in (None, ANY_BYTES),
                )

    def _measures(self, product: str, rows: Mapping[date, DayOfUsage]) -> list[Measure]:
        kinds = {
            rule.kind
            for one in self.contracts
            if one.product in (product, "")
            for rule in one.rules
        }
        found: list[Measure] = []
        by_request = not kinds.isdisjoint({"perRequest", "perSuccess"})
        if by_request and all(row.requests is not None for row in rows.values()):
            found.append("requests")
        # Of a vendor that charges by request the bytes are no matter: Zyte's are mostly 0.
        if ("perGB" in kinds or not by_request) and all(
            row.bytes is not None for row in rows.values()
        ):
            found.append("bytes")
        return found

    def _refuse_unknown(self, reading: Reading) -> None:
        known = [day for day in reading.days.values() if day.hours_without_data < 12]
        if len(known) < LEAST_DAYS_KNOWN * len(reading.days):
            raise ReconcileError(
                f"the ledger has data of {len(known)} of {len(reading.days)} days, which is too "
                f"little to judge {self.usage.vendor} by"
            )

    def findings_of(self, series: Series) -> Iterator[Finding]:
        """Yield what is to be said of a product's quantities."""
        yield from self._of_month(series)
        by_kind: dict[str, list[OddDay]] = {}
        for one in series.odd:
            by_kind.setdefault(one.kind, []).append(one)
        for one in by_kind.pop("without_data", []):
            hours = series.month.reading.days[one.day].hours_without_data
            yield series.explained(
                [one],
                f"the ledger lacks {hours:.1f} h, so {series.size(one.excess)} cannot be checked",
            )
        for kind, days in by_kind.items():
            if kind == "moved":
                yield series.explained(days, "what one day has too much, the day beside it lacks")
            elif kind == "billed_less":
                excess = series.size(-fsum(one.excess for one in days))
                yield series.explained(days, f"{excess} less billed than metered")
            else:
                for one in days:
                    yield self._odd_day(series, one)

    def _of_month(self, series: Series) -> Iterator[Finding]:
        """Yield how the whole month was counted, if not as the contract says."""
        month, reading = series.month, series.month.reading
        of = f"{series.product}: " if series.product else ""
        billed = fsum(month.billed.values())
        due = fsum(series.contract.expected(day) for day in month.billed)
        excess = billed - due
        if reading.kind is not None:
            more = f"{series.size(abs(excess))} {'more' if excess > 0 else 'less'}"
            costs_more = (
                series.is_charged and reading.kind != "time_zone" and excess > OFFSET / 4 * due
            )
            text = f"{of}{self.usage.vendor} {reading.says}: {more} in the month"
            if reading.kind == "time_zone":
                text = (
                    f"{of}{self.usage.vendor} {reading.says}, and not in {self.usage.time_zone}: "
                    "set usage.timeZone"
                )
            yield Finding(
                kind=reading.kind,
                text=text,
                is_defect=costs_more,
                product=series.product,
                amount=self._worth(series, {day: reading.expected(day) for day in month.billed})
                if costs_more
                else Decimal(0),
            )
        elif abs(month.offset) > OFFSET:
            is_more = month.offset > 0
            why = "which costs nothing by the contract"
            if series.is_charged:
                why = "and no usual way of counting explains it"
            yield Finding(
                kind="billed_more" if is_more else "billed_less",
                text=f"{of}all days are billed about {percent(abs(month.offset))} "
                f"{'more' if is_more else 'less'} than metered, {why}",
                is_defect=series.is_charged and is_more,
                product=series.product,
                amount=self._worth(series, month.billed) if is_more else Decimal(0),
            )

    def _odd_day(self, series: Series, one: OddDay) -> Finding:
        of = series.of_product
        billed, due = series.month.billed[one.day], series.month.expected(one.day)
        both = f"{series.size(billed)} billed, {series.size(due)} metered"
        texts = {
            "billed_more": f"{one.day}{of} is billed {percent(one.share)} too high: {both}",
            "not_billed": f"{one.day}{of} is not billed: {both}",
            "day_twice": f"{one.day}{of} is billed {billed / due if due else 2:.0f} times: {both}",
            "foreign_traffic": (
                f"{one.day}{of} has {series.size(one.excess)} that no crawler sent: {both}; if "
                "nobody else uses these credentials, they are stolen: change the password"
            ),
        }
        is_defect = one.excess > 0 and (series.is_charged or one.kind == "foreign_traffic")
        instead = {**series.month.billed, one.day: due}
        return Finding(
            kind=one.kind,
            text=texts[one.kind],
            is_defect=is_defect,
            product=series.product,
            days=[one.day],
            amount=self._worth(series, series.month.billed, instead) if is_defect else Decimal(0),
        )

    def _worth(
        self,
        series: Series,
        billed: Mapping[date, float],
        instead: Mapping[date, float] | None = None,
    ) -> Decimal:
        """Return what the contract makes of a difference of quantities; 0 without a price."""
        due = instead or {day: series.contract.expected(day) for day in billed}
        sums = [
            contract_costs(self.usage.vendor, self._with(series, quantities), self.contracts)
            for quantities in (billed, due)
        ]
        if sums[0] is None or sums[1] is None:
            return Decimal(0)
        return sums[0].total - sums[1].total

    def _with(self, series: Series, quantities: Mapping[date, float]) -> list[DayOfUsage]:
        return [
            # The field's name is a value here, so mypy cannot know its type.
            replace(row, **{series.measure: Decimal(quantities[row.day])})  # type: ignore[arg-type]
            if row.product == series.product
            else row
            for row in self.usage.rows
        ]

    def findings_of_prices(self) -> list[Finding]:
        if self.usage.currency and self.currency and self.usage.currency != self.currency:
            text = (
                f"billed in {self.usage.currency}, and the contract is in {self.currency}: costs "
                "are not compared"
            )
            return [Finding(kind="currency", text=text, is_defect=True)]
        return price_findings(self.usage, self.contracts)

    def notes(self) -> list[Finding]:
        found = [Finding(kind="note", text=text) for text in self.usage.notes]
        if not self.contracts:
            text = f"{self.usage.vendor} has no billing in the stack: prices are not checked"
            found.append(Finding(kind="no_contract", text=text))
        elif asked_cost(self.usage) is not None and not contract_costs(
            self.usage.vendor, self.usage.rows, self.contracts
        ):
            text = "prices are not checked: the vendor's figures are not of the contracts' products"
            found.append(Finding(kind="no_contract", text=text))
        return found

    def lines_of(self, series: Series) -> Iterator[DayLine]:
        costs = contract_costs(self.usage.vendor, self.usage.rows, self.contracts)
        remarks = {one.day: REMARKS[one.kind] for one in series.odd}
        for row in self.usage.rows:
            if row.product != series.product:
                continue
            day = series.month.reading.days[row.day]
            yield DayLine(
                day=row.day,
                product=series.product,
                measure=series.measure,
                metered=day.metered,
                expected=day.expected,
                billed=series.month.billed[row.day],
                hours_without_data=day.hours_without_data,
                cost=row.cost,
                contract_cost=costs.usage[row.day, row.product] if costs else None,
                remark=remarks.get(row.day, ""),
            )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def sentence(found: Reconciliation) -> str:
    """Say whether to pay, in one sentence."""
    is_whole = (found.end - found.start).days >= 28
    month = f"{found.start:%B %Y}" if is_whole else f"{found.start} to {found.end}"
    asked = f"{found.currency} {found.cost:.2f}" if found.cost is not None else "the invoice"
    if not found.defects:
        due = found.contract_cost
        by_contract = (
            f" (by the contract {found.currency} {due:.2f})"
            if due is not None and found.cost is None
            else ""
        )
        explained = [one for one in found.findings if one.kind not in ("note", "no_contract")]
        checked = "" if due is not None else " if its prices are right, which were not checked"
        number = f"{len(explained)} difference{'s' if len(explained) > 1 else ''}"
        rest = f", and below is what explains {number}" if explained else ""
        return (
            f"Pay {asked} of {found.vendor} for {month}{by_contract}{checked}: it is what crawlers "
            f"used{rest}."
        )
    worst = max(found.defects, key=lambda one: one.amount)
    dispute = found.in_question
    about = f" About {found.currency} {dispute:.2f} are in question." if dispute > 0 else ""
    others = len(found.defects) - 1
    rest = f", and {others} more below" if others else ""
    return f"Do not pay {asked} of {found.vendor} for {month} yet: {worst.text}{rest}.{about}"
