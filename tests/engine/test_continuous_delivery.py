"""A stack that `up` made moves to Argo CD or Flux: what `kubectl diff` says of its manifests."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.binaries import find
from tests.engine import api_server
from tests.engine.conftest import Cluster
from tests.engine.engine import Engine, new_engine
from tests.kubectl import differences
from tests.programs import run_to_end

Json = dict[str, Any]

CHANGED = re.compile(r"^[-+] .*", re.MULTILINE)
NAME_OF_A_SECRET = re.compile(r"(?:name|secretName): ([a-z-]+?)(?:-[0-9a-f]{8})?")
GENERATION = re.compile(r"generation: \d+")

WEBHOOKS = "WebhookConfiguration"
"""istiod writes into these itself (docs/gitops.md)."""


@pytest.fixture(scope="module", params=["prod", "dev"])
def deployed(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Engine, bool]]:
    """Yield a stack that is up, and whether its cluster is bare: dev has one of its own."""
    if request.param == engine.stack:
        engine.up()
        yield engine, cluster.bare
        return
    folder = tmp_path_factory.mktemp(request.param)
    with api_server.running(folder / "own", "engine") as kubeconfig:
        charts = os.environ.get("ENGINE_CHARTS", "")
        own = new_engine(folder, request.param, kubeconfig, charts, waits=False)
        own.up()
        yield own, True


def test_manifests_with_the_clusters_secrets_differ_in_nothing(
    deployed: tuple[Engine, bool],
) -> None:
    engine, bare = deployed
    names = engine.folder / "secrets.txt"
    names.write_text(engine.kubectl("get", "secrets", "-A"))
    manifests, required = rendered(engine, bare, "--secrets", str(names))
    assert {"EnvoyFilter", "StatefulSet", "DaemonSet"} <= {one["kind"] for one in manifests}
    assert differences(manifests, engine.kubeconfig, engine.environment()) == ""
    assert not required, "nobody has to make what is there"


def test_without_them_their_names_alone_differ(deployed: tuple[Engine, bool]) -> None:
    engine, bare = deployed
    manifests, required = rendered(engine, bare)
    shown = differences(manifests, engine.kubeconfig, engine.environment())
    names = set()
    for line in CHANGED.findall(shown):
        text = line[1:].strip()
        found = NAME_OF_A_SECRET.fullmatch(text)
        assert found or GENERATION.fullmatch(text), line
        names |= {found[1]} if found else set()
    assert names
    assert names <= {one["metadata"]["name"] for one in required}


def rendered(engine: Engine, bare: bool, *more: str) -> tuple[list[Json], list[Json]]:
    """Return what is synced, and the Secrets that somebody has to make."""
    out = engine.folder / "synced"
    path = f"{find('helm').parent}{os.pathsep}{os.environ['PATH']}"
    command = ["-m", "render", "--stack", engine.stack, "--format", "manifests", "--out", str(out)]
    run_to_end(
        *(sys.executable, *command, *more),
        cwd=engine.folder / "project",
        env={**engine.environment(PATH=path), "STACK_FILE": str(engine.file)},
    )
    synced = [each for file in sorted((out / "manifests").rglob("*.yaml")) for each in read(file)]
    secrets = out / "required" / "secrets.yaml"
    return (
        [one for one in synced if bare or not one["kind"].endswith(WEBHOOKS)],
        read(secrets) if secrets.exists() else [],
    )


def read(file: Path) -> list[Json]:
    return [one for one in yaml.load_all(file.read_text(), yaml.CSafeLoader) if one]
