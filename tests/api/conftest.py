"""One API server for a test file, which each stack finds empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api import cluster as cluster_module
from tests.api.cluster import Cluster
from tests.mesh.networks import why_not


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        pytest.skip(f"no API server on this machine: {reason}")
    folder: Path = tmp_path_factory.mktemp("api")
    with cluster_module.running(folder) as running:
        yield running
