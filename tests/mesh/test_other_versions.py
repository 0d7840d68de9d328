"""A sidecar of an Istio release that the program does not know starts, and passes its traffic.

The patches' `proxyVersion` keeps our configuration from it. An agent tells istiod its version in
the node's metadata, so this Istio's agent can pass for another's.
"""

from __future__ import annotations

import pytest

from components.attribution.envoy import ISTIO_RELEASES, LISTENER
from components.attribution.groups import CLUSTER_PREFIX
from tests.mesh.conftest import Record
from tests.mesh.mesh import Mesh
from tests.mesh.test_fail_open import failing_ways
from tests.mesh.vendors import Servers

Version = tuple[int, int]


def _minor(release: str) -> Version:
    major, minor = release.split(".")
    return int(major), int(minor)


KNOWN = sorted(_minor(release) for release in ISTIO_RELEASES)
BEFORE, AFTER = (KNOWN[0][0], KNOWN[0][1] - 1), (KNOWN[-1][0], KNOWN[-1][1] + 1)


@pytest.mark.parametrize("release", [BEFORE, AFTER], ids=["the one before", "the next one"])
def test_a_sidecar_of_another_release(
    mesh: Mesh, servers: Servers, release: Version, record: Record
) -> None:
    version = f"{release[0]}.{release[1]}.2"
    metadata = f"proxyMetadata: {{ISTIO_META_ISTIO_VERSION: {version}}}"
    with mesh.pod("crawler-stranger", annotations={"proxy.istio.io/config": metadata}) as pod:
        assert f'"ISTIO_VERSION": "{version}"' in pod.get("/config_dump?mask=bootstrap")
        failing = failing_ways(pod)
        counted = [labels for _, labels, _ in pod.samples() if "proxy_vendor" in labels]
        listeners = pod.get("/config_dump?resource=dynamic_listeners")
        clusters = pod.get("/clusters")
        refused = [
            event["type"]
            for event in mesh.passed()
            if event["node"] == pod.node and event["what"] == "nack"
        ]
    record(
        version,
        {
            "is ready": True,
            "of it fails": ", ".join(failing) or "nothing",
            "refused by Envoy": ", ".join(refused) or "nothing",
            "counted by vendor": "something" if counted else "nothing",
        },
    )
    assert failing == []
    assert refused == []
    assert counted == []
    assert LISTENER in listeners
    assert CLUSTER_PREFIX not in listeners + clusters
