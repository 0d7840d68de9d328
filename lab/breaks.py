"""Deliberate faults of the lab, which `make demo-check` must notice and name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from settings.stack import StackSettings
from settings.values import parse_network
from settings.vendors import AddressRange, OutcomeRule, Vendor


@dataclass(frozen=True, kw_only=True)
class Break:
    """What is done behind the generator's back."""

    says: str = ""
    change: Callable[[StackSettings], StackSettings] | None = None
    round_envoy_share: float = 0.0


def named(name: str) -> Break:
    """Return the break of that name; the empty name breaks nothing.

    Raises:
        ValueError: there is none of that name.
    """
    known = {
        "": Break(),
        "range": Break(
            says="a part of the third vendor's range is given to the first", change=_give_range_away
        ),
        "outcome": Break(
            says="a vendor's outcome rule says rate_limited", change=_change_an_outcome_rule
        ),
        "drop": Break(says="1 % of the traffic goes round Envoy", round_envoy_share=0.01),
    }
    if name not in known:
        raise ValueError(f"BREAK: {name!r} is unknown; use range, outcome or drop")
    return known[name]


def _give_range_away(settings: StackSettings) -> StackSettings:
    """The first vendor gets the heart of the third's range, as a slip in an edit would do."""
    first, third = settings.vendors[0], settings.vendors[2]
    network = third.cidrs[0].network
    stolen = AddressRange(network=parse_network(f"{network.network_address}/24"))
    return _with(settings, first.model_copy(update={"cidrs": (*first.cidrs, stolen)}))


def _change_an_outcome_rule(settings: StackSettings) -> StackSettings:
    """A vendor's "quota exhausted" is now called a rate limit."""
    vendor = next(vendor for vendor in settings.vendors if vendor.outcomes)
    rule: OutcomeRule = vendor.outcomes[0].model_copy(update={"outcome": "rate_limited"})
    return _with(settings, vendor.model_copy(update={"outcomes": (rule, *vendor.outcomes[1:])}))


def _with(settings: StackSettings, changed: Vendor) -> StackSettings:
    vendors = tuple(changed if v.name == changed.name else v for v in settings.vendors)
    return settings.model_copy(update={"vendors": vendors})
