"""What the ledger says a vendor should bill, by the vendor's own days."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cached_property
from math import fsum
from zoneinfo import ZoneInfo

from money.billable import billable, contract_of
from money.charges import ANY_BYTES
from money.contract import Contract, Rule
from money.quantities import Book, Part, Quantities
from money.reconcile.findings import BytesOfVendor, Measure

HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class MeteredDay:
    """A product's billable quantity on one day of the vendor's."""

    metered: float
    missing: float
    """An estimate of what the hours without data had: as much as other days at that hour."""
    hours_without_data: float

    @property
    def expected(self) -> float:
        return self.metered + self.missing


Counting = Callable[[Quantities, Rule], float]
"""How a vendor might count a part's hour under a rule."""


def as_contract(traffic: Quantities, rule: Rule) -> float:
    return billable(traffic, rule).total


def on_the_wire(traffic: Quantities, rule: Rule) -> float:
    """All bytes, or all requests: nothing is free and no overhead is taken off."""
    return billable(traffic, replace(rule, counts="wire", free_results=frozenset())).total


def with_free_results(traffic: Quantities, rule: Rule) -> float:
    """As the contract, but what it leaves free is counted too."""
    if rule.kind == "perSuccess":
        rule = replace(rule, kind="perRequest")
    return billable(traffic, replace(rule, free_results=frozenset())).total


def received_alone(traffic: Quantities, rule: Rule) -> float:
    """Of bytes, those from the vendor."""
    return billable(replace(traffic, bytes_sent={}), rule).total


Hours = Mapping[datetime, float]


@dataclass(frozen=True, kw_only=True)
class Metered:
    """What the ledger has of one vendor, by its contracts."""

    book: Book
    vendor: str
    contracts: Sequence[Contract]

    def hours(self, product: str | None, measure: Measure, counting: Counting) -> Hours:
        """Return what each hour with data has of a product; None is for all of the vendor's."""
        return {
            hour: fsum(
                counting(traffic, rule)
                for part, traffic in parts.items()
                if part.vendor == self.vendor and product in (None, part.product)
                if (rule := self.rule(part, hour.date(), measure))
            )
            for hour, parts in self.book.hours.items()
        }

    def rule(self, part: Part, day: date, measure: Measure) -> Rule | None:
        """Return the rule that bills a part by bytes, or by requests."""
        contract = contract_of(self.contracts, part, day)
        kinds = ("perGB",) if measure == "bytes" else ("perRequest", "perSuccess")
        rules = (one for one in (contract.rules if contract else ()) if one.kind in kinds)
        return next(rules, ANY_BYTES if measure == "bytes" else None)

    def bytes_of(self, days: Sequence[date], zone: tzinfo) -> BytesOfVendor | None:
        """Return the way from wire bytes to billable ones; None if none has a price."""
        hours = {hour for day in days for hour in hours_of(day, zone)}
        rows = []
        for hour in hours & self.book.hours.keys():
            for part, traffic in self.book.hours[hour].items():
                rule = self.rule(part, hour.date(), "bytes")
                if part.vendor != self.vendor or rule in (None, ANY_BYTES):
                    continue
                measured = fsum((*traffic.bytes_sent.values(), *traffic.bytes_received.values()))
                free = fsum(
                    sizes.get(result, 0)
                    for sizes in (traffic.bytes_sent, traffic.bytes_received)
                    for result in rule.free_results
                )
                rows.append((measured, free, measured - free - billable(traffic, rule).total))
        measured, free, overhead = (fsum(row[index] for row in rows) for index in range(3))
        return BytesOfVendor(measured=measured, free=free, overhead=overhead) if measured else None

    def share_known(self, hour: datetime) -> float:
        """Return which share of an hour the ledger has data of."""
        return self.book.coverage.get(hour, 1.0 if hour in self.book.hours else 0.0)

    def days(
        self, hours: Hours, measure: Measure, days: Sequence[date], zone: tzinfo
    ) -> dict[date, MeteredDay]:
        """Add up hours to days of a time zone; bytes of open tunnels count when they pass."""
        usual = _usual_hours(hours)
        late = self._late(hours, days, zone) if measure == "bytes" else {}
        found = {}
        for day in days:
            known = [(hour, self.share_known(hour)) for hour in hours_of(day, zone)]
            closed = fsum(hours.get(hour, 0.0) for hour, _ in known)
            found[day] = MeteredDay(
                metered=max(0.0, closed + late.get(day, 0.0)),
                missing=fsum((1 - share) * usual.get(hour.hour, 0.0) for hour, share in known),
                hours_without_data=fsum(1 - share for _, share in known),
            )
        return found

    def _late(self, hours: Hours, days: Sequence[date], zone: tzinfo) -> dict[date, float]:
        """Return what of each day's bytes the parts have on another day.

        A tunnel's parts come when it closes, while the vendor's own counters grow as bytes pass:
        without this, a day that ends amid long tunnels would seem billed too high. Of the
        difference a product takes the share that it has of the month.
        """
        parts, wire = self._all_bytes
        of_parts, of_wire = fsum(parts.values()), fsum(wire.values())
        if not of_parts or not of_wire:
            return {}
        share = fsum(hours.values()) / of_parts
        return {
            day: share
            * fsum(
                wire.get(hour, 0.0) * of_parts / of_wire - parts.get(hour, 0.0)
                for hour in hours_of(day, zone)
            )
            for day in days
        }

    @cached_property
    def _all_bytes(self) -> tuple[Hours, Hours]:
        """Return by hour the bytes of the vendor's parts, and of its own counters."""
        parts = {
            hour: fsum(
                fsum((*traffic.bytes_sent.values(), *traffic.bytes_received.values()))
                for part, traffic in of_hour.items()
                if part.vendor == self.vendor
            )
            for hour, of_hour in self.book.hours.items()
        }
        wire = {
            hour: of_hour[self.vendor].bytes_sent + of_hour[self.vendor].bytes_received
            for hour, of_hour in self.book.wire.items()
            if self.vendor in of_hour
        }
        return parts, wire


def hours_of(day: date, zone: tzinfo) -> list[datetime]:
    """Return the UTC hours of a day of a time zone, each of the day that has its greater part."""
    begin, end = (
        datetime.combine(one, time(), zone).astimezone(UTC)
        for one in (day, day + timedelta(days=1))
    )
    # A zone of half hours: whole hours of UTC, as the ledger has them.
    hour = begin.replace(minute=0) + (HOUR if begin.minute >= 30 else timedelta(0))
    found = []
    while hour + HOUR / 2 <= end:
        found.append(hour)
        hour += HOUR
    return found


def zone_of(name: str) -> tzinfo:
    """Return a time zone; UTC needs no database, which a machine may lack."""
    return UTC if name == "UTC" else ZoneInfo(name)


def _usual_hours(hours: Hours) -> dict[int, float]:
    """Return the median by hour of the day, UTC."""
    by_hour: dict[int, list[float]] = {}
    for hour, value in hours.items():
        by_hour.setdefault(hour.hour, []).append(value)
    return {hour: statistics.median(values) for hour, values in by_hour.items()}
