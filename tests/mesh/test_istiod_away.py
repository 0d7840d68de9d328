"""istiod dies for a minute: crawlers do not notice, and what was asked for meanwhile arrives."""

from __future__ import annotations

import time

import pytest

from tests.mesh import crawler
from tests.mesh import load as loads
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.kubernetes import ApiError
from tests.mesh.mesh import CRAWLERS, Mesh
from tests.mesh.test_edits import TARGETS
from tests.mesh.vendors import Servers

pytestmark = pytest.mark.long

AWAY_SECONDS = 60.0


def test_istiod_killed_and_back(mesh: Mesh, servers: Servers, record: Record) -> None:
    with (
        mesh.pod("crawler-steady") as pod,
        loads.running([pod], TARGETS, requests_per_second=100, tunnels_each=5) as load,
    ):
        mesh.until(load.all_open)
        load.mark()
        wanted = mesh.stack(
            lambda keys: keys["vendors"].append(
                {"name": "vendor-z", "cidrs": ["10.50.0.0/16"], "httpPorts": [3128]}
            )
        )
        killed = time.time()
        mesh.kill_istiod()

        # istiod itself has set its webhooks to Fail: nothing can be written past it.
        with pytest.raises(ApiError, match="failed calling webhook") as refused:
            mesh.up(wanted)
        record("an EnvoyFilter written while istiod is away", _told(refused.value))
        with pytest.raises(ApiError, match="failed calling webhook") as refused:
            mesh.api.create(mesh.pod_manifest("crawler-late"))
        record("a crawler pod made while istiod is away", _told(refused.value))
        # A deletion asks no webhook.
        gone = "proxy-vendor-vendor-c"
        mesh.api.delete("networking.istio.io/v1alpha3", "EnvoyFilter", CRAWLERS, gone)

        time.sleep(max(0.0, killed + AWAY_SECONDS - time.time()))
        assert crawler.http(pod, *TARGETS["vendor-c"]).code == 200
        since = time.time()
        mesh.start_istiod()
        mesh.until(
            lambda: (
                "proxy-vendor_vendor-c" not in pod.get("/listeners?format=json")
                and "proxy-vendor_vendor-c"
                not in str(mesh.sent(pod, "Listener", "virtualOutbound"))
            ),
            60,
            "the deletion made meanwhile did not arrive",
        )
        record("back: the deletion had arrived after seconds", round(time.time() - since))

        def writes() -> bool:
            try:
                mesh.up(wanted)
            except ApiError:
                return False
            return True

        mesh.until(writes, 30, "istiod's webhook does not answer again")
        mesh.until(lambda: _vendor(pod, "10.50.0.10") == "vendor-z", 30)
        mesh.until(lambda: _vendor(pod, "10.3.0.10") == "vendor-c", 30)
        record("requests failed meanwhile", len(load.failed))
        record("tunnels cut meanwhile", len([one for one in load.cut if one.target != "vendor-c"]))
        assert load.failed == []
        assert {one.target for one in load.cut} <= {"vendor-c"}
    mesh.up(mesh.stack(lambda keys: None))


def _told(error: ApiError) -> str:
    """Return what Kubernetes says of a refused call, after the call itself."""
    return str(error).partition("Internal error occurred: ")[2]


def _vendor(pod: Pod, address: str) -> str | None:
    """Return whose a request to this address is, None while it is nobody's."""
    spoken = crawler.http(pod, address, 3128)
    assert spoken.code == 200
    entry = pod.entry(spoken.source, seconds=1.0)
    return entry["vendor"] if entry else None
