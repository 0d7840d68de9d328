"""What a crawler notices when a part of attribution by name is missing.

A listed port has a listener that Istio makes for the ServiceEntry, so a crawler's connection goes
on without our filters (its "net"). Other ports (`allowUnlistedPorts`) have our filters alone.
"""

from __future__ import annotations

import copy
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from components.attribution.envoy import LISTENER
from components.attribution.guard import refuse_undeployable
from settings.loading import SettingsError
from tests.mesh import crawler, names
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.mesh import Mesh
from tests.mesh.names import GATEWAYS, LISTED, OTHER, REAL, NameServer, resolve
from tests.mesh.test_fail_open import counted

pytestmark = pytest.mark.long

Json = dict[str, Any]
Files = dict[str, Json]
Wanted = Callable[[Json], bool]

HTTP_VENDOR, PASSIVE_VENDOR = BOTH = "name-a", "name-p"

COUNTS, PASSES, DEAD = "attributed", "works, unattributed", "fails"
Fate = tuple[str, str]
"""What becomes of connections to a listed port, and to another."""
FINE: Fate = (COUNTS, COUNTS)

WAYS = {"HTTP": crawler.ask, "CONNECT": crawler.tunnel_over, "SOCKS5": crawler.socks5_over}
DEAD_SECONDS = 3.0
"""A connection that has no answer for so long is dead; Envoy resets it after 10 s."""
UNCOUNTED_SECONDS = 1.0
BUSY_SECONDS = 60.0
"""For an answer or a count that must come: a busy machine is no failure."""


def specs_of(files: Files, kind: str) -> dict[str, Json]:
    return {
        one["metadata"]["name"]: one["spec"] for one in files.values() if one.get("kind") == kind
    }


def _without_kind(kind: str) -> Callable[[Files], None]:
    def edit(files: Files) -> None:
        for path in [path for path, one in files.items() if one.get("kind") == kind]:
            del files[path]

    return edit


def _without(wanted: Wanted) -> Callable[[Files], None]:
    """Drop patches, of which there must be some."""

    def edit(files: Files) -> None:
        dropped = 0
        for spec in specs_of(files, "EnvoyFilter").values():
            kept = [patch for patch in spec["configPatches"] if not wanted(patch)]
            dropped += len(spec["configPatches"]) - len(kept)
            spec["configPatches"][:] = kept
        assert dropped
        for path, one in list(files.items()):
            if one.get("kind") == "EnvoyFilter" and not one["spec"]["configPatches"]:
                del files[path]

    return edit


def _listener(patch: Json) -> str:
    return str(patch["match"].get("listener", {}).get("name", ""))


def _own(patch: Json) -> bool:
    """Whether a patch is for one of the listeners of HTTP_VENDOR's or PASSIVE_VENDOR's name."""
    return _listener(patch) in [f"{names.virtual(v)}_{LISTED}" for v in BOTH]


def _renamed(wanted: Wanted) -> Callable[[Files], None]:
    def edit(files: Files) -> None:
        found = [
            patch
            for spec in specs_of(files, "EnvoyFilter").values()
            for patch in spec["configPatches"]
            if wanted(patch)
        ]
        assert found
        for patch in found:
            patch["match"]["listener"]["name"] += "-renamed"

    return edit


def _chains(end: str) -> Wanted:
    return lambda patch: (
        patch["applyTo"] == "FILTER_CHAIN"
        and any(vendor in patch["patch"]["value"]["name"] for vendor in BOTH)
        and patch["patch"]["value"]["name"].endswith(end)
    )


def _clusters(patch: Json) -> bool:
    name = str(patch["patch"]["value"].get("name"))
    return patch["applyTo"] == "CLUSTER" and any(vendor in name for vendor in BOTH)


FAULTS: dict[str, tuple[Callable[[Files], None], dict[str, Fate]]] = {
    "nothing": (lambda files: None, {HTTP_VENDOR: FINE, PASSIVE_VENDOR: FINE}),
    "every EnvoyFilter": (
        _without_kind("EnvoyFilter"),
        {HTTP_VENDOR: (PASSES, DEAD), PASSIVE_VENDOR: (PASSES, DEAD)},
    ),
    "virtualOutbound, renamed": (
        _renamed(lambda patch: _listener(patch) == LISTENER),
        {HTTP_VENDOR: (COUNTS, DEAD), PASSIVE_VENDOR: (COUNTS, DEAD)},
    ),
    "the name's listener, renamed": (
        _renamed(_own),
        {HTTP_VENDOR: (PASSES, COUNTS), PASSIVE_VENDOR: (PASSES, COUNTS)},
    ),
    "http_inspector of that listener": (
        _without(lambda patch: _own(patch) and patch["applyTo"] == "LISTENER_FILTER"),
        {HTTP_VENDOR: FINE, PASSIVE_VENDOR: FINE},
    ),
    "time-out of that listener": (
        _without(lambda patch: _own(patch) and patch["applyTo"] == "LISTENER"),
        {HTTP_VENDOR: FINE, PASSIVE_VENDOR: FINE},
    ),
    "HTTP chains": (_without(_chains("_http")), {HTTP_VENDOR: FINE}),
    "Lua by ECDS": (
        _without(
            lambda patch: (
                patch["applyTo"] == "EXTENSION_CONFIG"
                and HTTP_VENDOR in patch["patch"]["value"]["name"]
            )
        ),
        {HTTP_VENDOR: FINE},
    ),
    "passive chains": (_without(_chains("_passive")), {PASSIVE_VENDOR: (PASSES, DEAD)}),
    "cluster": (
        _without(_clusters),
        {HTTP_VENDOR: (DEAD, DEAD), PASSIVE_VENDOR: (DEAD, DEAD)},
    ),
    "opaque chains": (_without(_chains("_opaque")), {HTTP_VENDOR: ("SOCKS5 fails",) * 2}),
}
REFUSED = {
    "virtualOutbound, renamed": "no ServiceEntry has Istio make it",
    "the name's listener, renamed": "no ServiceEntry has Istio make it",
    "passive chains": "has no chain for",
    "cluster": "leads to cluster",
    "opaque chains": "no chain beside it",
}
"""The program refuses to deploy such a set."""


@pytest.fixture(scope="module")
def warm(mesh: Mesh, dns: NameServer) -> Iterator[Pod]:
    with mesh.pod("crawler-warm-names") as running:
        yield running


@contextmanager
def applied(mesh: Mesh, pod: Pod, files: Files) -> Iterator[None]:
    """Let a pod have these resources, and then what it had before."""
    whole = mesh.files
    since = time.time()
    try:
        mesh.up(files)
        if files != whole:
            mesh.settled([pod], since)
        yield
    finally:
        since = time.time()
        mesh.up(whole)
        if files != whole:
            mesh.settled([pod], since)


@pytest.mark.parametrize("missing", FAULTS)
def test_a_part_that_is_missing(mesh: Mesh, warm: Pod, missing: str, record: Record) -> None:
    edit, expected = FAULTS[missing]
    files = copy.deepcopy(mesh.files)
    edit(files)
    with applied(mesh, warm, files):
        net = {vendor: _by_the_net(warm, vendor) for vendor in expected}
        seen = {v: fate(warm, v, names.virtual(v), wanted) for v, wanted in expected.items()}
        net = {vendor: _by_the_net(warm, vendor) - before for vendor, before in net.items()}
        with mesh.pod("crawler-fresh-names") as fresh:
            starting = {
                v: fate(fresh, v, names.virtual(v), wanted) for v, wanted in expected.items()
            }
    record(missing, _as_row(seen))
    assert seen == starting == expected
    assert net == {v: len(WAYS) if seen[v][0] == PASSES else 0 for v in expected}
    if missing in REFUSED:
        vendors = mesh.settings(names.by_name).vendors
        filters, entries = specs_of(files, "EnvoyFilter"), specs_of(files, "ServiceEntry")
        with pytest.raises(SettingsError, match=REFUSED[missing]):
            refuse_undeployable(vendors, filters, None, entries=entries)


def _by_the_net(pod: Pod, vendor: str) -> float:
    """Return how many connections Istio's own chain of the listed port has passed on."""
    cluster = f"outbound|{LISTED}||{GATEWAYS[vendor]}"
    return pod.total("envoy_cluster_upstream_cx_total", cluster_name=cluster)


def _as_row(seen: dict[str, Fate]) -> Json:
    (listed, other), *_ = seen.values()
    return {"listed port": listed, "other port": other}


def fate(pod: Pod, vendor: str, address: str, expected: Fate) -> Fate:
    """Return what becomes of connections to both ports; what is expected to come may be late."""
    listed, other = expected
    return (
        _fate(pod, vendor, address, LISTED, listed),
        _fate(pod, vendor, address, OTHER, other),
    )


def _fate(pod: Pod, vendor: str, address: str, port: int, expected: str) -> str:
    before = counted(pod, vendor)
    seconds = DEAD_SECONDS if expected == DEAD else BUSY_SECONDS
    with ThreadPoolExecutor(len(WAYS)) as threads:
        works = list(
            threads.map(lambda way: _works(pod, address, port, way, seconds), WAYS.values())
        )
    if not any(works):
        return DEAD
    if not all(works):
        return (
            f"{', '.join(name for name, fine in zip(WAYS, works, strict=True) if not fine)} fails"
        )
    deadline = time.monotonic() + (BUSY_SECONDS if expected == COUNTS else UNCOUNTED_SECONDS)
    while counted(pod, vendor) < before + len(WAYS) and time.monotonic() < deadline:
        time.sleep(0.1)
    return {len(WAYS): COUNTS, 0: PASSES}[round(counted(pod, vendor) - before)]


def _works(
    pod: Pod,
    address: str,
    port: int,
    way: Callable[[socket.socket], crawler.Spoken],
    seconds: float,
) -> bool:
    try:
        with pod.network.connect(address, port, timeout=seconds) as sock:
            spoken = way(sock)
    except OSError:
        return False
    return spoken.code == 200 or spoken.echoed == crawler.PAYLOAD[::-1]


def test_without_its_service_entry(mesh: Mesh, warm: Pod, record: Record) -> None:
    """DNS gives the real address, which passes; who holds the virtual one is still attributed."""
    expected = {"DNS asked again": (PASSES, PASSES), "virtual address kept": FINE}
    files = copy.deepcopy(mesh.files)
    _without_kind("ServiceEntry")(files)
    with applied(mesh, warm, files):
        mesh.until(lambda: resolve(warm, GATEWAYS[HTTP_VENDOR]) in REAL)
        addresses = {
            "DNS asked again": resolve(warm, GATEWAYS[HTTP_VENDOR]),
            "virtual address kept": names.virtual(HTTP_VENDOR),
        }
        seen = {
            what: fate(warm, HTTP_VENDOR, address, expected[what])
            for what, address in addresses.items()
        }
    for what, one in seen.items():
        record(f"ServiceEntry, {what}", _as_row({what: one}))
    assert seen == expected


def test_without_dns_capture(mesh: Mesh, warm: Pod, record: Record) -> None:
    """A pod of the selector that started before the ProxyConfig."""
    files = copy.deepcopy(mesh.files)
    _without_kind("ProxyConfig")(files)
    whole = mesh.files
    try:
        mesh.up(files)
        mesh.until(lambda: not names.captures(mesh))
        with mesh.pod("crawler-before") as pod:
            address = resolve(pod, GATEWAYS[HTTP_VENDOR])
            seen = fate(pod, HTTP_VENDOR, address, (PASSES, PASSES))
    finally:
        mesh.up(whole)
        mesh.until_injected()
    record("DNS capture in the pod", _as_row({HTTP_VENDOR: seen}))
    assert address in REAL
    assert seen == (PASSES, PASSES)


CAPTURE = {"proxy.istio.io/config": 'proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}'}
PODS: dict[str, tuple[Json, Fate]] = {
    "the selector's label, with capture": (
        {"labels": {"app": "other"}, "annotations": CAPTURE},
        (PASSES, DEAD),
    ),
    "redirect to virtual addresses (includeOutboundIPRanges)": (
        {"annotations": {"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8"}},
        (DEAD, DEAD),
    ),
    "redirect of the listed port (excludeOutboundPorts)": (
        {"annotations": {"traffic.sidecar.istio.io/excludeOutboundPorts": str(LISTED)}},
        (DEAD, COUNTS),
    ),
}


@pytest.mark.parametrize("missing", PODS)
def test_a_pod_that_lacks_something(
    mesh: Mesh, dns: NameServer, missing: str, record: Record
) -> None:
    """The last two are pods whose DNS is captured but whose traffic is not: nothing can help."""
    options, expected = PODS[missing]
    with mesh.pod("crawler-lacks", **options) as pod:
        address = resolve(pod, GATEWAYS[HTTP_VENDOR])
        seen = fate(pod, HTTP_VENDOR, address, expected)
    record(missing, _as_row({HTTP_VENDOR: seen}))
    assert address == names.virtual(HTTP_VENDOR)
    assert seen == expected


def test_udp_has_no_way(mesh: Mesh, warm: Pod) -> None:
    """A sidecar passes UDP on as it is, and no machine has the virtual address."""
    with mesh.world.socket(type_=socket.SOCK_DGRAM) as server:
        server.bind((REAL[0], LISTED))
        for address, arrives in ((REAL[0], True), (names.virtual(HTTP_VENDOR), False)):
            with warm.network.socket(type_=socket.SOCK_DGRAM) as sock:
                sock.sendto(address.encode(), (address, LISTED))
            server.settimeout(5 if arrives else 0.5)
            if arrives:
                assert server.recv(100) == address.encode()
            else:
                with pytest.raises(TimeoutError):
                    server.recv(100)
