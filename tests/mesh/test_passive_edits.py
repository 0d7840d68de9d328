"""From `inspect: http` to `passive`, edits there, and back, under load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.mesh.conftest import Record
from tests.mesh.load import TARGETS, Load, Plan, observed
from tests.mesh.mesh import Mesh, unchanged
from tests.mesh.test_edits import NEW_CHAIN, NONE, vendor_of

pytestmark = pytest.mark.long

Json = dict[str, Any]
Edit = Callable[[Json], None]

LOAD = Plan(TARGETS)
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


@pytest.mark.parametrize(("what", "edit", "cut_ones"), STEPS, ids=[step[0] for step in STEPS])
def test_an_edit_of_a_passive_vendor(
    mesh: Mesh, load: Load, what: str, edit: Edit, cut_ones: frozenset[str], record: Record
) -> None:
    files = mesh.stack(edit)
    with observed(mesh, load, what, record, cut_ones=cut_ones) as cut:
        mesh.up(files)
    assert cut == cut_ones
