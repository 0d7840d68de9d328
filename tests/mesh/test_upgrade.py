"""Upgrade Istio by revision while crawlers work, and go back: two istiods of two versions.

The charts are those that the stack renders for each step of docs/operations.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.mesh import load as loads
from tests.mesh import vendors
from tests.mesh.conftest import Record, run_mesh
from tests.mesh.control_plane import START_SECONDS, ControlPlane
from tests.mesh.kubelet import Pod
from tests.mesh.kubernetes import ApiError
from tests.mesh.load import (
    DRAIN_SECONDS,
    DRAINS_SOON,
    LEAST_REQUESTS,
    MARGIN_SECONDS,
    TARGETS,
    Load,
)
from tests.mesh.mesh import CRAWLERS, Mesh, unchanged
from tests.mesh.test_istiod_away import vendor_of_request
from tests.mesh.vendors import Servers
from tests.mesh.versions import PAIRS, pair_of

pytestmark = pytest.mark.long

Json = dict[str, Any]

REVISION = "1-31"
OLD = {"revision": "default", "version": "1.30.2"}
NEW = {"revision": REVISION, "version": "1.31.4"}
BESIDE = {**OLD, "otherRevision": NEW}
SWAPPED = {**NEW, "otherRevision": OLD}

CANARY, OTHERS = "canary", ("crawler-a", "crawler-b", "crawler-c")
REQUESTS_EACH, TUNNELS_EACH = 50, 5
"""A second, and to each target: 200 and 200 for four crawlers and ten targets."""
ARRIVES_SECONDS = 120.0
"""For a change that waits for sidecars to find their istiod again."""


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A mesh of the older Istio, the one to upgrade."""
    with run_mesh(PAIRS[1]) as running:
        yield running


@pytest.fixture(scope="module")
def servers(mesh: Mesh) -> Iterator[Servers]:
    with vendors.serving(mesh.world, mesh.folder) as running:
        yield running


@dataclass
class Crawler:
    """A pod, what it sends, and what ends both as a kubelet would: the crawler first."""

    pod: Pod
    load: Load
    end: ExitStack


@dataclass
class Fleet:
    """Crawlers by the name of their workload, of one pod each."""

    mesh: Mesh
    record: Record
    crawlers: dict[str, Crawler] = field(default_factory=dict)
    ended: list[Load] = field(default_factory=list)
    """Loads of the crawlers that ended in a step."""
    _started: int = 0

    def restart(self, name: str) -> None:
        """Roll a workload out: its new pod is ready before its old one ends."""
        self._started += 1
        with ExitStack() as stack:
            pod = stack.enter_context(
                self.mesh.pod(f"{name}-{self._started}", annotations=DRAINS_SOON)
            )
            rates = {"requests_per_second": REQUESTS_EACH, "tunnels_each": TUNNELS_EACH}
            load = stack.enter_context(loads.running([pod], TARGETS, **rates))
            self.mesh.until(load.all_open)
            before = self.crawlers.get(name)
            self.crawlers[name] = Crawler(pod, load, stack.pop_all())
        if before:
            before.end.close()
            self.ended.append(before.load)

    def revisions(self) -> dict[str, str]:
        """Return which istiod injected each crawler's pod."""
        return {
            name: one.pod.manifest["metadata"]["annotations"]["istio.io/rev"]
            for name, one in self.crawlers.items()
        }

    def attributes(self, vendor: str, address: str, port: int) -> bool:
        """Return whether every crawler's request there is its vendor's."""
        return all(
            vendor_of_request(one.pod, address, port) == vendor for one in self.crawlers.values()
        )

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Watch a step, and for as long as a drain would take after it."""
        for one in self.crawlers.values():
            self.mesh.until(one.load.all_open)
        self.ended = []
        yield
        time.sleep(DRAIN_SECONDS + MARGIN_SECONDS)
        running = [one.load for one in self.crawlers.values()]
        every = [*running, *self.ended]
        self.mesh.until(
            lambda: sum(load.requests for load in every) > LEAST_REQUESTS, why="there is no load"
        )
        failed = [text for load in every for text in load.failed]
        cut = [one.target for load in every for one in load.cut]
        requests = sum(load.requests for load in every)
        for load in running:
            load.mark()  # here, so that what fails between two steps counts in the second
        self.record(
            what,
            {
                "failed requests": f"{len(failed)} of {requests}",
                f"tunnels cut of {sum(load.most_open for load in running)}": len(cut),
                "ended with their own pods": sum(load.most_open for load in self.ended),
            },
        )
        assert failed == []
        assert cut == []
        for vendor in ("vendor-a", "vendor-c"):
            self.mesh.until(lambda v=vendor: self.attributes(v, *TARGETS[v]))

    def close(self) -> None:
        for one in self.crawlers.values():
            one.end.close()


@pytest.fixture
def fleet(mesh: Mesh, servers: Servers, record: Record) -> Iterator[Fleet]:
    running = Fleet(mesh, record)
    try:
        for name in (CANARY, *OTHERS):
            running.restart(name)
        yield running
    finally:
        running.close()


def rendered(mesh: Mesh, istio: Json, edit: Callable[[Json], None] = unchanged) -> dict[str, Json]:
    """Return what the tests' stack renders with this `istio`."""

    def with_istio(keys: Json) -> None:
        keys["istio"] = istio
        edit(keys)

    return mesh.stack(with_istio)


def deploy(mesh: Mesh, istio: Json) -> dict[str, Json]:
    """Apply what `pulumi up` would of a step, but no istiod: the shared chart and the label."""
    files = rendered(mesh, istio)
    newest = pair_of(files["helm/istio-base.yaml"]["version"])
    mesh.apply_base(files, newest.program("meshlab"))
    mesh.namespace(CRAWLERS, files[f"_cluster/Namespace-{CRAWLERS}.yaml"]["metadata"]["labels"])
    mesh.up(files, retry_seconds=START_SECONDS)
    return files


def more_vendors(keys: Json) -> None:
    keys["vendors"].append({"name": "vendor-z", "cidrs": ["10.50.0.0/16"], "httpPorts": [3128]})


def test_up_and_back(mesh: Mesh, fleet: Fleet) -> None:
    pair = pair_of(NEW["version"])
    with mesh.control_plane(pair, REVISION) as second:
        with fleet.step("the second istiod installed"):
            files = deploy(mesh, BESIDE)
            second.install_istiod(files, pair.program("meshlab"), print)
        with fleet.step("the two swapped"):
            deploy(mesh, SWAPPED)
        with fleet.step("one crawler restarted"):
            fleet.restart(CANARY)
        assert fleet.revisions() == {CANARY: REVISION, **dict.fromkeys(OTHERS, "default")}
        assert _release_of(fleet.crawlers[CANARY].pod) == "1.31"
        with fleet.step("a vendor added while sidecars are of both"):
            mesh.up(rendered(mesh, SWAPPED, more_vendors))
            mesh.until(lambda: fleet.attributes("vendor-z", "10.50.0.10", 3128), ARRIVES_SECONDS)
        with fleet.step("the others restarted"):
            for name in OTHERS:
                fleet.restart(name)
        assert set(fleet.revisions().values()) == {REVISION}
        _back_without_the_new_one(mesh, fleet, second)
        _up_again(mesh, fleet, second)


def _back_without_the_new_one(mesh: Mesh, fleet: Fleet, second: ControlPlane) -> None:
    """The way back works also if the new istiod is what broke."""
    with fleet.step("the new istiod dies: EnvoyFilters and pods are refused"):
        second.kill_istiod()
        assert _refused(mesh) == {"EnvoyFilter", "Pod"}
    with fleet.step("swapped back without it, all restarted"):
        deploy(mesh, BESIDE)
        assert _refused(mesh) == set()
        for name in fleet.crawlers:
            fleet.restart(name)
    assert set(fleet.revisions().values()) == {"default"}
    assert _release_of(fleet.crawlers[CANARY].pod) == "1.30"


def _up_again(mesh: Mesh, fleet: Fleet, second: ControlPlane) -> None:
    with fleet.step("it is back, swapped again, all restarted"):
        second.start_istiod()
        deploy(mesh, SWAPPED)
        second.until(second.refuses_nonsense, START_SECONDS, "its webhooks fail")
        for name in fleet.crawlers:
            fleet.restart(name)
    assert set(fleet.revisions().values()) == {REVISION}
    with fleet.step("the old istiod dies: nothing is refused"):
        mesh.kill_istiod()
        assert _refused(mesh) == set()
    mesh.start_istiod()
    with fleet.step("the old istiod removed"):
        deploy(mesh, NEW)
        mesh.remove_istiod()
        mesh.until(lambda: _refused(mesh) == set(), START_SECONDS, "its webhooks are called still")
        mesh.up(rendered(mesh, NEW, more_vendors), retry_seconds=START_SECONDS)
        mesh.until(lambda: fleet.attributes("vendor-z", "10.50.0.10", 3128), ARRIVES_SECONDS)


def _refused(mesh: Mesh) -> set[str]:
    """Return which kinds the API server writes only with an istiod that is away."""
    refused = set()
    one = next(each for each in mesh.files.values() if each.get("kind") == "EnvoyFilter")
    for kind, write in (
        ("EnvoyFilter", lambda: mesh.api.apply(one, dry_run=True)),
        ("Pod", lambda: mesh.injected(mesh.pod_manifest("crawler-tried"))),
    ):
        try:
            write()
        except ApiError as error:
            if "failed calling webhook" not in str(error):
                raise
            refused.add(kind)
    return refused


def _release_of(pod: Pod) -> str:
    """Return the minor release of a pod's sidecar."""
    text = pod.get("/config_dump?mask=bootstrap")
    return text.partition('"ISTIO_VERSION": "')[2][:4]
