"""The synced manifests on a real API server, with charts that a real Helm rendered."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
import yaml

from render.gitops import FOLDER, SECRETS, gitops_files
from render.program import Run, run_program
from settings.loading import ROOT
from tests import binaries
from tests.api.cluster import WEBHOOKS, Cluster, charts_folder, existing_namespaces, objects_of
from tests.mesh.versions import PAIRS
from tests.program.conftest import edited_copy, sections

Json = dict[str, Any]

FIRST = ("Namespace", "CustomResourceDefinition")


@pytest.fixture(scope="module", params=["dev", "prod", "acme"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two stacks with a mesh and a Prometheus of their own, and one with those of others."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl missing; install kubernetes-client")
    if request.param == "acme":
        return run_program("acme", ROOT / "docs" / "examples" / "Pulumi.acme.yaml")
    istio = {"chartSource": str(charts_folder(PAIRS[0].istio)), "istiod": {"replicas": 2}}
    folder = tmp_path_factory.mktemp(request.param)
    return run_program(request.param, edited_copy(folder, request.param, sections(istio=istio)))


@pytest.fixture(scope="module")
def manifests(stack: Run) -> list[Json]:
    """Return the synced objects and Secrets: first what Argo CD and Flux apply first."""
    files = gitops_files(stack, str(binaries.find("helm")))
    texts = [text for path, text in files.items() if path.startswith(f"{FOLDER}/")]
    objects = [*existing_namespaces(stack), *documents(files[SECRETS])]
    objects += [one for text in texts for one in documents(text)]
    return sorted(objects, key=lambda one: one["kind"] not in FIRST)


def documents(text: str) -> list[Json]:
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]


def test_a_sync_leaves_no_difference(manifests: list[Json], cluster: Cluster) -> None:
    """Whatever changes at each sync would be OutOfSync for ever."""
    assert {"EnvoyFilter", "ConfigMap", "Deployment", "Secret"} <= {m["kind"] for m in manifests}
    hooks = [one for one in manifests if one["kind"] in WEBHOOKS]
    others = [one for one in manifests if one["kind"] not in WEBHOOKS]
    try:
        # No istiod answers here: its webhooks come last.
        for part in (others, hooks) if hooks else (others,):
            for each in part:
                cluster.apply(each)
            assert cluster.diff(part) == ""
            assert cluster.diff(changed(part)) != ""
    finally:
        cluster.remove([*others, *hooks])


def changed(manifests: list[Json]) -> list[Json]:
    """Return the objects with one label more."""
    one, *others = manifests
    metadata = {**one["metadata"], "labels": {"example.com/changed": "yes"}}
    return [{**one, "metadata": metadata}, *others]


def test_pulumi_and_a_sync_make_the_same(
    stack: Run, manifests: list[Json], cluster: Cluster
) -> None:
    """A stack can move from one to the other, but for names that Pulumi ends at random.

    Of these the mocks end ConfigMaps' as the manifests do, and Secrets' are replaced here.
    """
    fixed = {one["metadata"]["name"] for one in manifests if one["kind"] == "Secret"}
    objects = json.dumps(objects_of(stack))
    for secret in stack.of_kind("Secret"):
        assert secret.name in fixed or secret.inputs["metadata"]["name"] in fixed
        objects = objects.replace(secret.inputs["metadata"]["name"], secret.name)
    made = [one for one in json.loads(objects) if one["kind"] != "Secret"]
    assert made
    try:
        for each in made:
            cluster.apply(each)
        paths = {cluster.api.path_of(one) for one in made}
        same = [one for one in manifests if cluster.api.path_of(one) in paths]
        assert len(same) == len(made)
        assert cluster.diff(same) == ""
    finally:
        cluster.remove(made)
