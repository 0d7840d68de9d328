"""One cluster for the session: the tester's own (KUBECONFIG), else a bare API server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine import api_server
from tests.engine.engine import NEEDED, Engine, new_engine
from tests.programs import run_to_end


@dataclass(frozen=True)
class Cluster:
    kubeconfig: Path
    context: str
    bare: bool
    """Whether it has no controllers, so that nothing gets ready."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    if not os.environ.get("KUBECONFIG"):
        with api_server.running(folder / "own", "engine") as kubeconfig:
            yield Cluster(kubeconfig, "engine", bare=True)
        return
    command = ["kubectl", "config", "view", "--raw", "--flatten", "--minify", "-o", "json"]
    text = run_to_end(*command).stdout
    kubeconfig = folder / "kubeconfig.json"
    kubeconfig.write_text(text)
    yield Cluster(kubeconfig, json.loads(text)["current-context"], bare=False)


@pytest.fixture(scope="session")
def engine(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The one stack of these tests, in a cluster that must be empty; afterwards it is again.

    A second installation would give istiod another address, and in some simulated clusters a real
    istiod answers at the first.
    """
    charts, folder = os.environ.get("ENGINE_CHARTS", ""), tmp_path_factory.mktemp("prod")
    engine = new_engine(folder, "prod", cluster.kubeconfig, charts, waits=not cluster.bare)
    found = engine.namespaces()
    assert not found, f"KUBECONFIG: that cluster has {found}; these tests delete them"
    try:
        yield engine
    finally:
        engine.pulumi("cancel", "--yes")
        engine.pulumi("destroy", "--yes", "--skip-preview")
        engine.kubectl("delete", "namespace", "--ignore-not-found", *NEEDED)


@pytest.fixture
def _file_as_before(engine: Engine) -> Iterator[None]:
    """Undo the test's edit of the stack file; the test itself deployed nothing of it."""
    before = engine.file.read_text()
    yield
    engine.file.write_text(before)


@pytest.fixture(scope="module")
def wrong_cluster(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Another cluster, behind a context of the same name."""
    folder = tmp_path_factory.mktemp("wrong")
    with api_server.running(folder / "other", cluster.context) as kubeconfig:
        yield kubeconfig
