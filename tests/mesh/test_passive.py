"""The passive module through istiod: traffic is as without a sidecar, and updates cut nothing."""

from __future__ import annotations

import copy
import statistics
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from tests.mesh import crawler
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod, rss_mb
from tests.mesh.mesh import Mesh
from tests.mesh.test_fail_open import WAYS, counted, failing_ways
from tests.mesh.vendors import Servers

Json = dict[str, Any]

VENDOR, PROXY, NOBODY = "vendor-p", ("10.8.0.10", 4444), 3129
"""A passive vendor, its proxy, and a port at which nobody listens.

http_inspector, which resets a request that comes with the crawler's FIN, reads neither port: both
are HTTP ports of no vendor with `inspect: http`.
"""
FILTER = "crawlers/EnvoyFilter-proxy-passive.yaml"
ECDS = "TypedExtensionConfig"

PAGE = b"GET http://site-1.sim.test%s HTTP/1.1\r\nHost: site-1.sim.test\r\n\r\n"
SAID = {
    "a fragment": PAGE % b"/a#b",
    "odd headers": b"GET http://h.sim.test/a/../b HTTP/1.1\r\nhOST: h\r\nX-Odd_: two \r\n\r\n",
    "three at once": PAGE % b"/" + PAGE % b"/status/407/quota" + PAGE % b"/status/204",
    "HTTP/1.0": b"GET http://h.sim.test/ HTTP/1.0\r\n\r\n",
    "a tunnel, and in it at once": b"CONNECT h.sim.test:443 HTTP/1.1\r\n\r\nhello",
    "SOCKS5": b"\x05\x01\x00",
    "a bare line feed": b"GET http://h.sim.test/ HTTP/1.1\nHost: h\r\n\r\n",
}


@pytest.fixture(scope="module")
def pod(mesh: Mesh, servers: Servers) -> Iterator[Pod]:
    with mesh.pod("crawler-passive") as running:
        yield running


@pytest.mark.parametrize("what", SAID)
def test_both_sides_see_what_they_see_without_a_sidecar(
    mesh: Mesh, pod: Pod, servers: Servers, what: str
) -> None:
    answers, received = [], []
    for network in (mesh.world, pod.network):
        servers.clear()
        answers.append(crawler.all_said(network, *PROXY, SAID[what]))
        (seen,) = servers.seen_at(PROXY[0])
        received.append((seen.received, seen.sent, seen.first))
    assert answers[0] == answers[1]
    assert answers[0]
    assert received[0] == received[1]


@pytest.mark.parametrize(
    "said", [PAGE % b"/", b"CONNECT h.sim.test:443 HTTP/1.1\r\n\r\n"], ids=["http", "tunnel"]
)
def test_a_refused_connect_is_told(mesh: Mesh, pod: Pod, said: bytes) -> None:
    """The crawler sees its connection end, and it counts once.

    The request has failed to connect. A refusal from this very machine may come before Envoy has
    read it: then the count is an opaque connection.
    """

    def counts() -> tuple[float, float, float]:
        failed = {"proxy_vendor": VENDOR, "proxy_outcome": "connect_failed", "response_code": "0"}
        return (
            pod.total("istio_requests_total", **failed)
            + pod.total("istio_tcp_connections_opened_total", proxy_vendor=VENDOR),
            counted(pod, VENDOR),
            pod.total(
                "envoy_cluster_upstream_cx_connect_fail", cluster_name=f"proxy-vendor_{VENDOR}"
            ),
        )

    before = counts()
    with pod.network.connect(PROXY[0], NOBODY) as sock, suppress(ConnectionError):
        sock.sendall(said)
        assert sock.recv(100) == b""
    mesh.until(lambda: counts() == tuple(one + 1 for one in before))


def _with_rule(files: dict[str, Json], status: int) -> dict[str, Json]:
    """Return the resources with a further outcome rule of the passive vendor, in another module.

    V8 ignores a custom section. Of the same module Envoy keeps the VM, and configures it anew.
    """
    changed = copy.deepcopy(files)
    (patch,) = changed[FILTER]["spec"]["configPatches"]
    config = patch["patch"]["value"]["typed_config"]["config"]
    config["configuration"]["value"] += f"rule {VENDOR} {status} {status} any - rate_limited\n"
    code = config["vm_config"]["code"]["local"]
    custom = b"\x00\x05\x04r%d" % status
    code["inline_bytes"] = b64encode(b64decode(code["inline_bytes"]) + custom).decode()
    return changed


def _up(mesh: Mesh, pod: Pod, files: dict[str, Json]) -> None:
    """Apply the module and its configuration, and wait until Envoy has taken it."""
    since = time.time()
    mesh.api.apply(files[FILTER])
    mesh.until(
        lambda: any(
            (event["what"], event["type"]) == ("ack", ECDS) and event["time"] > since
            for event in mesh.passed()
            if event["node"] == pod.node
        )
    )


def test_a_connection_keeps_its_rules(mesh: Mesh, pod: Pod) -> None:
    """An open connection goes on with the old configuration, a new one begins with the new."""

    def counts() -> tuple[float, float]:
        return (
            pod.total("istio_requests_total", proxy_vendor=VENDOR, proxy_outcome="target_error"),
            pod.total("istio_requests_total", proxy_vendor=VENDOR, proxy_outcome="rate_limited"),
        )

    whole = mesh.files
    with pod.network.connect(*PROXY) as kept:
        crawler.ask(kept)
        try:
            old, new = counts()
            _up(mesh, pod, _with_rule(whole, 418))
            assert crawler.ask(kept, b"/status/418").code == 418
            assert crawler.http(pod, *PROXY, b"/status/418").code == 418
            mesh.until(lambda: counts() == (old + 1, new + 1))
        finally:
            _up(mesh, pod, whole)
        assert crawler.ask(kept).code == 200


UPDATES, WARM, PINNED = 20, 5, 5
MOST_ADDED_MB = 8.0
MOST_PINNED_MB = 8.0  # for each update


def test_updates_leave_no_memory(mesh: Mesh, pod: Pod, record: Record) -> None:
    """The VM of an update goes with the last connection that it served, and not before."""
    whole = mesh.files
    statuses = iter(range(420, 999))

    def update() -> float:
        _up(mesh, pod, _with_rule(whole, next(statuses)))
        assert crawler.http(pod, *PROXY).code == 200
        return rss_mb(pod.envoy())

    with ExitStack() as kept:
        try:
            first = kept.enter_context(pod.network.connect(*PROXY))
            crawler.ask(first)
            warm = [update() for _ in range(WARM)][-1]
            flat = [update() for _ in range(UPDATES)][-1]
            for _ in range(PINNED):
                pinned = update()
                crawler.ask(kept.enter_context(pod.network.connect(*PROXY)))
            assert crawler.ask(first).code == 200
        finally:
            _up(mesh, pod, whole)
    each = (pinned - flat) / (PINNED - 1)
    record(
        f"Envoy's resident MB after {WARM} updates of the module; after {UPDATES} more",
        f"{warm:.0f}; {flat:.0f}",
    )
    record("MB for each new module while a connection of before stays open", f"{each:.1f}")
    assert flat - warm < MOST_ADDED_MB
    assert each < MOST_PINNED_MB


STARTS = 3


def test_how_long_a_sidecar_starts(mesh: Mesh, record: Record) -> None:
    """From the start of the agent until the sidecar is ready; Envoy compiles the module before.

    Without the module Envoy waits 3 s for it. The times are recorded; each start must end ready.
    """

    def seconds(starts: int) -> float:
        times = []
        for number in range(starts):
            with mesh.pod(f"crawler-start-{number}", wait=False) as starting:
                times.append(starting.wait_until_ready())
        return statistics.median(times)

    whole = mesh.files
    try:
        for what, files, starts in (
            ("inspect: http", mesh.stack(_no_passive_vendor), STARTS),
            ("inspect: passive", whole, STARTS),
            ("passive, without its EnvoyFilter", _without_module(whole), 1),
        ):
            mesh.up(files)
            taken = seconds(starts)
            record(f"ready after seconds, {what}", f"{taken:.2f}")
    finally:
        mesh.up(whole)


def _without_module(files: dict[str, Json]) -> dict[str, Json]:
    return {path: one for path, one in files.items() if path != FILTER}


def _no_passive_vendor(keys: Json) -> None:
    for vendor in keys["vendors"]:
        if vendor.get("inspect") == "passive":
            vendor["inspect"] = "http"


def test_a_module_that_comes_late(mesh: Mesh, servers: Servers) -> None:
    """A sidecar that started without the module passes all uncounted, and counts once it has it."""
    whole = mesh.files
    mesh.up(_without_module(whole))
    try:
        with mesh.pod("crawler-early") as early:
            assert failing_ways(early, PROXY) == []
            assert counted(early, VENDOR) == 0
            with early.network.connect(*PROXY) as old:
                crawler.ask(old)
                _up(mesh, early, whole)
                assert failing_ways(early, PROXY) == []
                mesh.until(lambda: counted(early, VENDOR) == WAYS)
                assert crawler.ask(old).code == 200
    finally:
        mesh.up(whole)
