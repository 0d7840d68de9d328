"""A mesh in one place: API server, istiod with its webhooks, and what the program renders.

The charts get the very values that the program gives to Helm. What a machine without kubelets and
images must have otherwise is LAB_VALUES, and the relay between istiod and the sidecars
(`stand_in`); both are printed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from components.attribution.render import filters_before
from lab.processes import Children, LabError, children
from render.manifests import manifests
from render.program import run_program
from settings.loading import PROJECT, ROOT
from tests.mesh import kubelet, kubernetes
from tests.mesh.kubernetes import Api, ApiError
from tests.mesh.networks import GATEWAY, Network, build_world
from tests.mesh.versions import Pair

Json = dict[str, Any]
T = TypeVar("T")

STACK_FILE = Path(__file__).with_name("Pulumi.mesh.yaml")
CRAWLERS, ISTIO = "crawlers", "istio-system"
ISTIOD = "istiod.istio-system.svc"
RELAY_PORT = 15009
START_SECONDS = 60.0

_CUSTOM = ("EnvoyFilter", "Sidecar")


def lab_values(folder: Path) -> Json:
    """Return what is added to the program's values of istiod's chart."""
    return {
        "env": {"ISTIO_DUAL_STACK": "true"},  # IPv6 vendors; docs/limits.md asks for it as well
        "global": {"caAddress": f"{GATEWAY}:15012"},  # there is no DNS
        "meshConfig": {
            "defaultConfig": {
                "discoveryAddress": f"{GATEWAY}:{RELAY_PORT}",
                "binaryPath": f"{folder}/bin/envoy",
                "fileFlushInterval": "0.050s",  # access logs are read at once
                "proxyMetadata": {
                    "ISTIO_DUAL_STACK": "true",
                    "ISTIO_BOOTSTRAP": f"{folder}/bin/bootstrap",
                    "ISTIOD_SAN": ISTIOD,
                    "XDS_ROOT_CA": f"{folder}/relay.pem",  # the relay's; certificates are istiod's
                    "CLOUD_PLATFORM": "none",  # else the agent asks the clouds' metadata servers
                },
            }
        },
    }


def rendered(stack_file: Path = STACK_FILE) -> dict[str, Json]:
    """Return what `make render` writes for a stack, by path."""
    files = manifests(run_program("mesh", stack_file).resources)
    return {path: yaml.load(text, yaml.CSafeLoader) for path, text in files.items()}


def merged(base: Any, more: Any) -> Any:
    """Return two trees of maps as one; the second wins."""
    if not (isinstance(base, dict) and isinstance(more, dict)):
        return more
    return base | {key: merged(base.get(key), value) for key, value in more.items()}


@dataclass
class Mesh:
    """The control plane, running; pods are made by `pod`."""

    pair: Pair
    folder: Path
    family: Children
    world: Network
    api: Api
    files: dict[str, Json]
    """What is applied at present, as rendered."""
    _istiod: int | None = None
    _deployment: Json = field(default_factory=dict)
    _pods: int = 0
    _versions: dict[str, str] = field(default_factory=dict)
    _written: float = 0.0
    """When the last change of a custom resource began, in time.time()."""

    # ---- the program's resources

    def up(
        self, files: Mapping[str, Json], namespace: str = CRAWLERS, *, patience: float = 0.0
    ) -> None:
        """Make the custom resources what a stack renders, in the order of `pulumi up`.

        `patience` is for how many seconds a write is tried again that istiod is too busy to
        validate within the 10 s it has.
        """
        wanted = {
            (one["kind"], one["metadata"]["name"]): one
            for one in files.values()
            if one.get("kind") in _CUSTOM and one["metadata"]["namespace"] == namespace
        }
        filters = {name: one["spec"] for (kind, name), one in wanted.items() if kind == _CUSTOM[0]}
        before = filters_before(filters)
        order = sorted(wanted, key=lambda key: len(before.get(key[1], ())))
        for key in order:
            began = time.time()
            metadata = self._apply(wanted[key], began + patience)["metadata"]
            if self._versions.get(metadata["uid"]) != metadata["resourceVersion"]:
                self._versions[metadata["uid"]] = metadata["resourceVersion"]
                self._written = began
        self.down(keep=set(wanted), namespace=namespace)
        self.files = {**files}

    def _apply(self, thing: Json, deadline: float) -> Json:
        while True:
            try:
                return self.api.apply(thing)
            except ApiError as error:
                if "failed calling webhook" not in str(error) or time.time() > deadline:
                    raise

    def down(self, keep: Iterable[tuple[str, str]] = (), namespace: str = CRAWLERS) -> None:
        """Delete the program's custom resources, chains before the clusters they need."""
        kept = set(keep)
        for kind, version in (("EnvoyFilter", "v1alpha3"), ("Sidecar", "v1")):
            api_version = f"networking.istio.io/{version}"
            there = set(self.api.names(api_version, kind, namespace))
            gone = {name for name in there if (kind, name) not in kept}
            for name in sorted(gone, key=lambda one: "shared" not in one and ".chain-" not in one):
                self._written = time.time()
                self.api.delete(api_version, kind, namespace, name)

    def restore(self) -> None:
        """Have istiod, and the tests' stack applied, whatever a test left."""
        if not self._answers(8080, "/ready"):
            self.start_istiod()
            self.until(lambda: _validates(self.api), START_SECONDS, "istiod's webhooks fail")
        self.up(self.stack(lambda keys: None), patience=START_SECONDS)

    def stack(self, edit: Callable[[Json], None]) -> dict[str, Json]:
        """Return what the tests' stack renders after `edit` changed its keys."""
        document = yaml.safe_load(STACK_FILE.read_text())
        keys = {key.removeprefix(f"{PROJECT}:"): value for key, value in document["config"].items()}
        edit(keys)
        config = {f"{PROJECT}:{key}": value for key, value in keys.items()}
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"config": config}, file)
            file.flush()
            return rendered(Path(file.name))

    # ---- pods

    def namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Make one that pods can live in, as the controllers that are not here would."""
        metadata = {"name": name, "labels": dict(labels)}
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        account = {"name": "default", "namespace": name}
        self.api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        self.until(lambda: "istio-ca-root-cert" in self.api.names("v1", "ConfigMap", name))

    def pod_manifest(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        namespace: str = CRAWLERS,
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
                "containers": [{"name": "crawler", "image": "example.com/crawler"}],
            },
        }

    @contextmanager
    def pod(self, name: str, *, wait: bool = True, **of: Any) -> Iterator[kubelet.Pod]:
        """Run a sidecar for a pod of this name; more as in `pod_manifest`."""
        self._pods += 1
        with kubelet.running(
            self.api,
            self.world,
            self.folder,
            self._pods,
            self.pod_manifest(name, **of),
            self.folder / "bin" / "pilot-agent",
            wait=wait,
        ) as pod:
            yield pod

    @contextmanager
    def pods(
        self,
        names: Sequence[str],
        labels_of: Callable[[str], Mapping[str, str]] = lambda _: {},
        **of: Any,
    ) -> Iterator[list[kubelet.Pod]]:
        """Run several; all start before any is waited for."""
        with ExitStack() as stack:
            started = [
                stack.enter_context(self.pod(name, wait=False, labels=labels_of(name), **of))
                for name in names
            ]
            for one in started:
                one.wait_until_ready()
            yield started

    # ---- istiod

    def start_istiod(self) -> None:
        """Start it and wait until it is ready."""
        container = self._deployment["spec"]["template"]["spec"]["containers"][0]
        environment = {one["name"]: one["value"] for one in container["env"] if "value" in one} | {
            "KUBECONFIG": os.fspath(self.folder / "kubeconfig.json"),
            "POD_NAME": "istiod-1",
            "POD_NAMESPACE": ISTIO,
            "SERVICE_ACCOUNT": "istiod",
        }
        own = self.folder / "istiod"
        own.mkdir(exist_ok=True)
        self._istiod = self.family.start(
            "istiod",
            self.world.command([f"{self.folder}/bin/pilot-discovery", *container["args"]]),
            log=own / f"istiod-{time.monotonic_ns()}.log",
            environment=environment,
            folder=own,
        )
        self.until(lambda: self._answers(8080, "/ready"), START_SECONDS, "istiod is not ready")

    def kill_istiod(self) -> None:
        self.family.end("istiod", signal.SIGKILL)

    def istiod_rss_mb(self) -> float:
        status = Path(f"/proc/{self._istiod}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def istiod(self, path: str, port: int = 15014) -> str:
        """Ask istiod's own pages: metrics, or /debug on port 8080."""
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.sock = self.world.connect("127.0.0.1", port)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        assert answer.status == 200, f"istiod: {path}: {answer.status}"
        return text

    def _answers(self, port: int, path: str) -> bool:
        try:
            self.istiod(path, port)
        except (OSError, AssertionError):
            return False
        return True

    # ---- what passed between istiod and the sidecars

    def passed(self) -> list[Json]:
        """Return the log of meshlab's relay.go: every push, ack and nack."""
        lines = (self.folder / "xds.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def sent(self, pod: kubelet.Pod, type_: str, name: str) -> Json:
        """Return a resource as istiod last sent it, decoded, before the relay's edit."""
        file = self.folder / "xds" / pod.node / type_ / f"{name}.json"
        return dict(json.loads(file.read_text()))

    def settled(self, pods: Sequence[kubelet.Pod], since: float, seconds: float = 30.0) -> None:
        """Wait until each pod has acknowledged all that was pushed after `since` (time.time()).

        A push from before the last change does not count: istiod may send one amid the changes.
        """
        names = {pod.node for pod in pods}
        since = max(since, self._written)

        def quiet() -> bool:
            events = [e for e in self.passed() if e["node"] in names and e["time"] > since]
            pushed = {e["node"] for e in events if e["what"] == "push"}
            last = max((e["time"] for e in events), default=0.0)
            return pushed == names and time.time() - last > 0.6

        self.until(quiet, seconds, "not every sidecar got a push")

    def until(
        self, condition: Callable[[], T], seconds: float = 40.0, why: str = "waited in vain"
    ) -> T:
        """Return the first true value of `condition`."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            self.family.check()
            assert time.monotonic() < deadline, f"{why} ({seconds:.0f} s; see {self.folder})"
            time.sleep(0.05)
        return value


@contextmanager
def running(pair: Pair, say: Callable[[str], None], *, keep: bool = False) -> Iterator[Mesh]:
    """Run a mesh with the tests' stack applied, until the block ends."""
    with own_folder(keep=keep) as folder, children() as family:
        programs = _programs(pair, folder)
        world = build_world(family, folder)
        kubernetes.start(family, world, folder)
        kubernetes.kubeconfig(folder)
        mesh = Mesh(pair, folder, family, world, Api(world), {})
        mesh.until(lambda: _serves(mesh.api), START_SECONDS, "the API server is not ready")
        files = rendered()
        _install(mesh, files, programs, say)
        mesh.start_istiod()
        try:
            mesh.until(lambda: _validates(mesh.api), START_SECONDS, "istiod's webhooks fail")
            _start_relay(mesh, programs["meshlab"])
            crawlers = files[f"_cluster/Namespace-{CRAWLERS}.yaml"]
            mesh.namespace(CRAWLERS, crawlers["metadata"]["labels"])
            mesh.up(files)
            yield mesh
        finally:
            world.close()


@contextmanager
def own_folder(*, keep: bool = False) -> Iterator[Path]:
    """Make a folder for one mesh, and remove it; before, those of runs that were killed.

    Whoever uses one holds a lock on it, and the kernel lets go of a lock with its process.
    """
    for left in Path(tempfile.gettempdir()).glob("mesh-*"):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left)
    # Not pytest's folder: the sidecars' user must be able to enter it.
    made = Path(tempfile.mkdtemp(prefix="kept-mesh-" if keep else "new-mesh-"))
    with _locked(made):
        folder = made if keep else made.rename(made.with_name(made.name.removeprefix("new-")))
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; an OSError if somebody does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _programs(pair: Pair, folder: Path) -> dict[str, Path]:
    """Put what sidecars run where their user can reach it."""
    (folder / "bin").mkdir()
    found = {name: pair.program(name) for name in ("pilot-discovery", "pilot-agent", "meshlab")}
    found["envoy"] = pair.envoy_program()
    found["bootstrap"] = found["meshlab"].with_name("envoy_bootstrap.json")
    copies = {name: folder / "bin" / name for name in found}
    for name, copy in copies.items():
        shutil.copy(found[name], copy)
        copy.chmod(0o755)
    return copies


def _serves(api: Api) -> bool:
    try:
        return api.call("GET", "/readyz")["text"] == "ok"
    except (OSError, ApiError):
        return False


def _install(
    mesh: Mesh, files: Mapping[str, Json], programs: Mapping[str, Path], say: Callable[[str], None]
) -> None:
    """Apply namespaces, Istio's charts, and a node new enough for native sidecars."""
    api = mesh.api
    for path, one in files.items():
        if path.startswith("_cluster/"):
            api.apply(one)
    of_base = files["helm/istio-base.yaml"]["values"]
    base = _chart(programs["meshlab"], "istio-base", "base", of_base)
    more = lab_values(mesh.folder)
    say(f"lab-only values of istiod's chart: {json.dumps(more)}")
    values = merged(files["helm/istiod.yaml"]["values"], more)
    # The program names no hub or tag where charts are not a folder: a release has them built in.
    values = merged(values, {"global": {"hub": "example.com", "tag": "mesh"}})
    istiod = _chart(programs["meshlab"], "istiod", "istio-control/istio-discovery", values)
    crds = [one for one in base if one["kind"] == "CustomResourceDefinition"]
    for one in crds:
        api.apply(one)
    mesh.until(lambda: _established(api, crds), START_SECONDS, "Istio's CRDs are not established")
    for one in [*base, *istiod]:
        if one["kind"] == "Deployment":
            mesh._deployment = one
        if one["kind"] not in ("CustomResourceDefinition", "HorizontalPodAutoscaler"):
            api.apply(_in(one, ISTIO))
    api.apply(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "istiod-1",
                "namespace": ISTIO,
                "labels": {"kubernetes.io/service-name": "istiod"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [GATEWAY], "conditions": {"ready": True}}],
            "ports": [
                {"name": one["name"], "port": one.get("targetPort", one["port"])}
                for one in _only(istiod, "Service")["spec"]["ports"]
            ],
        }
    )
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": kubelet.NODE}}
    info = {"kubeletVersion": "v1.37.2"}
    api.set_status(api.apply(node), {"nodeInfo": _node_info(info)})


def _node_info(known: Json) -> Json:
    names = (
        *("architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion"),
        *("kubeletVersion", "machineID", "operatingSystem", "osImage", "systemUUID"),
    )
    return dict.fromkeys(names, "") | known


def _only(objects: Iterable[Json], kind: str) -> Json:
    (found,) = [one for one in objects if one["kind"] == kind]
    return found


def _in(thing: Json, namespace: str) -> Json:
    return merged({"metadata": {"namespace": namespace}}, thing)


def _established(api: Api, crds: Sequence[Json]) -> bool:
    for one in crds:
        there = api.get(one["apiVersion"], one["kind"], None, one["metadata"]["name"])
        conditions = {c["type"]: c["status"] for c in there.get("status", {}).get("conditions", ())}
        if conditions.get("Established") != "True":
            return False
    return True


def _chart(meshlab: Path, release: str, folder: str, values: Json) -> list[Json]:
    command = [meshlab, "charts", "--release", release, "--namespace", ISTIO, "--folder", folder]
    done = subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _validates(api: Api) -> bool:
    """Whether istiod refuses nonsense, and injects: from then on nothing goes past it."""
    nonsense = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "nonsense", "namespace": "default"},
        "spec": {"configPatches": [{"applyTo": "CLUSTER"}]},
    }
    hooks = [
        hook
        for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
        for one in api.call("GET", api.path("admissionregistration.k8s.io/v1", kind, None))["items"]
        for hook in one.get("webhooks", ())
        if "istio" in hook["name"]
    ]
    if not hooks or not all(hook["clientConfig"].get("caBundle") for hook in hooks):
        return False
    try:
        api.apply(nonsense, dry_run=True)
    except ApiError as error:
        return "denied the request" in str(error)
    return False


def _start_relay(mesh: Mesh, meshlab: Path) -> None:
    pair = ["-keyout", f"{mesh.folder}/relay.key", "-out", f"{mesh.folder}/relay.pem"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    name = ["-subj", "/CN=relay", "-addext", f"subjectAltName=DNS:{ISTIOD}"]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *pair, *name],
        check=True,
        timeout=60,
        capture_output=True,
    )
    mesh.family.start(
        "relay",
        mesh.world.command(
            [
                os.fspath(meshlab),
                "relay",
                f"--listen={GATEWAY}:{RELAY_PORT}",
                f"--certificate={mesh.folder}/relay.pem",
                f"--key={mesh.folder}/relay.key",
                "--istiod=127.0.0.1:15010",
                f"--log={mesh.folder}/xds.jsonl",
                f"--keep={mesh.folder}/xds",
                *(sys.executable, "-m", "tests.mesh.stand_in"),
            ]
        ),
        log=mesh.folder / "relay.log",
        folder=ROOT,
    )

    def listens() -> bool:
        try:
            mesh.world.connect(GATEWAY, RELAY_PORT).close()
        except OSError:
            return False
        return True

    mesh.until(listens, START_SECONDS, "the relay does not listen")


__all__ = ["LabError", "Mesh", "lab_values", "merged", "own_folder", "rendered", "running"]
