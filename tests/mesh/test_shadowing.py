"""A Service takes a vendor's port: which traffic is attributed, and do pods still start?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.mesh import crawler
from tests.mesh.conftest import Record
from tests.mesh.kubelet import LOG_SECONDS, Pod
from tests.mesh.mesh import CRAWLERS, Mesh
from tests.mesh.vendors import Servers

Json = dict[str, Any]

BARE, STRANGERS = "crawlers-without-sidecar", "shops"
"""A namespace with the program's EnvoyFilters but no Sidecar, and one of another team."""

VENDOR, PORT = "10.1.0.10", 3128
KINDS = ("Service", "ServiceEntry")
PROTOCOLS = ("http", "tcp")


@pytest.fixture(scope="module")
def crawlers(mesh: Mesh, servers: Servers) -> Iterator[tuple[Pod, Pod]]:
    """A crawler with all that the program renders, and one without its Sidecar resource."""
    injected = mesh.files["_cluster/Namespace-crawlers.yaml"]["metadata"]["labels"]
    mesh.namespace(BARE, injected)
    mesh.namespace(STRANGERS, {})
    filters = [one for one in mesh.files.values() if one.get("kind") == "EnvoyFilter"]
    for one in filters:
        mesh.api.apply({**one, "metadata": {**one["metadata"], "namespace": BARE}})
    with (
        mesh.pod("crawler-guarded") as guarded,
        mesh.pod("crawler-bare", namespace=BARE) as bare,
    ):
        yield guarded, bare
    mesh.down(namespace=BARE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["another namespace", "the crawlers' own"])
def test_a_service_on_a_vendor_s_port(
    mesh: Mesh,
    crawlers: tuple[Pod, Pod],
    where: str,
    kind: str,
    protocol: str,
    record: Record,
) -> None:
    guarded, bare = crawlers
    own = where != "another namespace"
    started = time.time()
    for namespace in (CRAWLERS, BARE) if own else (STRANGERS,):
        mesh.api.apply(_shadow(kind, protocol, namespace))
    try:
        mesh.settled([bare, guarded] if own else [bare], started)
        what = f"{kind}, {protocol}, {where}"
        record(f"{what}: without our Sidecar", _what_happens(bare, 1.0))
        found = _what_happens(guarded, 1.0 if own else LOG_SECONDS)
        record(f"{what}: with it", found)
        if not own:
            assert found == "attributed"
        with ExitStack() as stack:
            fresh = [
                stack.enter_context(mesh.pod("crawler-fresh", namespace=namespace, wait=False))
                for namespace in (CRAWLERS, BARE)
            ]
            for pod in fresh:
                pod.wait_until_ready()
                assert "virtualOutbound" in pod.get("/listeners")
    finally:
        started = time.time()
        for namespace in (CRAWLERS, BARE) if own else (STRANGERS,):
            shadow = _shadow(kind, protocol, namespace)
            mesh.api.delete(shadow["apiVersion"], kind, namespace, "shadow")
        mesh.settled([bare, guarded] if own else [bare], started)


def _shadow(kind: str, protocol: str, namespace: str) -> Json:
    port = {"name": f"{protocol}-proxy", "port": PORT}
    entry = {
        "hosts": ["shadow.sim.test"],
        "ports": [{**port, "number": PORT, "protocol": protocol.upper()}],
        "resolution": "STATIC",
        "location": "MESH_EXTERNAL",
        "endpoints": [{"address": "10.200.0.9"}],
    }
    del entry["ports"][0]["port"]
    service = {"selector": {"app": "shadow"}, "ports": [port]}
    return {
        "apiVersion": "v1" if kind == "Service" else "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "shadow", "namespace": namespace},
        "spec": service if kind == "Service" else entry,
    }


def _what_happens(pod: Pod, seconds: float) -> str:
    """Return what becomes of a plain request and of a tunnel to a vendor, in words.

    A connection without a log entry after `seconds` is not attributed.
    """
    fates, broken = [], []
    for way, call in (("http", crawler.http), ("tunnel", crawler.tunnel)):
        try:
            spoken = call(pod, VENDOR, PORT)
        except OSError as error:
            broken.append(f"{way} {type(error).__name__}")
            continue
        if spoken.code != 200:
            broken.append(f"{way} gets {spoken.code}")
        entry = pod.entry(spoken.source, seconds)
        own = entry is not None and entry["vendor"] == "vendor-a"
        fates.append("attributed" if own else "not attributed")
    return ", ".join([*dict.fromkeys(fates), *broken])
