"""A mesh: the control plane, the custom resources that a stack renders, and pods with sidecars."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.attribution.labels import LABELS_FILTER_NAME
from components.attribution.order import filters_before
from components.attribution.passive import FILTER_NAME as PASSIVE_FILTER_NAME
from components.mesh.values import istiod_release
from lab.processes import children
from render.manifests import manifests
from render.program import run_program
from settings.loading import PROJECT, load_stack_file
from settings.stack import StackSettings
from tests.mesh import kubelet, kubernetes
from tests.mesh.control_plane import START_SECONDS, ControlPlane
from tests.mesh.kubernetes import Api, ApiError
from tests.mesh.networks import Network, build_world, plug_in
from tests.mesh.versions import Pair

Json = dict[str, Any]

STACK_FILE = Path(__file__).with_name("Pulumi.mesh.yaml")
CRAWLERS = "crawlers"
API_VERSIONS = {
    "ServiceEntry": "networking.istio.io/v1",
    "EnvoyFilter": "networking.istio.io/v1alpha3",
    "Sidecar": "networking.istio.io/v1",
    "ProxyConfig": "networking.istio.io/v1beta1",
}
"""The program's custom resources, in the order of their removal."""


def rendered(stack_file: Path = STACK_FILE) -> dict[str, Json]:
    """Return what `make render` writes for a stack, by path."""
    files = manifests(run_program("mesh", stack_file).resources)
    return {path: yaml.load(text, yaml.CSafeLoader) for path, text in files.items()}


@contextmanager
def _stack_file(edit: Callable[[Json], None]) -> Iterator[Path]:
    document = yaml.safe_load(STACK_FILE.read_text())
    keys = {key.removeprefix(f"{PROJECT}:"): value for key, value in document["config"].items()}
    edit(keys)
    config = {f"{PROJECT}:{key}": value for key, value in keys.items()}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"config": config}, file)
        file.flush()
        yield Path(file.name)


def edited(edit: Callable[[Json], None]) -> dict[str, Json]:
    """Return what the tests' stack renders after `edit` has changed its keys."""
    with _stack_file(edit) as file:
        return rendered(file)


def unchanged(keys: Json) -> None:
    """Edit nothing: an edit for `Mesh.stack`."""


@dataclass
class Mesh(ControlPlane):
    """The control plane with the tests' stack applied; `pod` starts a sidecar."""

    files: dict[str, Json] = field(default_factory=dict)
    """What is applied at present, as rendered."""
    others: frozenset[tuple[str, str]] = frozenset()
    """(kind, name) of custom resources of other people in the crawlers' namespace."""
    _pods: int = 0
    _versions: dict[str, str] = field(default_factory=dict)
    _written: float = 0.0
    """When the last change of a custom resource began, in time.time()."""

    def up(
        self, files: Mapping[str, Json], namespace: str = CRAWLERS, *, retry_seconds: float = 0.0
    ) -> None:
        """Make the custom resources what a stack renders, in the order of `pulumi up`.

        A busy istiod may not validate a write within its 10 s: `retry_seconds` is how long `up`
        tries such a write again.
        """
        wanted = {
            (each["kind"], each["metadata"]["name"]): each
            for each in files.values()
            if each.get("kind") in API_VERSIONS and each["metadata"]["namespace"] == namespace
        }
        filters = {
            name: each["spec"] for (kind, name), each in wanted.items() if kind == "EnvoyFilter"
        }
        before = filters_before(filters)

        def order(key: tuple[str, str]) -> tuple[bool, int]:
            # A ServiceEntry gives a name an address that only our filter chains know.
            return key[0] == "ServiceEntry", len(before.get(key[1], ()))

        for key in sorted(wanted, key=order):
            began = time.time()
            metadata = self._apply(wanted[key], began + retry_seconds)["metadata"]
            if self._versions.get(metadata["uid"]) != metadata["resourceVersion"]:
                self._versions[metadata["uid"]] = metadata["resourceVersion"]
                self._written = began
        self.down(keep=wanted, namespace=namespace)
        self.files = {**files}

    def _apply(self, manifest: Json, deadline: float) -> Json:
        while True:
            try:
                return self.api.apply(manifest)
            except ApiError as error:
                if "failed calling webhook" not in str(error) or time.time() > deadline:
                    raise

    def down(self, keep: Iterable[tuple[str, str]] = (), namespace: str = CRAWLERS) -> None:
        """Delete the program's custom resources, chains before the clusters they need."""
        kept = set(keep)
        for kind, api_version in API_VERSIONS.items():
            found = [
                each["metadata"]["name"] for each in self.api.list(api_version, kind, namespace)
            ]
            for name in sorted(
                found,
                key=lambda name: (
                    name
                    in (
                        LABELS_FILTER_NAME,
                        PASSIVE_FILTER_NAME,
                    ),  # else the last requests would not be counted
                    "shared" not in name and ".chain-" not in name,
                ),
            ):
                if (kind, name) not in {*kept, *self.others}:
                    self._written = time.time()
                    self.api.delete(api_version, kind, namespace, name)

    def restore(self) -> None:
        """Start istiod if a test left it dead, and apply the tests' stack."""
        if not self.istiod_is_ready():
            self.start_istiod()
            self.until(self.refuses_nonsense, START_SECONDS, "istiod's webhooks fail")
        self.up(self.stack(unchanged), retry_seconds=START_SECONDS)
        self.until_injected()

    def stack(self, edit: Callable[[Json], None]) -> dict[str, Json]:
        """Return what the tests' stack renders after `edit` has changed its keys."""
        return edited(edit)

    def settings(self, edit: Callable[[Json], None]) -> StackSettings:
        """Return the settings of that stack."""
        with _stack_file(edit) as file:
            return load_stack_file(file)

    def settled(self, pods: Sequence[kubelet.Pod], since: float) -> None:
        """Wait until each pod has acknowledged all that was pushed after `since` (time.time()).

        Pushes from before the last change do not count: istiod may send one amid the changes.
        """
        names = {pod.node for pod in pods}
        since = max(since, self._written)

        def quiet() -> bool:
            events = [e for e in self.passed() if e["node"] in names and e["time"] > since]
            pushed = {e["node"] for e in events if e["what"] == "push"}
            last = max((e["time"] for e in events), default=0.0)
            return pushed == names and time.time() - last > 0.6

        self.until(quiet, why="not every sidecar got a push")

    def namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a namespace with its service account; no controller makes one here."""
        metadata = {"name": name, "labels": dict(labels)}
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        account = {"name": "default", "namespace": name}
        self.api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})

        def has_root_certificate() -> bool:
            maps = self.api.list("v1", "ConfigMap", name)
            return "istio-ca-root-cert" in [each["metadata"]["name"] for each in maps]

        self.until(has_root_certificate)

    def pod_manifest(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        namespace: str = CRAWLERS,
        containers: Sequence[Json] = (),
    ) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {"app": "crawler", **(labels or {})},
                "annotations": dict(annotations or {}),
            },
            "spec": {
                "nodeName": kubelet.NODE,
                "serviceAccountName": "default",  # as admission would write it
                "containers": [{"name": "crawler", "image": "example.com/crawler"}, *containers],
            },
        }

    def injected(self, manifest: Json) -> Json:
        """Return a pod as the API server keeps it after injection, without running it."""
        made = self.api.create(manifest)
        metadata = made["metadata"]
        self.api.delete("v1", "Pod", metadata["namespace"], metadata["name"])
        return made

    def until_injected(self, namespace: str = CRAWLERS) -> None:
        """Wait until istiod gives new crawlers what the stack's ProxyConfig says: half a second."""
        (config,) = [each for each in self.files.values() if each.get("kind") == "ProxyConfig"]
        wanted = config["spec"]["environmentVariables"].keys()

        def is_given() -> bool:
            made = self.injected(self.pod_manifest("crawler-probe", namespace=namespace))
            return wanted <= {each["name"] for each in kubelet.proxy_of(made)["env"]}

        self.until(is_given)

    @contextmanager
    def pod(self, name: str, *, wait: bool = True, **options: Any) -> Iterator[kubelet.Pod]:
        """Run the sidecar of a new pod; `options` are those of `pod_manifest`."""
        self._pods += 1
        with kubelet.running(
            self.api,
            self.world,
            self.folder,
            self._pods,
            self.pod_manifest(name, **options),
            wait=wait,
        ) as pod:
            yield pod

    @contextmanager
    def control_plane(self, pair: Pair, revision: str) -> Iterator[ControlPlane]:
        """Prepare a second istiod of another version, in a network of its own."""
        folder = self.folder / revision
        folder.mkdir()
        shutil.copy(self.folder / "kubeconfig.json", folder)
        _programs(pair, folder)
        network = Network(self.family, istiod_release(revision) + "'s network", folder)
        self._pods += 1
        address, _ = plug_in(self.world, network, self._pods)
        try:
            yield ControlPlane(pair, folder, self.family, network, self.api, address, revision)
        finally:
            network.close()

    @contextmanager
    def pods(
        self, labels: Mapping[str, Mapping[str, str]], **options: Any
    ) -> Iterator[list[kubelet.Pod]]:
        """Run a pod for each name in `labels`; all start before any is waited for."""
        with ExitStack() as stack:
            started = [
                stack.enter_context(self.pod(name, wait=False, labels=own, **options))
                for name, own in labels.items()
            ]
            for pod in started:
                pod.wait_until_ready()
            yield started


@contextmanager
def running(pair: Pair, say: Callable[[str], None], *, keep: bool = False) -> Iterator[Mesh]:
    """Run a mesh with the tests' stack applied; keep its folder if asked to."""
    files = rendered()
    with platform(pair, say, files, keep=keep) as mesh:
        labels = files[f"_cluster/Namespace-{CRAWLERS}.yaml"]["metadata"]["labels"]
        mesh.namespace(CRAWLERS, labels)
        mesh.up(files)
        mesh.until_injected()
        yield mesh


@contextmanager
def platform(
    pair: Pair, say: Callable[[str], None], files: Mapping[str, Json], *, keep: bool = False
) -> Iterator[Mesh]:
    """Run a mesh without a stack, of which `files` say what is cluster-wide and Istio's values."""
    # Not pytest's folder: the sidecars' user must be able to enter it.
    folder = Path(tempfile.mkdtemp(prefix="mesh-"))
    folder.chmod(0o755)
    try:
        with children() as family:
            programs = _programs(pair, folder)
            world = build_world(family, folder)
            kubernetes.start(family, world, folder)
            mesh = Mesh(pair, folder, family, world, Api(world))
            mesh.until(mesh.api.is_ready, START_SECONDS, "the API server is not ready")
            try:
                mesh.install(files, programs["meshlab"], say)
                yield mesh
            finally:
                world.close()
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _programs(pair: Pair, folder: Path) -> dict[str, Path]:
    """Copy the programs to a folder that the sidecars' user can read."""
    (folder / "bin").mkdir()
    found = {name: pair.program(name) for name in ("pilot-discovery", "pilot-agent", "meshlab")}
    found["envoy"] = pair.envoy_program()
    found["bootstrap"] = found["meshlab"].with_name("envoy_bootstrap.json")
    copies = {name: folder / "bin" / name for name in found}
    for name, copy in copies.items():
        shutil.copy(found[name], copy)
        copy.chmod(0o755)
    return copies
