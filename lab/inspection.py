"""INSPECT= replaces what the stack file says of how the lab's sidecar reads the vendors."""

from __future__ import annotations

from itertools import cycle

from settings.catalogue import Catalogue
from settings.masking import quoted
from settings.stack import StackSettings

INSPECTIONS = ("http", "passive", "mixed")


def check_inspection(name: str) -> None:
    """Raise ValueError, with key, value and remedy, for a name that INSPECT= does not know."""
    if name and name not in INSPECTIONS:
        raise ValueError(f"INSPECT: {quoted(name)} is unknown; use http, passive or mixed")


def with_inspection(settings: StackSettings, name: str) -> StackSettings:
    """Return the settings with every vendor's `inspect` as INSPECT=`name` says; "" changes none.

    `mixed` alternates http and passive. Vendors that share an address also share a filter chain, so
    they get the same. What the stack file has as `inspect: connections` stays.
    """
    check_inspection(name)
    if not name:
        return settings
    turns = cycle(("http", "passive") if name == "mixed" else (name,))
    chosen: dict[str, str] = {}
    catalogue = Catalogue.of(settings.vendors)
    for vendor in settings.vendors:
        if vendor.inspect == "connections" or vendor.name in chosen:
            continue
        routes = (r for entry in vendor.ranges for r in catalogue.candidates(entry.network))
        chosen |= dict.fromkeys({vendor.name, *(route.vendor for route in routes)}, next(turns))
    vendors = tuple(
        vendor
        if vendor.inspect == "connections"
        else vendor.model_copy(update={"inspect": chosen[vendor.name]})
        for vendor in settings.vendors
    )
    return settings.model_copy(update={"vendors": vendors})
