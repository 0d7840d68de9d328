"""What an edit does to a sidecar at work: 200 requests a second and 200 open tunnels go on.

Only removal, install and a change of the HTTP ports may cut tunnels, and an edit of a chain those
of that chain; no edit may fail a request.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from components.attribution.groups import chain_number
from settings.values import parse_network
from tests.mesh import load as loads
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.load import Load
from tests.mesh.mesh import Mesh
from tests.mesh.vendors import Servers

pytestmark = pytest.mark.long

Json = dict[str, Any]
Edit = Callable[[Json], None]

DRAIN_SECONDS = 4  # Istio's default is 45
MARGIN_SECONDS = 2.0
TARGETS = {
    "vendor-a": ("10.1.0.10", 3128),
    "vendor-b": ("10.2.0.10", 3128),
    "vendor-b, second range": ("10.2.200.10", 3128),
    "vendor-c": ("10.3.0.10", 3128),
    "vendor-d": ("10.1.8.10", 3128),
    "vendor-f": ("10.6.0.10", 3128),
    "vendor-g": ("10.6.0.10", 3140),
    "vendor-h": ("fd00:a::10", 3128),
    "vendor-i": ("10.7.0.10", 3128),
    "no vendor": ("10.200.0.5", 80),
}


def _range(*, in_chain_of: str, same: bool) -> str:
    """Return a free range that is, or is not, in the same chain as another."""
    taken = chain_number(parse_network(in_chain_of))
    return next(
        text
        for text in (f"10.{n}.0.0/16" for n in range(20, 60))
        if (chain_number(parse_network(text)) == taken) == same
    )


NEW_CHAIN = _range(in_chain_of="10.3.0.0/16", same=False)
SAME_CHAIN = _range(in_chain_of="10.3.0.0/16", same=True)


def _vendor(keys: Json, name: str) -> Json:
    return next(one for one in keys["vendors"] if one["name"] == name)


def _ranges(**ranges: list[str]) -> Edit:
    def edit(keys: Json) -> None:
        for name, more in ranges.items():
            _vendor(keys, name.replace("_", "-"))["cidrs"] += more

    return edit


def _rule(keys: Json) -> None:
    rule = {"status": 403, "header": "x-sim-error", "contains": "ban", "outcome": "rate_limited"}
    _vendor(keys, "vendor-b")["outcomes"].append(rule)


def _new_vendor(keys: Json) -> None:
    keys["vendors"].append({"name": "vendor-z", "cidrs": ["10.50.0.0/16"], "httpPorts": [3128]})


def _ports(keys: Json) -> None:
    _vendor(keys, "vendor-c")["httpPorts"] = [3128, 8080]


def _same(keys: Json) -> None:
    pass


NOBODY: frozenset[str] = frozenset()
EVERYBODY = frozenset(TARGETS)
STEPS: tuple[tuple[str, Edit, frozenset[str]], ...] = (
    ("range added, a chain of its own", _ranges(vendor_c=[NEW_CHAIN]), NOBODY),
    ("range taken from one vendor", _same, NOBODY),
    ("and given to another", _ranges(vendor_d=[NEW_CHAIN]), NOBODY),
    ("range removed", _same, NOBODY),
    ("range added to a chain in use", _ranges(vendor_c=[SAME_CHAIN]), frozenset({"vendor-c"})),
    ("range removed from a chain in use", _same, frozenset({"vendor-c"})),
    ("Lua changed (an outcome rule)", _rule, NOBODY),
    ("vendor added", _new_vendor, NOBODY),
    ("HTTP port added", _ports, EVERYBODY),
    ("HTTP port removed", _same, EVERYBODY),
)


@pytest.fixture(scope="module")
def pod(mesh: Mesh, servers: Servers) -> Iterator[Pod]:
    annotations = {"proxy.istio.io/config": f"drainDuration: {DRAIN_SECONDS}s"}
    with mesh.pod("crawler-edits", annotations=annotations) as running:
        yield running


@pytest.fixture(scope="module")
def load(mesh: Mesh, pod: Pod) -> Iterator[Load]:
    with loads.running([pod], TARGETS, requests_per_second=200, tunnels_each=20) as running:
        mesh.until(running.all_open)
        yield running


@contextmanager
def _observed(
    mesh: Mesh, pod: Pod, load: Load, what: str, record: Record, failing: float = 0.0
) -> Iterator[set[str]]:
    """Watch over an edit until a drain that it began is over; give the targets that were cut.

    `failing` is the share of requests that may fail.
    """
    mesh.until(load.all_open)
    load.mark()
    cut: set[str] = set()
    since = time.time()
    yield cut
    mesh.settled([pod], since)
    time.sleep(DRAIN_SECONDS + MARGIN_SECONDS)
    cut |= {one.target for one in load.cut}
    seconds = [one.at - since for one in load.cut]
    record(
        what,
        {
            "failed requests": f"{len(load.failed)} of {load.requests}",
            "tunnels cut of 200": len(load.cut),
            "whose": "everybody's" if cut == EVERYBODY else ", ".join(sorted(cut)),
            "after seconds": f"{min(seconds):.0f}-{max(seconds):.0f}" if seconds else "",
        },
    )
    assert load.requests > 200
    assert len(load.failed) <= failing * load.requests, load.failed


@pytest.mark.parametrize(("what", "edit", "may_be_cut"), STEPS, ids=[step[0] for step in STEPS])
def test_an_edit(
    mesh: Mesh,
    pod: Pod,
    load: Load,
    what: str,
    edit: Edit,
    may_be_cut: frozenset[str],
    record: Record,
) -> None:
    files = mesh.stack(edit)
    with _observed(mesh, pod, load, what, record) as cut:
        mesh.up(files)
    assert cut <= may_be_cut


def _clusters_alone(files: dict[str, Json]) -> dict[str, Json]:
    """Return the resources with nothing left in them but the vendors' clusters."""
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


def test_removal_and_install(mesh: Mesh, pod: Pod, load: Load, record: Record) -> None:
    """Chains first, and clusters once nothing leads to them: tunnels end, no request fails."""
    files = mesh.stack(_same)
    with _observed(mesh, pod, load, "everything but the clusters removed", record):
        mesh.up(_clusters_alone(files))
    with _observed(mesh, pod, load, "the clusters removed after that", record) as cut:
        mesh.down()
    assert cut == set()
    with _observed(mesh, pod, load, "everything installed", record):
        mesh.up(files)


def test_removal_in_one_step(mesh: Mesh, pod: Pod, load: Load, record: Record) -> None:
    """istiod sends what is gone of the clusters first: until the listener follows, requests fail.

    A few milliseconds for each object, of which nobody can be promised none; hence a bound.
    """
    files = mesh.stack(_same)
    with _observed(mesh, pod, load, "everything removed in one step", record, failing=0.01):
        mesh.down()
    mesh.up(files)
