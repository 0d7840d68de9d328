"""Sidecars to compare: the rendered Envoy and variants of it, in front of one vendor."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from benchmarks.cpu import Proxy
from benchmarks.crawlers import Address, connected
from components.attribution.stats import BYTES
from lab import loopback
from lab.endpoints import endpoints
from lab.envoy import LabEnvoy
from lab.ports import Ports
from lab.processes import Children, LabError, require_free
from lab.system import (
    READY_SECONDS,
    ROOT,
    load_settings,
    rendered_envoy,
    start_envoy,
    start_vendors,
    wait_until_ready,
)
from settings.products import Product
from settings.stack import StackSettings
from settings.vendors import AddressRange, OutcomeRule

Json = dict[str, Any]
Change = Callable[[Json], None]
"""Change the rendered bootstrap into a variant of it."""

VENDOR = Ports(21_100)
PLACES = tuple(Ports(21_200 + 100 * number) for number in range(5))
"""Ports of the sidecars of one benchmark, which run at the same time."""

PROXY = "127.1.0.10"  # in the range of the lab's first vendor


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """An Envoy that is rendered once and may be started many times."""

    ports: Ports
    folder: Path
    rendered: LabEnvoy
    addresses: tuple[str, ...]

    def start(self, family: Children) -> Proxy:
        """Start Envoy; return when it is ready."""
        sockets = tuple((address, self.ports.vendor) for address in self.addresses)
        require_free([*sockets, ("127.0.0.1", self.ports.envoy_admin)])
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        pid = start_envoy(family, self.rendered, self.folder)
        start = time.monotonic()
        while not loopback.answers(f"http://127.0.0.1:{self.ports.envoy_admin}/ready"):
            family.check()
            if time.monotonic() > start + READY_SECONDS:
                raise LabError(f"Envoy did not become ready within {READY_SECONDS:.0f} s")
            time.sleep(0.005)
        return Proxy(pid=pid, sockets=sockets, ready_seconds=time.monotonic() - start)


def sidecar(
    ports: Ports,
    folder: Path,
    settings: StackSettings,
    *,
    addresses: Sequence[str] = (PROXY,),
    change: Change | None = None,
    vendor: Ports = VENDOR,
) -> Sidecar:
    """Render an Envoy that listens on `addresses` at `ports` and writes below `folder`."""
    own = folder / str(ports.base)
    rendered = rendered_envoy(settings, addresses, ports, own)
    for cluster in rendered.bootstrap["static_resources"]["clusters"]:
        cluster["original_dst_lb_config"] = {"upstream_port_override": vendor.vendor_upstream}
    if change is not None:
        change(rendered.bootstrap)
    return Sidecar(ports=ports, folder=own, rendered=rendered, addresses=tuple(addresses))


def one_vendor(
    ports: Ports,
    *,
    ranges: Sequence[IPv4Network] = (),
    idle_timeout: int | None = None,
    tells: bool = False,
    sells: bool = False,
) -> StackSettings:
    """Return the lab's settings with only its first vendor.

    It has no pools, target groups and outcome rules, unless Lua has all of that to tell; and no
    products, unless it sells four.
    """
    settings = load_settings(ports)
    changed: Json = {"outcomes": (), "products": PRODUCTS if sells else ()}
    if tells:
        network = settings.vendors[0].cidrs[0].network
        changed["cidrs"] = (AddressRange(network, pool="isp"),)
        changed["outcomes"] = (
            OutcomeRule(status=407, header="X-Error", contains="traffic", outcome="blocked"),
        )
    if ranges:
        changed["cidrs"] = tuple(AddressRange(network) for network in ranges)
    if idle_timeout is not None:
        changed["idle_timeout"] = idle_timeout
    vendor = settings.vendors[0].model_copy(update=changed)
    targets = settings.targets if tells else ()
    only = {"vendors": (vendor,), "targets": targets, "destinations": ()}
    return settings.model_copy(update=only)


PRODUCTS = tuple(
    Product(user=f"*-zone-{zone}*", name=zone) for zone in ("dc", "isp", "mobile", "resi")
)
"""The crawlers' user has the last one: three patterns are tried in vain."""

INSPECTIONS = ("passive", "http", "plain")
"""The benchmarks compare these. `plain` is the passive listener with its TCP proxies alone."""


def contender(
    inspection: str,
    ports: Ports,
    folder: Path,
    settings: StackSettings,
    *,
    addresses: Sequence[str] = (PROXY,),
    vendor: Ports = VENDOR,
    change: Change | None = None,
) -> Sidecar:
    """Render an Envoy that does one of INSPECTIONS with the connections of every vendor."""
    how = "http" if inspection == "http" else "passive"
    vendors = tuple(one.model_copy(update={"inspect": how}) for one in settings.vendors)
    return sidecar(
        ports,
        folder,
        settings.model_copy(update={"vendors": vendors}),
        addresses=addresses,
        change=plain if inspection == "plain" else change,
        vendor=vendor,
    )


def contenders(folder: Path) -> dict[str, Sidecar]:
    """Return one sidecar for each of INSPECTIONS, with the same vendor; all may run at once."""
    return {
        inspection: contender(inspection, ports, folder, one_vendor(ports))
        for inspection, ports in zip(INSPECTIONS, PLACES, strict=False)
    }


def start_vendor(family: Children, folder: Path, addresses: Sequence[str] = (PROXY,)) -> None:
    """Start the simulated vendor to which all sidecars forward, on these addresses."""
    settings = one_vendor(VENDOR)
    endpoint = endpoints(settings.vendors, VENDOR)[0]
    require_free([(address, VENDOR.vendor_upstream) for address in addresses])
    own = folder / "vendor"
    own.mkdir()
    where = [replace(endpoint, address=address, dead_address=None) for address in addresses]
    start_vendors(family, where, VENDOR, settings.telemetry.timeout_after, own)
    wait_until_ready(family, "vendors", f"http://127.0.0.1:{VENDOR.vendor_control}/healthz")


def start_raw_vendor(family: Children, folder: Path, vendor: Ports = VENDOR) -> int:
    """Start `benchmarks.raw_vendor` in the simulated vendor's place; return its process number."""
    socket = (PROXY, vendor.vendor_upstream)
    require_free([socket])
    pid = family.start(
        "raw vendor",
        [
            *(sys.executable, "-m", "benchmarks.raw_vendor"),
            *("--address", PROXY, "--port", str(vendor.vendor_upstream)),
        ],
        log=folder / "raw-vendor.log",
        environment={"PYTHONPATH": str(ROOT)},
    )
    wait_until_listening(family, "raw vendor", socket)
    return pid


def wait_until_listening(family: Children, name: str, address: Address) -> None:
    """Return once something accepts connections at `address`.

    Raises:
        LabError: nothing does in time, or a child died.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        family.check()
        with contextlib.suppress(LabError):
            connected(address).close()
            return
        if time.monotonic() > deadline:
            raise LabError(f"{name} did not listen within {READY_SECONDS:.0f} s")
        time.sleep(0.02)


def open_at_vendor() -> int:
    """Return how many connections the simulated vendor has."""
    return int(loopback.get_json(f"http://127.0.0.1:{VENDOR.vendor_control}/books")["open"])


def without_lua(bootstrap: Json) -> None:
    """Remove the Lua filter; chains, constants and statistics stay."""
    for manager in _managers(bootstrap):
        filters = manager["http_filters"]
        manager["http_filters"] = [one for one in filters if not one["name"].endswith("_lua")]


def without_bytes(bootstrap: Json) -> None:
    """Leave out the counters of bytes; requests and set-up times stay."""
    counters = {f"istio_{name}" for name in BYTES}
    for manager in _managers(bootstrap):
        for logger in manager["access_log"]:
            of_stats = logger["typed_config"]
            if "counters" in of_stats:
                kept = [one for one in of_stats["counters"] if one["stat"]["name"] not in counters]
                of_stats["counters"] = kept


def switched_off(bootstrap: Json) -> None:
    """Leave what `crawlers.mode: off` leaves of each chain: what istiod does not send apart.

    Its no-ops are left out too.
    """
    for chain in bootstrap["static_resources"]["listeners"][0]["filter_chains"]:
        chain["filters"] = [one for one in chain["filters"] if "config_discovery" not in one]
        chain["filters"][-1]["typed_config"].pop("access_log", None)
    without_lua(bootstrap)


def plain(bootstrap: Json) -> None:
    """Leave only the TCP proxy of each chain: the least that carries the bytes."""
    listener = bootstrap["static_resources"]["listeners"][0]
    listener["listener_filters"] = [
        one
        for one in listener["listener_filters"]
        if one["name"] != "envoy.filters.listener.http_inspector"
    ]
    for chain in listener["filter_chains"]:
        chain["filters"] = chain["filters"][-1:]
        for key in ("access_log", "max_early_data_bytes"):
            chain["filters"][0]["typed_config"].pop(key, None)


def bare(bootstrap: Json) -> None:
    """Leave only the connection manager, its routes and the router."""
    for chain in bootstrap["static_resources"]["listeners"][0]["filter_chains"]:
        chain["filters"] = chain["filters"][-1:]
        chain["filters"][0]["typed_config"].pop("access_log", None)
    for manager in _managers(bootstrap):
        kept = ("@type", "stat_prefix", "route_config")
        router = manager["http_filters"][-1]
        least = {key: manager[key] for key in kept} | {"http_filters": [router]}
        manager.clear()
        manager.update(least)


def _managers(bootstrap: Json) -> list[Json]:
    chains = bootstrap["static_resources"]["listeners"][0]["filter_chains"]
    last = [chain["filters"][-1]["typed_config"] for chain in chains]
    return [config for config in last if "http_filters" in config]
