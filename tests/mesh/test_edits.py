"""Edit the stack while a sidecar has 200 requests a second and 200 open tunnels.

No edit may fail a request. Removal, install and a change of HTTP ports may cut all tunnels; an edit
of a filter chain may cut the tunnels of that chain; other edits may cut none.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from components.attribution.groups import chain_number
from settings.values.addresses import parse_network
from tests.mesh.conftest import Record
from tests.mesh.load import TARGETS, Load, Plan, observed
from tests.mesh.mesh import Mesh, unchanged

pytestmark = pytest.mark.long

Json = dict[str, Any]
Edit = Callable[[Json], None]

LOAD = Plan(TARGETS)


def _range(*, in_chain_of: str, same: bool) -> str:
    """Return a free range that is in the same filter chain as another, or in a different one."""
    taken = chain_number(parse_network(in_chain_of))
    return next(
        text
        for text in (f"10.{n}.0.0/16" for n in range(20, 60))
        if (chain_number(parse_network(text)) == taken) == same
    )


NEW_CHAIN = _range(in_chain_of="10.3.0.0/16", same=False)
SAME_CHAIN = _range(in_chain_of="10.3.0.0/16", same=True)


def vendor_of(keys: Json, name: str) -> Json:
    return next(one for one in keys["vendors"] if one["name"] == name)


def _ranges(**ranges: list[str]) -> Edit:
    def edit(keys: Json) -> None:
        for name, more in ranges.items():
            vendor_of(keys, name.replace("_", "-"))["cidrs"] += more

    return edit


def _rule(keys: Json) -> None:
    rule = {"status": 403, "header": "x-sim-error", "contains": "ban", "outcome": "rate_limited"}
    vendor_of(keys, "vendor-b")["outcomes"].append(rule)


def _timeout_after(keys: Json) -> None:
    keys["telemetry"] = {**keys.get("telemetry", {}), "timeoutAfter": "11s"}


def _no_targets(keys: Json) -> None:
    del keys["targets"]


def _pool(keys: Json) -> None:
    vendor_of(keys, "vendor-c")["cidrs"] = [{"range": "10.3.0.0/16", "pool": "mobile"}]


def _new_vendor(keys: Json) -> None:
    keys["vendors"].append({"name": "vendor-z", "cidrs": ["10.50.0.0/16"], "httpPorts": [3128]})


def _ports(keys: Json) -> None:
    vendor_of(keys, "vendor-c")["httpPorts"] = [3128, 8080]


NONE: frozenset[str] = frozenset()
ALL = frozenset(TARGETS)
STEPS: tuple[tuple[str, Edit, frozenset[str]], ...] = (
    ("range added, a chain of its own", _ranges(vendor_c=[NEW_CHAIN]), NONE),
    ("range taken from one vendor", unchanged, NONE),
    ("and given to another", _ranges(vendor_d=[NEW_CHAIN]), NONE),
    ("range removed", unchanged, NONE),
    ("range added to a chain in use", _ranges(vendor_c=[SAME_CHAIN]), frozenset({"vendor-c"})),
    ("range removed from a chain in use", unchanged, frozenset({"vendor-c"})),
    ("Lua changed (an outcome rule)", _rule, NONE),
    ("timeoutAfter changed", _timeout_after, NONE),
    ("last target group removed", _no_targets, NONE),
    ("first target group added", unchanged, NONE),
    ("a vendor's first pool", _pool, NONE),
    ("vendor added", _new_vendor, NONE),
    ("HTTP port added", _ports, ALL),
    ("HTTP port removed", unchanged, ALL),
)


@pytest.mark.parametrize(("what", "edit", "may_be_cut"), STEPS, ids=[step[0] for step in STEPS])
def test_an_edit(
    mesh: Mesh, load: Load, what: str, edit: Edit, may_be_cut: frozenset[str], record: Record
) -> None:
    files = mesh.stack(edit)
    with observed(mesh, load, what, record) as cut:
        mesh.up(files)
    assert cut <= may_be_cut


def _clusters_alone(files: dict[str, Json]) -> dict[str, Json]:
    """Return the resources without all patches but the vendors' clusters."""
    left = copy.deepcopy(files)
    for one in left.values():
        if one.get("kind") == "EnvoyFilter":
            patches = one["spec"]["configPatches"]
            patches[:] = [patch for patch in patches if patch["applyTo"] == "CLUSTER"]
    return {
        path: one
        for path, one in left.items()
        if one.get("kind") != "EnvoyFilter" or one["spec"]["configPatches"]
    }


def test_removal_and_install(mesh: Mesh, load: Load, record: Record) -> None:
    """Removing the chains first and then their clusters ends tunnels, but fails no request."""
    files = mesh.stack(unchanged)
    with observed(mesh, load, "everything but the clusters removed", record):
        mesh.up(_clusters_alone(files))
    with observed(mesh, load, "the clusters removed after that", record) as cut:
        mesh.down()
    assert cut == set()
    with observed(mesh, load, "everything installed", record):
        mesh.up(files)


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_removal_by_steps(mesh: Mesh, load: Load, mode: str, record: Record) -> None:
    """Removal cuts as much after `off` or `observe` as without; after `observe` some twice."""
    files = mesh.stack(lambda keys: keys["crawlers"].update(mode=mode))
    cut_ones = NONE if mode == "off" else ALL - {"vendor-i", "no vendor"}
    what = f"before removal: full to {mode}"
    with observed(mesh, load, what, record, cut_ones=cut_ones) as cut:
        mesh.up(files)
    assert cut == cut_ones
    with observed(mesh, load, f"in {mode}, everything but the clusters removed", record):
        mesh.up(_clusters_alone(files))
    with observed(mesh, load, f"after {mode}, the clusters removed", record) as cut:
        mesh.down()
    assert cut == NONE
    with observed(mesh, load, f"everything installed again after {mode}", record):
        mesh.up(mesh.stack(unchanged))


def test_removal_in_one_step(mesh: Mesh, load: Load, record: Record) -> None:
    """Requests fail for a few milliseconds, on an idle machine fewer than 1 % of them.

    istiod removes the clusters first; until the listener follows, chains lead nowhere.
    """
    files = mesh.stack(unchanged)
    with observed(mesh, load, "everything removed in one step", record, failing=0.1):
        mesh.down()
    mesh.up(files)
