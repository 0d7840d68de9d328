"""istiod is away for a minute: crawlers notice nothing, and changes made meanwhile arrive."""

from __future__ import annotations

import time

import pytest

from tests.mesh import crawler
from tests.mesh import load as loads
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.kubernetes import ApiError
from tests.mesh.load import TARGETS
from tests.mesh.mesh import CRAWLERS, Mesh, unchanged
from tests.mesh.vendors import Servers

pytestmark = pytest.mark.long

AWAY_SECONDS = 60.0
BACK_SECONDS = 120.0  # sidecars usually connect again within half a minute

DELETED, CHAINS = {"vendor-f", "vendor-g"}, "proxy-vendor_vendor-f.vendor-g"
"""The vendors whose chains are deleted meanwhile, and those chains."""


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

        # istiod has set its webhooks to Fail, so the API server refuses writes without it.
        with pytest.raises(ApiError, match="failed calling webhook") as refused:
            mesh.up(wanted)
        record("an EnvoyFilter written while istiod is away", _reason(refused.value))
        with pytest.raises(ApiError, match="failed calling webhook") as refused:
            mesh.api.create(mesh.pod_manifest("crawler-late"))
        record("a crawler pod made while istiod is away", _reason(refused.value))
        # A deletion calls no webhook. This EnvoyFilter has no clusters: without them requests
        # would fail for a moment, as in test_removal_in_one_step.
        gone = "proxy-shared-vendor-f.vendor-g"
        mesh.api.delete("networking.istio.io/v1alpha3", "EnvoyFilter", CRAWLERS, gone)

        time.sleep(max(0.0, killed + AWAY_SECONDS - time.time()))
        mesh.until(lambda: vendor_of_request(pod, *TARGETS["vendor-f"]) == "vendor-f")
        since = time.time()
        mesh.start_istiod()
        mesh.until(
            lambda: (
                CHAINS not in str(mesh.sent(pod, "Listener", "virtualOutbound"))
                and vendor_of_request(pod, *TARGETS["vendor-f"]) is None
            ),
            BACK_SECONDS,
            "the deletion made meanwhile did not arrive",
        )
        record("back: the deletion had arrived after seconds", round(time.time() - since))

        def writes() -> bool:
            try:
                mesh.up(wanted)
            except ApiError:
                return False
            return True

        mesh.until(writes, BACK_SECONDS, "istiod's webhook does not answer again")
        mesh.until(lambda: vendor_of_request(pod, "10.50.0.10", 3128) == "vendor-z", BACK_SECONDS)
        mesh.until(lambda: vendor_of_request(pod, *TARGETS["vendor-f"]) == "vendor-f", BACK_SECONDS)
        record("requests failed meanwhile", len(load.failed))
        record("tunnels cut meanwhile", sum(each.target not in DELETED for each in load.cut))
        assert load.failed == []
        assert {each.target for each in load.cut} <= DELETED
    mesh.up(mesh.stack(unchanged))


def _reason(error: ApiError) -> str:
    """Return the API server's reason for a refused call."""
    return str(error).partition("Internal error occurred: ")[2]


def vendor_of_request(pod: Pod, address: str, port: int) -> str | None:
    """Return the vendor of a request to this address, None if it has none."""
    spoken = crawler.http(pod, address, port)
    assert spoken.code == 200
    entry = pod.entry(spoken.source, seconds=1.0)
    return entry["vendor"] if entry else None
