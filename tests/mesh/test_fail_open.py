"""A crawler notices nothing when a part of the program's configuration does not arrive.

Istio drops patches silently, for instance when it has renamed a listener. So each patch is dropped
in turn, and a sidecar that already runs and one that starts try every protocol.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from components.attribution.guard import refuse_undeployable
from settings.loading import SettingsError, load_stack_file
from tests.mesh import crawler
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.mesh import STACK_FILE, Mesh
from tests.mesh.vendors import BANNER, Servers

Json = dict[str, Any]
Files = dict[str, Json]

LISTENER, VENDOR = "EnvoyFilter-proxy-observability", "EnvoyFilter-proxy-vendor-vendor-a"
LABELS = "EnvoyFilter-proxy-labels"
PASSIVE = "EnvoyFilter-proxy-vendor-vendor-p"
SHARED, SHARING = "EnvoyFilter-proxy-shared-vendor-f.vendor-g", "EnvoyFilter-proxy-vendor-vendor-f"
"""The filters of a range that two vendors share by port, and of one of the two."""
PROXY, SHARED_PROXY, OUTSIDE = ("10.1.0.10", 3128), ("10.6.0.10", 3128), "10.200.0.5"
PASSIVE_PROXY = ("10.8.0.10", 3128)
OTHER_PORT = 4444
"""A port of vendor-a and vendor-p, and of no vendor on the shared range."""

WAYS = 5
"""How many connections `failing_ways` makes to the proxy."""


def _without(name: str, wanted: Callable[[Json], bool]) -> Callable[[Files], None]:
    def edit(files: Files) -> None:
        patches = files[f"crawlers/{name}.yaml"]["spec"]["configPatches"]
        (dropped,) = [one for one in patches if wanted(one)]
        patches.remove(dropped)

    return edit


def _named(part: str) -> Callable[[Json], bool]:
    return lambda patch: part in (patch["applyTo"], str(patch["patch"]["value"].get("name")))


def _without_module(files: Files) -> None:
    del files["crawlers/EnvoyFilter-proxy-passive.yaml"]


def _other_listener(files: Files) -> None:
    for one in files.values():
        if one.get("kind") == "EnvoyFilter":
            for patch in one["spec"]["configPatches"]:
                if "listener" in patch["match"]:
                    patch["match"]["listener"]["name"] = "virtualOutbound-renamed"


CHAIN, SHARED_CHAIN = "proxy-vendor_vendor-a_3", "proxy-vendor_vendor-f.vendor-g_2"
PASSIVE_CHAIN = "proxy-vendor_vendor-p_3"
VARIANTS: dict[str, Callable[[Files], None]] = {
    "listener renamed": _other_listener,
    "original_dst": _without(LISTENER, _named("envoy.filters.listener.original_dst")),
    "http_inspector": _without(LISTENER, _named("envoy.filters.listener.http_inspector")),
    "listener timeout": _without(LISTENER, _named("LISTENER")),
    "HTTP chain": _without(VENDOR, _named(f"{CHAIN}_http")),
    "opaque chain": _without(VENDOR, _named(f"{CHAIN}_opaque")),
    "Lua by ECDS": _without(VENDOR, _named("EXTENSION_CONFIG")),
    "labels of requests": _without(LABELS, _named("proxy_observability.http_stats")),
    "labels of connections": _without(LABELS, _named("proxy_observability.opaque_stats")),
    "notes of answers": _without(LABELS, _named("proxy_observability.answers")),
    "cluster": _without(VENDOR, _named("CLUSTER")),
    "passive chain": _without(PASSIVE, _named(f"{PASSIVE_CHAIN}_passive")),
    "passive module by ECDS": _without_module,
    "HTTP chain of a shared range": _without(SHARED, _named(f"{SHARED_CHAIN}_http")),
    "opaque chain of a shared range": _without(SHARED, _named(f"{SHARED_CHAIN}_opaque")),
    "Lua of a shared range": _without(SHARED, _named("EXTENSION_CONFIG")),
    "cluster of a sharing vendor": _without(SHARING, _named("CLUSTER")),
    "cluster of a shared range's other ports": _without(SHARED, _named("CLUSTER")),
}
REFUSED = {
    "cluster": "leads to cluster",
    "opaque chain": "no chain beside it",
    "opaque chain of a shared range": "no chain beside it",
    "cluster of a sharing vendor": "leads to cluster",
    "cluster of a shared range's other ports": "leads to cluster",
}
"""Requests fail without these patches, so the program refuses to deploy such a set."""


@pytest.fixture(scope="module")
def warm(mesh: Mesh, servers: Servers) -> Iterator[Pod]:
    with mesh.pod("crawler-warm") as running:
        yield running


@pytest.mark.parametrize("dropped", VARIANTS)
def test_a_patch_that_does_not_arrive(mesh: Mesh, warm: Pod, dropped: str, record: Record) -> None:
    whole = mesh.files
    files = copy.deepcopy(whole)
    VARIANTS[dropped](files)
    proxy = SHARED_PROXY if "shar" in dropped else PROXY
    proxy = PASSIVE_PROXY if "passive" in dropped else proxy
    since = time.time()
    try:
        mesh.up(files)
        mesh.settled([warm], since)
        failing = {"running": failing_ways(warm, proxy)}
        with mesh.pod("crawler-fresh") as fresh:
            failing["starting"] = failing_ways(fresh, proxy)
        record(f"{dropped}, fails", {k: v for k, v in failing.items() if v} or "nothing")
        if dropped in REFUSED:
            filters = {
                one["metadata"]["name"]: one["spec"]
                for one in files.values()
                if one.get("kind") == "EnvoyFilter"
            }
            with pytest.raises(SettingsError, match=REFUSED[dropped]):
                refuse_undeployable(load_stack_file(STACK_FILE).vendors, filters, None)
        else:
            assert failing == {"running": [], "starting": []}
    finally:
        since = time.time()
        mesh.up(whole)
        mesh.settled([warm], since)


def failing_ways(pod: Pod, proxy: tuple[str, int] = PROXY) -> list[str]:
    """Return which protocols fail, to a proxy and to servers outside every range."""
    failed = []
    reversed_payload = crawler.PAYLOAD[::-1]
    attempts = {
        "http": lambda: crawler.http(pod, *proxy).code == 200,
        "tunnel": lambda: crawler.tunnel(pod, *proxy).echoed == reversed_payload,
        "tls": lambda: crawler.tls(pod, *proxy).echoed == reversed_payload,
        "socks5": lambda: crawler.socks5(pod, *proxy).echoed == reversed_payload,
        "other port": lambda: crawler.http(pod, proxy[0], OTHER_PORT).code == 200,
        "outside http": lambda: crawler.origin(pod, OUTSIDE, 80).code == 200,
        "outside banner": lambda: crawler.banner(pod, OUTSIDE, 25)[0] == BANNER,
    }
    for name, works in attempts.items():
        try:
            if not works():
                failed.append(name)
        except OSError:
            failed.append(name)
    return failed


def counted(pod: Pod, vendor: str) -> float:
    """Return how many requests and opaque connections a sidecar has counted for a vendor."""
    names = ("istio_requests_total", "istio_tcp_connections_opened_total")
    return sum(pod.total(name, proxy_vendor=vendor) for name in names)


def test_an_empty_vendor_list_is_refused(mesh: Mesh) -> None:
    """It would remove every filter chain, so the program stops before it renders anything."""
    with pytest.raises(SettingsError, match="vendors"):
        mesh.stack(lambda keys: keys.update(vendors=[]))
