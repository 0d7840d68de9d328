"""What a preview warns of: vendors of which a stack would see less than it could, in silence.

Nothing here is refused. A vendor may speak SOCKS5 alone, or have a port of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from settings.hosts import Host
from settings.presets import Preset, PresetError, preset, preset_names
from settings.section import Location, Problem, path_text
from settings.stack import StackSettings
from settings.values.addresses import PortRange
from settings.vendors import USUAL_HTTP_PORTS, Vendor


def vendor_warnings(settings: StackSettings) -> Iterator[str]:
    """Yield a line for each doubt, "path: reason; fix"."""
    for index, vendor in enumerate(settings.vendors):
        checks = [looks_like_a_preset]
        if vendor.inspect == "http" and not settings.is_simulated(vendor.name):
            checks += [reads_the_usual_ports, reads_unknown_ports, reads_no_port_of_a_name]
        for check in checks:
            for at, text, _ in check(vendor):
                yield f"{path_text(('vendors', index, *at))}: {text}"


def reads_the_usual_ports(vendor: Vendor) -> Iterator[Problem]:
    """Without `httpPorts` a vendor on another port is opaque, and its panels stay empty."""
    if vendor.cidrs and not vendor.sets("http_ports") and not vendor.ports:
        usual = ", ".join(map(str, USUAL_HTTP_PORTS))
        yield Problem(
            ("httpPorts",),
            f"is not written, so HTTP is read on {usual} alone and other ports count as opaque; "
            "write the ports that crawlers use, or a preset (docs/vendors)",
        )


def reads_no_port_of_a_name(vendor: Vendor) -> Iterator[Problem]:
    """All that crawlers do there would be connections and bytes."""
    if not vendor.sets("http_ports"):
        return
    for index, host in enumerate(vendor.hosts):
        if host.ports and not any(
            ports.meets(read) for ports in host.ports for read in vendor.http_ports
        ):
            yield Problem(
                ("hosts", index, "ports"),
                "has no port of httpPorts, so all of its traffic counts as opaque; add its ports "
                "there, or write inspect: connections if it speaks no HTTP",
            )


def reads_unknown_ports(vendor: Vendor) -> Iterator[Problem]:
    """A port that the vendor does not have is a typing error, or news for its preset."""
    own = known(vendor.preset)
    if own is None:
        return
    places: list[tuple[Location, PortRange, tuple[PortRange, ...]]] = [
        (("hosts", index, "ports", number), ports, own.ports_at(host.name))
        for index, host in enumerate(vendor.hosts)
        for number, ports in enumerate(host.ports)
    ]
    if not vendor.cidrs:  # a list of fixed addresses has ports of its own
        places += (
            (("httpPorts", n), ports, own.ports) for n, ports in enumerate(vendor.http_ports)
        )
    for at, ports, there in places:
        if there and not any(ports.within(one) for one in there):
            listed = ", ".join(map(str, there))
            yield Problem(
                at,
                f"{ports} is no port that {own.title} is known for ({listed}); correct it, or "
                "leave it if crawlers use it",
            )


def looks_like_a_preset(vendor: Vendor) -> Iterator[Problem]:
    """Its refusals have meanings that the table for all vendors does not know."""
    if vendor.preset is not None:
        return
    for index, host in enumerate(vendor.hosts):
        if name := preset_of_host(host):
            yield Problem(
                ("hosts", index),
                f"{host.name!r} looks like {name}; write preset: {name}, or its refusals count by "
                "their status alone",
            )
            return
    ports = vendor.http_ports if vendor.cidrs and vendor.sets("http_ports") else ()
    for index, one in enumerate(ports):
        if name := preset_of_port().get(one):
            yield Problem(
                ("httpPorts", index),
                f"{one} looks like {name}; if it is, write preset: {name} and hosts: []",
            )
            return


def preset_of_host(host: Host) -> str | None:
    """Return the preset that knows a gateway by its name."""
    for name in preset_names():
        own = known(name)
        if own is not None and own.knows(host.name):
            return name
    return None


@cache
def preset_of_port() -> dict[PortRange, str]:
    """Return the presets by the single ports that no other has."""
    names: dict[PortRange, set[str]] = {}
    for name in preset_names():
        for ports in own.ports if (own := known(name)) else ():
            # Round numbers are everybody's.
            is_own = ports.first == ports.last and ports.first > 1080 and ports.first % 100
            if is_own and ports not in USUAL_HTTP_PORTS:
                names.setdefault(ports, set()).add(name)
    return {ports: found.pop() for ports, found in names.items() if len(found) == 1}


def known(name: str | None) -> Preset | None:
    """Return a preset; a bad file is refused where a stack names it, and guesses nothing."""
    if name is None:
        return None
    try:
        return preset(name)
    except PresetError:
        return None
