"""What BREAK= breaks in the lab without the generator knowing; each check must name it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from settings.masking import quoted
from settings.stack import StackSettings
from settings.values.addresses import parse_network
from settings.vendors import AddressRange, Vendor


@dataclass(frozen=True, kw_only=True)
class BrokenConfiguration:
    """A change of the settings that Envoy gets, and the part of the traffic that avoids Envoy."""

    description: str = ""
    change: Callable[[StackSettings], StackSettings] | None = None
    round_envoy_share: float = 0.0


def broken_configuration(name: str) -> BrokenConfiguration:
    """Return what BREAK=`name` breaks; nothing for the empty name.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in _KNOWN:
        raise ValueError(f"BREAK: {quoted(name)} is unknown; use range, outcome or drop")
    return _KNOWN[name]


def _give_range_away(settings: StackSettings) -> StackSettings:
    """Give the first vendor the middle of the third one's range, as a slip in an edit would."""
    first, third = settings.vendors[0], settings.vendors[2]
    network = third.cidrs[0].network
    stolen = AddressRange(network=parse_network(f"{network.network_address}/24"))
    return _replace(settings, first.model_copy(update={"cidrs": (*first.cidrs, stolen)}))


def _change_an_outcome_rule(settings: StackSettings) -> StackSettings:
    """Let a vendor's rule for an exhausted quota say rate_limited."""
    vendor = next(vendor for vendor in settings.vendors if vendor.outcomes)
    rule = vendor.outcomes[0].model_copy(update={"outcome": "rate_limited"})
    return _replace(settings, vendor.model_copy(update={"outcomes": (rule, *vendor.outcomes[1:])}))


def _replace(settings: StackSettings, changed: Vendor) -> StackSettings:
    vendors = tuple(changed if v.name == changed.name else v for v in settings.vendors)
    return settings.model_copy(update={"vendors": vendors})


_KNOWN = {
    "": BrokenConfiguration(),
    "range": BrokenConfiguration(
        description="a part of the third vendor's range is given to the first",
        change=_give_range_away,
    ),
    "outcome": BrokenConfiguration(
        description="a vendor's outcome rule says rate_limited", change=_change_an_outcome_rule
    ),
    "drop": BrokenConfiguration(
        description="1 % of the traffic goes past Envoy", round_envoy_share=0.01
    ),
}
