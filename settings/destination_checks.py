"""What `destinations` cannot say together with the stack's vendors and its network."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from settings.section import Location, Problem, path_text, repeated
from settings.stack import StackSettings
from settings.values.addresses import IPNetwork, overlap


def destinations_are_no_vendors(settings: StackSettings) -> Iterator[Problem]:
    """A name or a range that a vendor has too would count as the one or the other by chance."""
    vendors = {vendor.name: index for index, vendor in reversed([*enumerate(settings.vendors)])}
    names: list[tuple[Location, str]] = [
        (("vendors", index, "name"), name) for name, index in vendors.items()
    ]
    names += [
        (("destinations", index, "name"), destination.name)
        for index, destination in enumerate(settings.destinations)
    ]
    yield from repeated(names, "give it another name")

    holders: dict[IPNetwork, str] = {}
    for index, vendor in enumerate(settings.vendors):
        for number, block in enumerate(vendor.cidrs):
            at: Location = ("vendors", index, "cidrs", number)
            holders.setdefault(block.network, block.where or path_text(at))
    for index, destination in enumerate(settings.destinations):
        for number, network in enumerate(destination.cidrs):
            at = ("destinations", index, "cidrs", number)
            there = holders.setdefault(network, path_text(at))
            if there != path_text(at):
                text = f"'{network}' is also {there}; keep it where it belongs"
                yield Problem(at, text)


def destinations_are_outside_the_cluster(settings: StackSettings) -> Iterator[Problem]:
    """The cluster's own traffic takes Istio's clusters of its services."""
    for index, destination in enumerate(settings.destinations):
        pairs = product(enumerate(destination.cidrs), settings.network.ranges)
        for (number, block), (at, taken) in pairs:
            if overlap(block, taken):
                yield Problem(
                    ("destinations", index, "cidrs", number),
                    f"'{block}' overlaps {path_text(at)} ({taken}), and traffic inside the "
                    "cluster is no destination's; correct one of them",
                )
