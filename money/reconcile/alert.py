"""The scheduled check: does a vendor bill traffic that no crawler sent?

Whoever has stolen a proxy password uses it from elsewhere: the vendor counts it, and no sidecar
sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

MUCH_MORE = 1.2
"""Billed by metered. Honest differences are smaller: Bright Data's page of a zone's cost says that
a customer's own logs differ by a few percent, and the overhead of tunnels is a few more."""

LEAST_BYTES = 10**8
"""0.1 GB a day: less costs cents, and is as likely a test from somebody's desk."""


def billed_not_metered(
    billed: Mapping[date, float], metered: Mapping[date, float], least: float = LEAST_BYTES
) -> list[date]:
    """Return the days of which a vendor bills far more than was metered.

    Args:
        billed: Bytes by day, as the vendor says.
        metered: Bytes by day, of the same time zone. Days that are not in it cannot be judged: the
            ledger has no data of them.
    """
    return [
        day
        for day, size in sorted(billed.items())
        if day in metered and size - metered[day] > least and size > MUCH_MORE * metered[day]
    ]
