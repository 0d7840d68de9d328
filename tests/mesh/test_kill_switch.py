"""`crawlers.mode` under 200 requests a second and 200 open tunnels.

`off` may cut no tunnel and fail no request, whatever the vendors' `inspect`; `observe` may cut the
tunnels of the chains that it replaces.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from components.attribution.discovery import STATS_TYPE
from components.attribution.labels import HTTP_STATS, OPAQUE_STATS
from components.attribution.passive import EXTENSION as PASSIVE
from components.attribution.passive import WASM_TYPE
from tests.mesh import names
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.load import Load, Plan, observed
from tests.mesh.mesh import Mesh
from tests.mesh.names import GATEWAYS, LISTED, OTHER, NameServer
from tests.mesh.test_edits import NONE
from tests.mesh.test_fail_open import PASSIVE_PROXY, PROXY, counted, failing_ways

pytestmark = pytest.mark.long

Json = dict[str, Any]
Edit = Callable[[Json], None]

ECDS = "TypedExtensionConfig"
TARGETS = {
    "vendor-a": PROXY,
    "vendor-f": ("10.6.0.10", 3128),
    "vendor-g": ("10.6.0.10", 3140),
    "vendor-i": ("10.7.0.10", 3128),
    "vendor-p": PASSIVE_PROXY,
    "vendor-r": ("10.6.1.10", 3128),
    "name-a": (GATEWAYS["name-a"], LISTED),
    "name-a, other port": (GATEWAYS["name-a"], OTHER),
    "name-p": (GATEWAYS["name-p"], LISTED),
    "no vendor": ("10.200.0.5", 80),
}
"""vendor-i has `inspect: connections`; those with p and r are passive, all others `http`."""
LOAD = Plan(TARGETS, servers="dns")
READ_BY_MODULE = frozenset({"vendor-p", "vendor-r", "name-p"})
READ = READ_BY_MODULE | {"vendor-a", "vendor-f", "vendor-g", "name-a", "name-a, other port"}


def in_mode(mode: str) -> Edit:
    """Return the edit that adds the vendors by name and sets `crawlers.mode`."""

    def edit(keys: Json) -> None:
        names.by_name(keys)
        keys["crawlers"]["mode"] = mode

    return edit


STEPS = (
    ("full to off", "off", NONE),
    ("off to full", "full", NONE),
    ("full to observe", "observe", READ),
    # HTTP chains come beside the opaque ones, and end none of theirs.
    ("observe to full", "full", READ_BY_MODULE),
)


@pytest.mark.parametrize(("what", "mode", "cut_ones"), STEPS, ids=[step[0] for step in STEPS])
def test_the_kill_switch(
    mesh: Mesh, load: Load, what: str, mode: str, cut_ones: frozenset[str], record: Record
) -> None:
    (pod,) = load.pods
    before = sent(mesh, pod)
    with observed(mesh, load, what, record, cut_ones=cut_ones) as cut:
        mesh.up(mesh.stack(in_mode(mode)))
    assert cut == cut_ones
    if "off" in what:
        after = sent(mesh, pod)
        assert {type_ for type_, name in after if after[type_, name] != before[type_, name]} == {
            ECDS
        }
        assert after.keys() == before.keys()
        assert runs(mesh, pod) == (mode == "full")
    assert failing_ways(pod, PROXY) + failing_ways(pod, PASSIVE_PROXY) == []


def sent(mesh: Mesh, pod: Pod) -> dict[tuple[str, str], str]:
    """Return every listener, cluster and extension as istiod last sent it, by type and name."""
    folder = mesh.folder / "xds" / pod.node
    return {
        (file.parent.name, file.name): file.read_text()
        for type_ in ("Listener", "Cluster", ECDS)
        for file in (folder / type_).glob("*.json")
    }


def runs(mesh: Mesh, pod: Pod) -> bool:
    """Return whether istiod has sent something that counts; raise if a part of it only."""
    sent = {
        HTTP_STATS: STATS_TYPE,
        OPAQUE_STATS: STATS_TYPE,
        PASSIVE: WASM_TYPE,
    }
    types = {name: mesh.sent(pod, ECDS, name)["typed_config"]["@type"] for name in sent}
    (counts,) = {types[name] == type_ for name, type_ in sent.items()}
    script = mesh.sent(pod, ECDS, "proxy-vendor_vendor-b_lua")["typed_config"]
    assert ("function" in json.dumps(script)) == counts
    return counts


def test_a_sidecar_that_starts_in_off(mesh: Mesh, dns: NameServer, record: Record) -> None:
    """It waits for no configuration, passes everything, and its module counts nothing.

    What replaces istio.stats here counts in every mode (stand_in.py): `runs` looks at what istiod
    sends in its place.
    """
    for mode in ("off", "full"):
        mesh.up(mesh.stack(in_mode(mode)))
        with mesh.pod(f"crawler-{mode}", wait=False) as starting:
            seconds = starting.wait_until_ready()
            record(f"a sidecar that starts in {mode}", {"ready after seconds": f"{seconds:.1f}"})
            assert failing_ways(starting, PROXY) + failing_ways(starting, PASSIVE_PROXY) == []
            assert runs(mesh, starting) == (mode == "full")
            if mode == "full":
                mesh.until(lambda pod=starting: counted(pod, "vendor-p") > 0)
            assert (counted(starting, "vendor-p") > 0) == (mode == "full")
