"""Measure what a vendor by name costs: the same vendor by address beside it."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from benchmarks.cpu import cpu_a_unit
from benchmarks.crawlers import Work, kept_alive, one_shot
from benchmarks.measure import Measure, cpu_ratio
from benchmarks.sidecars import (
    PLACES,
    PROXY,
    VENDOR,
    Sidecar,
    one_vendor,
    sidecar,
    start_vendor,
    wait_until_listening,
)
from components.attribution.envoy import mappings
from components.attribution.names import PORT_KEY, dns_caches, dns_resolver
from lab.ports import Ports
from lab.processes import Children, children
from lab.system import ROOT
from settings.hosts import Host
from settings.values.addresses import PortRange

Json = dict[str, Any]
Case = tuple[str, str]
"""How connections are read, and how the vendor is given."""

NAME, DNS = "gw.bench.test", "127.0.0.1"
NAMED, ADDRESSED = "by name", "by address"
CASES = tuple((how, given) for how in ("http", "passive") for given in (NAMED, ADDRESSED))
TIMED = 1_500
"""Requests on new connections, of whose times a median is taken."""


def against_addresses() -> list[Measure]:
    """Compare Envoy's CPU and the crawler's wait, by name and by address."""
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        start_name_server(family, folder)
        sidecars = {
            case: contender(case, ports, folder) for case, ports in zip(CASES, PLACES, strict=False)
        }
        starts = [one.start for one in sidecars.values()]
        new = cpu_a_unit(starts, one_shot, units=50, warm_up=500)
        kept = cpu_a_unit(starts, kept_alive, units=100, warm_up=2_000)
        waits = _median_waits(sidecars)
        family.check()
    rows = []
    for how, given in CASES[::2]:
        named, addressed = CASES.index((how, given)), CASES.index((how, ADDRESSED))
        for unit, figures in (("one-shot", new), ("keep-alive", kept)):
            title = f"CPU a {unit} request: {how} {NAMED} / {ADDRESSED}"
            rows.append(cpu_ratio(title, figures[named], figures[addressed]))
        rows.append(_wait(how, waits))
    return rows


def contender(case: Case, ports: Ports, folder: Path, vendor: Ports = VENDOR) -> Sidecar:
    """Render an Envoy of one of CASES."""
    how, given = case
    settings = one_vendor(ports)
    changed: Json = {"inspect": how}
    if given == NAMED:
        # A range: virtualOutbound alone serves it, by the chains that a listed port has too.
        served = (PortRange(ports.vendor, ports.vendor + 1),)
        address = ip_address(PROXY)
        host = Host(name=NAME, ports=served, allow_unlisted_ports=True, virtual_address=address)
        changed |= {"cidrs": (), "hosts": (host,)}
    only = settings.vendors[0].model_copy(update=changed)
    settings = settings.model_copy(update={"vendors": (only,)})
    change = partial(_towards, vendor) if given == NAMED else None
    return sidecar(ports, folder, settings, change=change, vendor=vendor)


def _towards(vendor: Ports, bootstrap: Json) -> None:
    """Have Envoy ask the bench's name server, and find the vendor on its own port."""
    resources = bootstrap["static_resources"]
    server = {"socket_address": {"address": DNS, "port_value": _dns_port(vendor)}}
    for cache in dns_caches(resources):
        cache["typed_dns_resolver_config"] = dns_resolver(resolvers=[server])
    for cluster in resources["clusters"]:
        if "cluster_type" in cluster:
            cluster.pop("original_dst_lb_config", None)
    for state in mappings(resources["listeners"]):
        if state.get("object_key") == PORT_KEY:
            text = state["format_string"]["text_format_source"]
            text["inline_string"] = str(vendor.vendor_upstream)


def _dns_port(vendor: Ports) -> int:
    return vendor.base + 50


def start_name_server(family: Children, folder: Path, vendor: Ports = VENDOR) -> None:
    """Start the lab's name server beside a vendor."""
    zone = folder / "zone.json"
    zone.write_text(json.dumps({NAME: {"addresses": [PROXY], "ttl": 60}}))
    command = [sys.executable, "-m", "lab.name_server"]
    command += [f"--listen={DNS}:{_dns_port(vendor)}", f"--zone={zone}"]
    family.start("name server", command, log=folder / "name-server.log", folder=ROOT)
    wait_until_listening(family, "name server", (DNS, _dns_port(vendor)))


def _median_waits(sidecars: Mapping[Case, Sidecar]) -> dict[Case, float]:
    """Return the median seconds of a request on a new connection; the sidecars take turns."""
    times: dict[Case, list[float]] = {case: [] for case in sidecars}
    with children() as family, ExitStack() as stack:
        asks: dict[Case, Work] = {
            case: stack.enter_context(one_shot(one.start(family).sockets))
            for case, one in sidecars.items()
        }
        for ask in asks.values():
            ask(100)
        for _ in range(TIMED):
            for case, ask in asks.items():
                started = time.perf_counter()
                ask(1)
                times[case].append(time.perf_counter() - started)
    return {case: statistics.median(taken) for case, taken in times.items()}


def _wait(how: str, waits: Mapping[Case, float]) -> Measure:
    named, addressed = waits[how, NAMED], waits[how, ADDRESSED]
    return Measure(
        name=f"wait for a one-shot request: {how} {NAMED} / {ADDRESSED}",
        value=named / addressed,
        note=f"{named * 1e6:.0f} us / {addressed * 1e6:.0f} us, medians of {TIMED}",
    )
