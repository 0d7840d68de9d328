"""One mesh for the session; a machine that cannot have one skips its tests and says why."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.mesh import load as loads
from tests.mesh import mesh as mesh_module
from tests.mesh import names, vendors
from tests.mesh.compatibility import COUNTED, RESULTS
from tests.mesh.load import Load
from tests.mesh.mesh import Mesh
from tests.mesh.names import NameServer
from tests.mesh.networks import why_not
from tests.mesh.vendors import Servers
from tests.mesh.versions import PAIRS, Pair

Record = Callable[[str, object], None]


@contextmanager
def run_mesh(pair: Pair) -> Iterator[Mesh]:
    reason = why_not()
    if reason:
        pytest.skip(f"no mesh on this machine: {reason}")
    keep = os.environ.get("KEEP_MESH") == "1"
    with mesh_module.running(pair, print, keep=keep) as running:
        yield running
        print((running.folder / "relay.log").read_text())


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    """The mesh of the first pair; every test leaves it with the tests' stack applied."""
    with run_mesh(PAIRS[0]) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def _as_rendered(request: pytest.FixtureRequest) -> None:
    """Apply the tests' stack again, in case a test of another module failed."""
    running: Mesh = request.getfixturevalue("mesh")
    running.restore()


@pytest.fixture(scope="session")
def servers(mesh: Mesh) -> Iterator[Servers]:
    with vendors.serving(mesh.world, mesh.folder) as running:
        yield running


@pytest.fixture(scope="module")
def dns(mesh: Mesh, servers: Servers) -> Iterator[NameServer]:
    """Vendors by name beside the others, and the name server of their gateways."""
    with names.answering(mesh) as server:
        mesh.up(mesh.stack(names.by_name))
        mesh.until_injected()
        yield server


@pytest.fixture(scope="module")
def load(mesh: Mesh, request: pytest.FixtureRequest) -> Iterator[Load]:
    """The load that the module plans as `LOAD`, on a pod of its own; its tunnels are open."""
    plan: loads.Plan = request.module.LOAD
    request.getfixturevalue(plan.servers)
    with (
        mesh.pod("crawler-edited", annotations=loads.DRAINS_SOON) as pod,
        loads.running(
            [pod],
            plan.targets,
            requests_per_second=plan.requests_per_second,
            tunnels_each=plan.tunnels_each,
        ) as running,
    ):
        mesh.until(running.all_open)
        yield running


@pytest.fixture
def record(mesh: Mesh, request: pytest.FixtureRequest) -> Record:
    """Print a measured figure; with MESH_RECORD=1, keep it for docs/compatibility.md."""
    test = request.node.originalname

    def write(what: str, value: object) -> None:
        print(f"\n{mesh.pair.name}: {what}: {value}")
        _keep(mesh.pair.name, test, what, value)

    return write


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    mesh = getattr(item, "funcargs", {}).get("mesh")
    if report.when == "call" and report.passed and mesh is not None:
        _keep(mesh.pair.name, COUNTED, item.originalname, 1, add=True)  # type: ignore[attr-defined]


def _keep(pair: str, section: str, what: str, value: object, *, add: bool = False) -> None:
    if os.environ.get("MESH_RECORD") != "1":
        return
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{pair}.json"
    with (RESULTS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers may record at once
        kept = json.loads(file.read_text()) if file.exists() else {}
        own = kept.setdefault(section, {})
        own[what] = own.get(what, 0) + value if add else value
        file.write_text(json.dumps(kept, indent=1) + "\n")
