"""`scheduling` and `images` reach every pod, claim and chart, of every shape of stack."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from render.manifests import RELEASE_TYPE
from render.program import Run
from render.program import run_program as run
from settings.loading import ROOT
from tests.program.conftest import SHAPES, edited_copy, objects

MIRROR = "registry.example/mirror"
TOLERATION = {"key": "dedicated", "operator": "Equal", "value": "crawling", "effect": "NoSchedule"}
SPREAD = {"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}
SCHEDULING = {
    "storageClass": "fast",
    "nodeSelector": {"pool": "monitoring"},
    "tolerations": [TOLERATION],
    "priorityClass": "monitoring",
    "topologySpread": [SPREAD],
}
PLACED = {
    "scheduling": SCHEDULING,
    "images": {"mirror": MIRROR, "pullSecrets": ["registry"]},
}
STORE = {"path": "backups/prod", "secret": "backup-storage"}
# What no shape has: containers before Prometheus and beside it, and claims of their own.
MORE: dict[str, dict[str, Any]] = {
    "object-store": {
        "replicas": 1,
        "thanos": {"objectStoreSecret": "thanos-objstore"},
        "backup": {"objectStorage": STORE},
        "restoreFrom": "20261130-030012",
    },
    "snapshots": {"replicas": 2, "backup": {}, "restoreFrom": "20261130-030012"},
}


OTHER = "1-30"

# Where a component makes pods.
MAKES_PODS = re.compile(r"\b(?:Deployment|StatefulSet|DaemonSet|ReplicaSet|CronJob|Job|Pod)\(")


@pytest.fixture(scope="module")
def placed_as(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    @functools.cache
    def run_shape(shape: str) -> Run:
        stack, edit = SHAPES.get(shape, SHAPES["prod"])

        def place(keys: dict[str, Any]) -> None:
            edit(keys)
            keys.update(PLACED)
            if shape in MORE:
                keys["prometheus"] = {**keys["prometheus"], **MORE[shape]}
                keys["ledger"] = {"enabled": True}
                keys["istio"] = {"otherRevision": {"revision": OTHER, "version": "1.30.2"}}

        return run(stack, edited_copy(tmp_path_factory.mktemp(shape), stack, place))

    return run_shape


@pytest.fixture(params=[*SHAPES, *MORE])
def placed(request: pytest.FixtureRequest, placed_as: Callable[[str], Run]) -> Run:
    return placed_as(request.param)


def found(value: Any, key: str) -> Iterator[dict[str, Any]]:
    """Yield every mapping with this key, at any depth."""
    if isinstance(value, dict):
        if key in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from found(item, key)


def workloads_of(run: Run) -> list[Any]:
    return [one for one in objects(run) if [*found(one.inputs.get("spec"), "containers")]]


def test_these_stacks_have_the_pods_of_every_component(placed_as):
    """A new component is in none of them until somebody adds it here."""
    files = (ROOT / "components").rglob("*.py")
    makers = [each for file in files for each in MAKES_PODS.findall(file.read_text())]
    types = {
        one.parent.split("::")[2].rpartition("$")[2]
        for shape in (*SHAPES, *MORE)
        for one in workloads_of(placed_as(shape))
    }
    assert len(types) == len(makers), types


def test_every_pod_has_its_place(placed):
    """A pod that forgets one key stays Pending, or runs where no other does."""
    assert {one.kind for one in workloads_of(placed)} <= {"Deployment", "StatefulSet", "CronJob"}
    for workload in workloads_of(placed):
        (template,) = found(workload.inputs["spec"], "template")
        template, selector = template["template"], template.get("selector")
        pod, labels = template["spec"], template["metadata"]["labels"]
        assert pod["nodeSelector"] == SCHEDULING["nodeSelector"], workload.urn
        assert pod["tolerations"] == [TOLERATION], workload.urn
        assert pod["priorityClassName"] == "monitoring", workload.urn
        assert pod["imagePullSecrets"] == [{"name": "registry"}], workload.urn
        spread = pod["topologySpreadConstraints"][-1]
        assert spread == {**SPREAD, "labelSelector": {"matchLabels": labels}}, workload.urn
        if selector:  # a CronJob's jobs have none of this program
            assert selector["matchLabels"].items() <= labels.items(), workload.urn


def test_every_image_comes_from_the_mirror(placed):
    for workload in workloads_of(placed):
        for container in found(workload.inputs["spec"], "image"):
            assert container["image"].startswith(f"{MIRROR}/"), workload.urn
            assert container["image"].count(MIRROR) == 1


def test_every_claim_has_the_storage_class(placed):
    claims = [*found([one.inputs for one in objects(placed)], "accessModes")]
    assert claims or placed.settings.prometheus.mode == "operator"
    assert {claim["storageClassName"] for claim in claims} <= {"fast"}


ISTIODS = {"mesh-istiod": "default", f"mesh-istiod-{OTHER}": OTHER}
"""Release -> its revision; two while Istio is upgraded."""


def test_istiod_and_its_images_are_placed_too(placed):
    planes = {one.name for one in placed.of_type(RELEASE_TYPE) if "istiod" in one.name}
    assert len(planes) == len(placed.settings.istio.control_planes) or not planes
    assert planes <= ISTIODS.keys()
    for release in placed.of_type(RELEASE_TYPE):
        values = release.inputs["values"]
        if release.name != "mesh-base":
            assert values["global"]["hub"] == f"{MIRROR}/registry.istio.io/release"
        if revision := ISTIODS.get(release.name):
            assert values["nodeSelector"] == SCHEDULING["nodeSelector"]
            assert values["tolerations"] == [TOLERATION]
            assert values["global"]["priorityClassName"] == "monitoring"
            (spread,) = values["topologySpreadConstraints"]
            labels = {"app": "istiod", "istio.io/rev": revision}
            assert spread == {**SPREAD, "labelSelector": {"matchLabels": labels}}


def test_an_image_of_the_mirror_is_not_prefixed_again(variant):
    """Whoever names one image of the mirror by hand means that one."""
    own = f"{MIRROR}/grafana:13.2.3"
    run = variant("dev", images={"mirror": MIRROR}, grafana={"image": own})
    (container,) = found(run.only("Deployment", "grafana")["spec"], "image")
    assert container["image"] == own


@pytest.mark.parametrize(("place", "constraints"), [("kubernetes.io/hostname", 1), ("zone", 2)])
def test_no_place_is_spread_over_twice(variant, place, constraints):
    """The generator's pods avoid one another's nodes already; the API server takes no two."""
    run = variant("dev", scheduling={"topologySpread": [{"topologyKey": place, "maxSkew": 3}]})
    (pod,) = found(run.only("StatefulSet", "load-generator")["spec"], "containers")
    assert len(pod["topologySpreadConstraints"]) == constraints
    assert pod["topologySpreadConstraints"][-1]["maxSkew"] == 3


@pytest.mark.parametrize(
    ("shape", "istio"),
    [("object-store", {}), ("global", {}), ("operator", {"install": False, "cni": True})],
)
def test_openshift_chooses_the_pods_users(edited, shape, istio):
    """Its SCC refuses a pod that names a user outside its namespace's range; all else stays."""
    stack, edit_shape = SHAPES.get(shape, SHAPES["prod"])
    runs = {}
    for platform in ("openshift", "eks"):

        def edit(keys: dict[str, Any], platform: str = platform) -> None:
            edit_shape(keys)
            keys["istio"] = {**istio, "platform": platform}
            if shape in MORE:
                keys["prometheus"] = {**keys["prometheus"], **MORE[shape]}
                keys["ledger"] = {"enabled": True}

        runs[platform] = run(stack, edited(stack, edit))
    theirs = {one.urn: one.inputs["spec"] for one in workloads_of(runs["openshift"])}
    ours = {one.urn: one.inputs["spec"] for one in workloads_of(runs["eks"])}
    for urn, spec in ours.items():
        for context in found(spec, "fsGroup"):
            for key in ("runAsUser", "runAsGroup", "fsGroup"):
                del context[key]
        assert theirs[urn] == spec
        assert not [*found(theirs[urn], "runAsUser")], urn
    assert len(theirs) == len(ours) >= 3


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_nothing_is_placed_unasked(run_program, stack):
    run = run_program(stack)
    keys = {"nodeSelector", "tolerations", "priorityClassName", "imagePullSecrets"}
    for workload in workloads_of(run):
        for pod in found(workload.inputs["spec"], "containers"):
            assert not keys & pod.keys()
    assert not [*found([one.inputs for one in objects(run)], "storageClassName")]
