"""`network.egress: vendorsOnly`, and mTLS, in sidecars that a real istiod configures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from components.labels import COMPONENT
from components.load_generator.mutual_tls import load_generator_peers
from components.prometheus.config import LOAD_GENERATOR_APP, LOAD_GENERATOR_PORT
from tests.mesh import crawler, names
from tests.mesh.kubelet import Pod
from tests.mesh.mesh import CRAWLERS, Mesh
from tests.mesh.names import LISTED, OTHER, NameServer
from tests.mesh.test_traffic import HTTP, OUTSIDE, PROXIES

Json = dict[str, Any]

REFUSED = "envoy_cluster_upstream_cx_none_healthy"


def vendors_only(keys: Json) -> None:
    names.by_name(keys)
    keys["network"]["egress"] = "vendorsOnly"


@pytest.fixture(scope="module")
def pod(mesh: Mesh, dns: NameServer) -> Iterator[Pod]:
    mesh.up(mesh.stack(vendors_only))
    with mesh.pod("crawler-vendors-only") as running:
        yield running


@pytest.mark.parametrize("vendor", ["vendor-a", "vendor-g", "vendor-h", "vendor-i", "vendor-p"])
def test_vendors_by_address_are_reached(pod: Pod, vendor: str) -> None:
    spoken = crawler.http(pod, *PROXIES[vendor])
    entry = pod.entry(spoken.source)
    assert spoken.code == 200
    assert entry is not None
    assert entry["vendor"] == vendor


@pytest.mark.parametrize("port", [LISTED, OTHER])
@pytest.mark.parametrize("vendor", ["name-a", "name-p"])
def test_vendors_by_name_are_reached(pod: Pod, vendor: str, port: int) -> None:
    with pod.network.connect(names.virtual(vendor), port) as sock:
        assert crawler.ask(sock).code == 200


def test_strangers_are_refused_and_counted(mesh: Mesh, pod: Pod) -> None:
    """At once, on ports that Envoy inspects and on others."""
    before = pod.total(REFUSED, cluster_name="BlackHoleCluster")
    places = [(OUTSIDE, 25), (OUTSIDE, HTTP), (names.REAL[0], LISTED)]
    for address, port in places:
        with pod.network.connect(address, port) as sock, suppress(ConnectionError):
            sock.sendall(crawler.ORIGIN)
            assert sock.recv(100) == b""
    mesh.until(lambda: pod.total(REFUSED, cluster_name="BlackHoleCluster") == before + len(places))
    assert pod.total("envoy_cluster_upstream_cx_total", cluster_name="PassthroughCluster") == 0


def test_the_load_generator_takes_mtls_alone_but_for_its_metrics(mesh: Mesh) -> None:
    """Nothing listens in the pod: a refusal of TLS ends before Envoy would find that out."""
    mesh.api.apply(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "PeerAuthentication",
            "metadata": {"name": "load-generator", "namespace": CRAWLERS},
            "spec": load_generator_peers(),
        }
    )
    with mesh.pod("generator-1", labels={COMPONENT: LOAD_GENERATOR_APP}) as generator:
        listener = _inbound(generator)
    encrypted = {
        chain["filter_chain_match"].get("destination_port", 0): "transport_socket" in chain
        for chain in listener["filter_chains"]
        if "blackhole" not in chain["name"]
    }
    assert encrypted == {0: True, LOAD_GENERATOR_PORT: False}
    mesh.api.delete("security.istio.io/v1", "PeerAuthentication", CRAWLERS, "load-generator")


def _inbound(pod: Pod) -> Json:
    """Return the listener that takes what others send to a pod."""
    text = pod.get("/config_dump?resource=dynamic_listeners&name_regex=virtualInbound")
    (config,) = json.loads(text)["configs"]
    listener: Json = config["active_state"]["listener"]
    return listener
