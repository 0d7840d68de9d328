"""From `inspect: http` to `passive`, edits there, and back, under load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.mesh import load as loads
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.load import Load
from tests.mesh.mesh import Mesh, unchanged
from tests.mesh.test_edits import (
    DRAIN_SECONDS,
    NEW_CHAIN,
    NONE,
    TARGETS,
    observed,
    vendor_of,
)
from tests.mesh.vendors import Servers

pytestmark = pytest.mark.long

Json = dict[str, Any]
Edit = Callable[[Json], None]

EDITED = "vendor-c"


def _passive(keys: Json) -> None:
    vendor_of(keys, EDITED)["inspect"] = "passive"


def _sent_apart(keys: Json) -> None:
    _passive(keys)
    rule = {"status": 403, "header": "x-sim-error", "contains": "ban", "outcome": "rate_limited"}
    vendor_of(keys, EDITED)["outcomes"] = [rule]
    vendor_of(keys, EDITED)["cidrs"] = [{"range": "10.3.0.0/16", "pool": "mobile"}]
    keys["targets"][0]["hosts"] += ["site-2.sim.test"]
    keys["telemetry"] = {**keys.get("telemetry", {}), "timeoutAfter": "11s"}


def _more_chains(keys: Json) -> None:
    _passive(keys)
    vendor_of(keys, EDITED)["cidrs"] += [NEW_CHAIN]
    keys["vendors"].append({"name": "vendor-z", "cidrs": ["10.50.0.0/16"], "inspect": "passive"})


ITS_OWN = frozenset({EDITED})
STEPS: tuple[tuple[str, Edit, frozenset[str]], ...] = (
    ("inspect: http to passive", _passive, ITS_OWN),
    ("passive: a rule, a pool, a target group's hosts, timeoutAfter", _sent_apart, NONE),
    ("passive: a vendor added, a range in a chain of its own", _more_chains, NONE),
    ("inspect: passive to http", unchanged, ITS_OWN),
)


@pytest.fixture(scope="module")
def pod(mesh: Mesh, servers: Servers) -> Iterator[Pod]:
    annotations = {"proxy.istio.io/config": f"drainDuration: {DRAIN_SECONDS}s"}
    with mesh.pod("crawler-modes", annotations=annotations) as running:
        yield running


@pytest.fixture(scope="module")
def load(mesh: Mesh, pod: Pod) -> Iterator[Load]:
    with loads.running([pod], TARGETS, requests_per_second=200, tunnels_each=20) as running:
        mesh.until(running.all_open)
        yield running


@pytest.mark.parametrize(("what", "edit", "cut_ones"), STEPS, ids=[step[0] for step in STEPS])
def test_an_edit_of_a_passive_vendor(
    mesh: Mesh,
    pod: Pod,
    load: Load,
    what: str,
    edit: Edit,
    cut_ones: frozenset[str],
    record: Record,
) -> None:
    files = mesh.stack(edit)
    with observed(mesh, pod, load, what, record) as cut:
        mesh.up(files)
    assert cut == cut_ones
