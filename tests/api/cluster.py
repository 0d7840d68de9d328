"""A real API server that has the CRDs, and a stack's objects as Pulumi would send them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from components.namespaces.admission import namespaces_of
from lab.processes import Children, children
from render.manifests import RELEASE_TYPE
from render.program import Run
from tests import binaries
from tests.kubectl import differences
from tests.mesh import kubernetes
from tests.mesh.control_plane import ISTIO, START_SECONDS, chart, established
from tests.mesh.kubernetes import Api
from tests.mesh.networks import Network, build_world
from tests.mesh.versions import PAIRS
from tests.programs import run_to_end

Json = dict[str, Any]

CHARTS = {
    "istio-base": "base",
    "istio-cni": "istio-cni",
    "istiod": "istio-control/istio-discovery",
}
"""Release -> its chart's folder in Istio's source tree."""

STAYS = ("Namespace", "CustomResourceDefinition")
"""Kinds that are not removed after a stack: controllers would have to, and none runs here."""

WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
"""No istiod answers here: its webhooks would refuse every pod of a crawler."""


@dataclass(frozen=True)
class Cluster:
    """The API server; no controller runs, so a namespace that was made stays."""

    api: Api
    world: Network
    kubeconfig: Path

    def diff(self, manifests: Iterable[Json]) -> str:
        """Return what `kubectl diff` says that a sync by another manager would change."""
        return differences(manifests, self.kubeconfig, dict(os.environ), enter=self.world.command)

    def apply(self, manifest: Json) -> Json:
        """Apply on the server's side, and refuse fields that the API does not know."""
        query = "?fieldManager=api-tests&force=true&fieldValidation=Strict"
        path = self.api.path_of(manifest) + query
        return self.api.call("PATCH", path, manifest, "apply-patch+yaml")

    def try_pod(self, pod: Json) -> None:
        """Ask whether a pod would be admitted, without making it."""
        path = self.api.path("v1", "Pod", pod["metadata"]["namespace"])
        self.api.call("POST", f"{path}?dryRun=All&fieldValidation=Strict", pod)

    @contextmanager
    def creating(self) -> Iterator[Callable[[Json], None]]:
        """Yield what makes a pod that counts against quotas; remove all when the block ends."""
        made: list[Json] = []

        def create(pod: Json) -> None:
            metadata = {**pod["metadata"], "name": f"pod-{len(made)}"}
            made.append(self.api.create({**pod, "metadata": metadata}))

        try:
            yield create
        finally:
            for each in made:
                self.api.delete(
                    "v1", "Pod", each["metadata"]["namespace"], each["metadata"]["name"]
                )

    def use_quota(self, quota: Json) -> None:
        """Do what the controller of quotas would: count what is used, here nothing."""
        hard = quota["spec"]["hard"]
        self.api.set_status(quota, {"hard": hard, "used": dict.fromkeys(hard, "0")})

    def remove(self, manifests: Sequence[Json]) -> None:
        """Remove a stack in the order of `pulumi destroy`."""
        for each in reversed(manifests):
            if each["kind"] not in STAYS:
                metadata = each["metadata"]
                identity = (metadata.get("namespace"), metadata["name"])
                self.api.delete(each["apiVersion"], each["kind"], *identity)


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Run etcd and the API server, with the CRDs of Istio and of the Prometheus operator."""
    with children() as family:
        world = build_world(family, folder)
        try:
            kubernetes.start(family, world, folder)
            cluster = Cluster(Api(world), world, folder / "kubeconfig.json")
            _until(family, cluster.api.is_ready, "the API server is not ready")
            base = chart_objects("istio-base")
            crds = [*_operator_crds(), *_of_kind("CustomResourceDefinition", base)]
            for crd in crds:
                cluster.api.apply(crd)
            _until(family, lambda: established(cluster.api, crds), "CRDs are not established")
            yield cluster
        finally:
            world.close()


def _operator_crds() -> list[Json]:
    """Return the CRDs that the pinned Prometheus operator ships."""
    folder = binaries.find("operatorlab").parent
    files = sorted(folder.glob("monitoring.coreos.com_*.yaml"))
    assert files
    return [yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader) for file in files]


def chart_objects(release: str, values: Json | None = None) -> list[Json]:
    """Return what Helm makes of one of Istio's charts."""
    meshlab = PAIRS[0].program("meshlab")
    found = chart(meshlab, release, CHARTS[release], values or {})
    # As Helm does; the API server ignores a namespace where a kind has none.
    return [{**each, "metadata": {"namespace": ISTIO, **each["metadata"]}} for each in found]


def objects_of(run: Run) -> list[Json]:
    """Return a stack's objects without Istio's charts, in an order of `pulumi up`."""
    by_urn = {resource.urn: resource for resource in run.resources}
    graph = {urn: resource.dependencies & by_urn.keys() for urn, resource in by_urn.items()}
    found = [by_urn[urn] for urn in TopologicalSorter(graph).static_order()]
    made = [one.inputs for one in found if one.kind and not one.kind.endswith("Patch")]
    return [*existing_namespaces(run), *made]


def istio_of(run: Run) -> list[Json]:
    """Return what Helm makes of Istio's charts in a stack, and Istio's namespace with its quota."""
    releases = [one.inputs for one in run.of_type(RELEASE_TYPE)]
    charts = [each for one in releases for each in chart_objects(one["name"], one["values"])]
    quotas = [one.inputs for one in run.of_kind("ResourceQuota") if one.namespace == ISTIO]
    return [run.only("Namespace", ISTIO), *quotas, *charts]


def pods_of(manifests: Iterable[Json]) -> Iterator[tuple[Json, int]]:
    """Yield a pod of each workload, with its volumes claimed, and the most of it at a time."""
    manifests = [*manifests]
    scalers = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicas"]
        for each in _of_kind("HorizontalPodAutoscaler", manifests)
    }
    for each in manifests:
        spec, name = each.get("spec", {}), each["metadata"]["name"]
        if each["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" not in spec or "containers" not in spec["template"].get("spec", {}):
            continue
        template = json.loads(json.dumps(spec["template"]))
        for claim in spec.get("volumeClaimTemplates", ()):
            volume = claim["metadata"]["name"]
            source = {"claimName": f"{volume}-{name}-0"}
            template["spec"].setdefault("volumes", [])
            template["spec"]["volumes"].append({"name": volume, "persistentVolumeClaim": source})
        metadata = {**template.get("metadata", {}), "namespace": each["metadata"]["namespace"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        metadata["name"] = f"{name}-try"
        yield pod, scalers.get(name, spec.get("replicas", 1))


def charts_folder(version: str) -> Path:
    """Return the charts of a minor version of Istio, which its Go module has."""
    (build,) = (each.build for each in binaries.ISTIO if each.name == f"istio-{version}")
    assert build
    module = f"{build.module}@{build.module_version}"
    done = run_to_end("go", "mod", "download", "-json", module, cwd=build.folder)
    return Path(json.loads(done.stdout)["Dir"]) / "manifests" / "charts"


def _of_kind(kind: str, manifests: Iterable[Json]) -> list[Json]:
    return [each for each in manifests if each["kind"] == kind]


def existing_namespaces(run: Run) -> Iterator[Json]:
    """Yield the namespaces that a stack finds, with the labels that it adds."""
    for plan in namespaces_of(run.settings):
        if plan.action != "create":
            labels = plan.labels if plan.action == "label" else {}
            metadata = {"name": plan.name, "labels": labels}
            yield {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _until(family: Children, condition: Callable[[], bool], why: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        family.check()
        assert time.monotonic() < deadline, why
        time.sleep(0.05)
