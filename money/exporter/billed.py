"""What vendors say of yesterday, beside what the ledger has of it: stolen credentials show here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta

from money.exporter.page import Family, Sample
from money.forecast.history import History
from money.forecast.hours import DAY, HOUR

Ask = Callable[[date, date], Mapping[date, float]]
"""Returns a vendor's bytes by UTC day, from a day to before another."""

SETTLED = 6 * HOUR
"""After a day's end. No vendor says when its figures are final; Bright Data's sample is 25 minutes
old, and Decodo renews its logs each quarter of an hour (their pages of usage)."""
TRY_AGAIN = HOUR
WHOLE_DAY = 23.5
"""Hours. What passed in an hour without data is in the vendor's figure alone, and no theft."""
OLDEST = 2 * DAY
"""How old a figure may be that is exported as that of the last day."""


class BilledDays:
    """Asks each vendor once a day. One that fails is asked again an hour later, and told."""

    def __init__(self, asks: Mapping[str, Ask], say: Callable[[str], None]) -> None:
        self._asks, self._say = asks, say
        self._days: dict[str, tuple[date, float]] = {}
        """By vendor, the last day that was read, and its bytes."""
        self._tried: dict[str, datetime] = {}

    def families(self, history: History, now: datetime) -> list[Family]:
        """Return both sides of each vendor's last day of which the ledger has all hours."""
        self._ask((now - SETTLED).date() - timedelta(days=1), now)
        compared = [
            ({"proxy_vendor": vendor}, billed, history.wire.get(day, {}).get(vendor, 0.0))
            for vendor, (day, billed) in sorted(self._days.items())
            if now.date() - day <= OLDEST and history.recorded_hours(day) >= WHOLE_DAY
        ]
        return [
            Family(
                "proxy_billed_bytes_last_day",
                "What the vendor's usage API says of the last UTC day that was compared.",
                [Sample(labels, billed) for labels, billed, _ in compared],
            ),
            Family(
                "proxy_metered_bytes_last_day",
                "Wire bytes of the same day in the ledger.",
                [Sample(labels, metered) for labels, _, metered in compared],
            ),
        ]

    def _ask(self, day: date, now: datetime) -> None:
        for vendor, ask in self._asks.items():
            known, tried = self._days.get(vendor), self._tried.get(vendor)
            if (known and known[0] == day) or (tried and now - tried < TRY_AGAIN):
                continue
            self._tried[vendor] = now
            try:
                billed = ask(day, day + timedelta(days=1))[day]
            except Exception as error:  # whatever a vendor answers must not end the exporter
                # Its text is the vendor's, or names what was asked with credentials.
                self._say(f"the usage of {vendor} was not read: {type(error).__name__}")
            else:
                self._days[vendor] = day, billed
