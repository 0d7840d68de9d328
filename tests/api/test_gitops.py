"""The synced manifests on a real API server, with charts that a real Helm rendered."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from render.gitops import FOLDER, SECRETS, gitops_files
from render.program import Run, run_program
from settings.loading import ROOT
from tests import binaries
from tests.api.cluster import (
    STAYS,
    WEBHOOKS,
    Cluster,
    charts_folder,
    existing_namespaces,
    objects_of,
)
from tests.mesh.versions import PAIRS
from tests.program.conftest import edited_copy, sections

Json = dict[str, Any]

FIRST = ("Namespace", "CustomResourceDefinition")

FLUX_EXAMPLE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RELEASE = re.compile(r"^```\n(kubectl get -R [^`]*)^```$", re.MULTILINE)
ISTIODS_OWN = "ValidatingWebhookConfiguration"


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
def files(stack: Run) -> dict[str, str]:
    return gitops_files(stack, str(binaries.find("helm")))


@pytest.fixture(scope="module")
def synced(files: dict[str, str]) -> list[Json]:
    texts = [text for path, text in files.items() if path.startswith(f"{FOLDER}/")]
    return [one for text in texts for one in documents(text)]


@pytest.fixture(scope="module")
def manifests(stack: Run, files: dict[str, str], synced: list[Json]) -> list[Json]:
    """Return the synced objects and Secrets: first what Argo CD and Flux apply first."""
    objects = [*existing_namespaces(stack), *documents(files[SECRETS]), *synced]
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


def test_flux_changes_what_somebody_edited_and_nothing_else(
    stack: Run, files: dict[str, str], synced: list[Json], cluster: Cluster, tmp_path: Path
) -> None:
    """By the Kustomization of docs/gitops.md, to which a parent has added variables."""
    hooks = [one for one in synced if one["kind"] in WEBHOOKS]
    others = [one for one in synced if one["kind"] not in WEBHOOKS]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    folder = tmp_path / FOLDER
    try:
        for each in existing_namespaces(stack):
            cluster.apply(each)
        made = flux(cluster, folder)
        assert sorted(made) == sorted(name_of(one) for one in synced)
        new = [name_of(one) for one in synced if one["kind"] not in STAYS]
        assert {made[name] for name in new} == {"created"}
        assert cluster.diff(others) == ""
        assert set(flux(cluster, folder).values()) == {"unchanged"}

        edited = next(one for one in synced if one["kind"] == "ConfigMap")
        edit(cluster, edited, {"data": dict.fromkeys(edited["data"], "edited")})
        changed = {name for name, what in flux(cluster, folder).items() if what != "unchanged"}
        assert changed == {name_of(edited)}
        assert cluster.diff(others) == ""

        # Now an EnvoyFilter would need istiod's approval: what is left is Istio's charts.
        written = [one for one in hooks if one["kind"] == ISTIODS_OWN]
        for each in written:
            webhooks = [{**one, "failurePolicy": "Fail"} for one in each["webhooks"]]
            edit(cluster, each, {"webhooks": webhooks})
        if written:
            assert set(flux(cluster, folder / "helm").values()) == {"unchanged"}
    finally:
        cluster.remove([*others, *hooks])


def test_a_line_goes_that_pulumi_wrote_and_a_later_render_lacks(
    cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "dir" / FOLDER
    folder.mkdir(parents=True)
    metadata = {"namespace": "default"}
    objects = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**metadata, "name": name}}
        for name in ("one", "two")
    ]

    def sync(data: Mapping[str, str]) -> None:
        for each in objects:
            text = json.dumps({**each, "data": data})
            (folder / f"{each['metadata']['name']}.yaml").write_text(text, encoding="utf-8")
        flux(cluster, folder)

    try:
        for each in objects:
            path = f"{cluster.api.path_of(each)}?fieldManager=pulumi-kubernetes-0a1b2c3d"
            made = {**each, "data": {"kept": "", "left": ""}}
            cluster.api.call("PATCH", path, made, "apply-patch+yaml")
        sync({"kept": "", "left": ""})
        release(cluster, tmp_path)
        sync({"kept": ""})
        for each in objects:
            found = cluster.api.get("v1", "ConfigMap", "default", each["metadata"]["name"])
            assert found["data"] == {"kept": ""}
    finally:
        cluster.remove(objects)


def release(cluster: Cluster, folder: Path) -> None:
    """Run the command of docs/gitops.md that takes fields from Pulumi."""
    done = subprocess.run(
        cluster.world.command(["sh", "-ec", from_page(RELEASE)]),
        cwd=folder,
        env={**os.environ, "KUBECONFIG": os.fspath(cluster.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("replaced") == 2, done.stderr


def from_page(example: re.Pattern[str]) -> str:
    page = (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8")
    (text,) = example.findall(page)
    return str(text)


def flux(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Return what Flux's own code does with each object of a folder."""
    kustomization = yaml.safe_load(from_page(FLUX_EXAMPLE))
    kustomization["spec"]["postBuild"] = {"substitute": {"cluster": "lab"}}
    with tempfile.TemporaryDirectory() as name:
        file, copied = Path(name, "kustomization.json"), Path(name, FOLDER)
        file.write_text(json.dumps(kustomization), encoding="utf-8")
        shutil.copytree(folder, copied)
        command = [binaries.find("fluxlab"), cluster.kubeconfig, file, copied]
        done = subprocess.run(
            cluster.world.command([os.fspath(each) for each in command]),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return {name: action for action, name in lines}


def name_of(manifest: Json) -> str:
    """Return an object's name as Flux prints it."""
    metadata = manifest["metadata"]
    parts = (manifest["kind"], metadata.get("namespace"), metadata["name"])
    return "/".join(part for part in parts if part)


def edit(cluster: Cluster, manifest: Json, change: Json) -> None:
    """Change fields as `kubectl edit` does: by no apply."""
    cluster.api.call("PATCH", cluster.api.path_of(manifest), change, "merge-patch+json")
