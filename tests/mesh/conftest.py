"""One mesh for the session; what can't be made is said, and counts as not run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.mesh import mesh as meshes
from tests.mesh import vendors
from tests.mesh.mesh import Mesh
from tests.mesh.networks import why_not
from tests.mesh.vendors import Servers
from tests.mesh.versions import PAIRS


@pytest.fixture(scope="session", params=PAIRS[:1], ids=lambda pair: f"istio-{pair.istio}")
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    reason = why_not()
    if reason:
        pytest.skip(f"no mesh on this machine: {reason}")
    keep = os.environ.get("KEEP_MESH") == "1"
    with meshes.running(request.param, print, keep=keep) as running:
        yield running


@pytest.fixture(scope="session")
def servers(mesh: Mesh) -> Iterator[Servers]:
    with vendors.serving(mesh.world, mesh.folder) as running:
        yield running
