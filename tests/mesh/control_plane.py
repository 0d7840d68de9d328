"""API server, istiod with its webhooks, and the relay between istiod and the sidecars.

istiod's chart gets the values that the program gives to Helm, and `lab_values` on top: what a
machine without kubelets and images needs instead. Both are printed.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from components.attribution.discovery import STATS_TYPE
from components.mesh.values import istiod_release
from lab.processes import Children
from settings.loading import ROOT
from tests.mesh import kubelet
from tests.mesh.kubernetes import Api, ApiError
from tests.mesh.networks import GATEWAY, Network
from tests.mesh.versions import Pair
from tests.programs import run_to_end

Json = dict[str, Any]
T = TypeVar("T")

ISTIO = "istio-system"
ISTIOD = "istiod.istio-system.svc"
RELAY_PORT = 15009
START_SECONDS = 120.0
WAIT_SECONDS = 120.0
"""For what usually takes a second: a busy machine is no failure."""


@dataclass
class ControlPlane:
    """The running parts, and what passed between istiod and the sidecars."""

    pair: Pair
    folder: Path
    family: Children
    world: Network
    """Where istiod and the relay run."""
    api: Api
    address: str = GATEWAY
    """Where pods reach both."""
    revision: str = "default"
    _istiod: int | None = None
    _objects: list[Json] = field(default_factory=list)
    """What istiod's chart made."""

    @property
    def release(self) -> str:
        return istiod_release(self.revision)

    def start_istiod(self) -> None:
        """Start istiod as its Deployment says, and wait until it is ready."""
        (deployment,) = [each for each in self._objects if each["kind"] == "Deployment"]
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        environment = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        folder = self.folder / "istiod"
        folder.mkdir(exist_ok=True)
        self._istiod = self.family.start(
            self.release,
            self.world.command([f"{self.folder}/bin/pilot-discovery", *container["args"]]),
            log=folder / f"istiod-{time.monotonic_ns()}.log",
            environment={
                **environment,
                "KUBECONFIG": os.fspath(self.folder / "kubeconfig.json"),
                "POD_NAME": f"{self.release}-1",
                "POD_NAMESPACE": ISTIO,
                "SERVICE_ACCOUNT": self.release,
            },
            folder=folder,
        )
        self.until(self.istiod_is_ready, START_SECONDS, "istiod is not ready")

    def kill_istiod(self) -> None:
        self.family.end(self.release, signal.SIGKILL)

    def istiod_is_ready(self) -> bool:
        try:
            self.istiod("/ready", 8080)
        except (OSError, AssertionError):
            return False
        return True

    def istiod_rss_mb(self) -> float:
        return kubelet.rss_mb(self._istiod)

    def forget_istiod_peak(self) -> None:
        """Let the kernel measure istiod's peak of resident memory anew."""
        Path(f"/proc/{self._istiod}/clear_refs").write_text("5")

    def istiod_peak_mb(self) -> float:
        return kubelet.rss_mb(self._istiod, peak=True)

    def istiod(self, path: str, port: int = 15014) -> str:
        """Return one of istiod's own pages: metrics, or /debug on port 8080."""
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

    def refuses_nonsense(self) -> bool:
        """Return whether istiod's webhooks validate and inject."""
        hooks = [
            hook
            for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
            for each in self.api.list("admissionregistration.k8s.io/v1", kind)
            for hook in each.get("webhooks", ())
            if "istio" in hook["name"]
        ]
        if not hooks or not all(hook["clientConfig"].get("caBundle") for hook in hooks):
            return False
        nonsense = {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": {"name": "nonsense", "namespace": "default"},
            "spec": {"configPatches": [{"applyTo": "CLUSTER"}]},
        }
        try:
            self.api.apply(nonsense, dry_run=True)
        except ApiError as error:
            return "denied the request" in str(error)
        return False

    def passed(self) -> list[Json]:
        """Return the log of meshlab's relay.go: every push, ack and nack."""
        lines = (self.folder / "xds.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def sent(self, pod: kubelet.Pod, type_: str, name: str) -> Json:
        """Return a resource as istiod last sent it, decoded, before the relay's edit."""
        file = self.folder / "xds" / pod.node / type_ / f"{name}.json"
        return dict(json.loads(file.read_text()))

    def until(
        self, condition: Callable[[], T], seconds: float = WAIT_SECONDS, why: str = "waited in vain"
    ) -> T:
        """Return the first true value of `condition`."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            self.family.check()
            assert time.monotonic() < deadline, f"{why} ({seconds:.0f} s; see {self.folder})"
            time.sleep(0.05)
        return value

    def install(self, files: Mapping[str, Json], meshlab: Path, say: Callable[[str], None]) -> None:
        """Apply the stack's namespaces, Istio's charts, and a node; start istiod and the relay."""
        for path, each in files.items():
            if path.startswith("_cluster/"):
                self.api.apply(each)
        # istiod asks the node's version, to know whether it runs native sidecars.
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": kubelet.NODE}}
        info = dict.fromkeys(NODE_INFO, "") | {"kubeletVersion": "v1.37.2"}
        self.api.set_status(self.api.apply(node), {"nodeInfo": info})
        self.apply_base(files, meshlab)
        self.install_istiod(files, meshlab, say)

    def apply_base(self, files: Mapping[str, Json], meshlab: Path) -> None:
        """Apply the chart that all control planes share."""
        base = chart(meshlab, "istio-base", "base", files["helm/istio-base.yaml"]["values"])
        crds = [each for each in base if each["kind"] == "CustomResourceDefinition"]
        for each in crds:
            self.api.apply(each)
        self.until(lambda: established(self.api, crds), START_SECONDS, "CRDs are not established")
        for each in base:
            if each not in crds:
                self.api.apply(merged({"metadata": {"namespace": ISTIO}}, each))

    def install_istiod(
        self, files: Mapping[str, Json], meshlab: Path, say: Callable[[str], None]
    ) -> None:
        """Apply the chart of this revision's istiod; start it and its relay."""
        added = lab_values(self.folder, self.address)
        say(f"lab-only values of {self.release}'s chart: {json.dumps(added)}")
        values = merged(files[f"helm/{self.release}.yaml"]["values"], added)
        made = chart(meshlab, self.release, "istio-control/istio-discovery", values)
        self._objects = [
            merged({"metadata": {"namespace": ISTIO}}, each)
            for each in made
            if each["kind"] != "HorizontalPodAutoscaler"
        ]
        for each in self._objects:
            if each["kind"] == "Service":
                self.api.apply(_endpoints_of_istiod(each, self.address))
            self.api.apply(each)
        self.start_istiod()
        self.until(self.refuses_nonsense, START_SECONDS, "istiod's webhooks fail")
        (self.folder / "labels.json").write_text(json.dumps(_labels(files)))
        self._start_relay(meshlab)

    def remove_istiod(self) -> None:
        """Remove a release as Helm does; its relay goes, too."""
        for each in reversed(self._objects):
            metadata = each["metadata"]
            self.api.delete(each["apiVersion"], each["kind"], ISTIO, metadata["name"])
        self.family.end(self.release, signal.SIGTERM)
        self.family.end(f"{self.release}'s relay", signal.SIGTERM)

    def _start_relay(self, meshlab: Path) -> None:
        certify(self.folder / "relay", "relay", f"subjectAltName=DNS:{ISTIOD}")
        command = [
            *(os.fspath(meshlab), "relay", f"--listen={self.address}:{RELAY_PORT}"),
            *(f"--certificate={self.folder}/relay.pem", f"--key={self.folder}/relay.key"),
            *("--istiod=127.0.0.1:15010", f"--log={self.folder}/xds.jsonl"),
            *(f"--keep={self.folder}/xds", sys.executable, "-m", "tests.mesh.stand_in"),
            f"{self.folder}/labels.json",
        ]
        log = self.folder / "relay.log"
        self.family.start(
            f"{self.release}'s relay", self.world.command(command), log=log, folder=ROOT
        )

        def listens() -> bool:
            try:
                self.world.connect(self.address, RELAY_PORT).close()
            except OSError:
                return False
            return True

        self.until(listens, START_SECONDS, "the relay does not listen")


NODE_INFO = (
    *("architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion"),
    *("kubeletVersion", "machineID", "operatingSystem", "osImage", "systemUUID"),
)
"""The fields that the API server requires of a node."""


def lab_values(folder: Path, address: str) -> Json:
    """Return what is added to the program's values of the chart of an istiod at this address."""
    return {
        "env": {"ISTIO_DUAL_STACK": "true"},  # for IPv6 vendors; docs/limits.md asks for it, too
        # The program names no hub or tag for charts from a folder; a release has them built in.
        "global": {
            "hub": "example.com",
            "tag": "mesh",
            "caAddress": f"{address}:15012",  # there is no DNS
        },
        "meshConfig": {
            "defaultConfig": {
                "discoveryAddress": f"{address}:{RELAY_PORT}",
                "binaryPath": f"{folder}/bin/envoy",
                "fileFlushInterval": "0.050s",  # the tests read access logs at once
                "proxyMetadata": {
                    "ISTIO_DUAL_STACK": "true",
                    "ISTIO_BOOTSTRAP": f"{folder}/bin/bootstrap",
                    "ISTIOD_SAN": ISTIOD,
                    "XDS_ROOT_CA": f"{folder}/relay.pem",  # certificates still come from istiod
                    "CLOUD_PLATFORM": "none",  # else the agent asks the clouds' metadata servers
                },
            }
        },
    }


def merged(base: Any, more: Any) -> Any:
    """Return two trees of maps as one, with the values of the second where both have one."""
    if not (isinstance(base, dict) and isinstance(more, dict)):
        return more
    return base | {key: merged(base.get(key), value) for key, value in more.items()}


def certify(path: Path, name: str, *extensions: str) -> None:
    """Write a self-signed certificate and its key as `path`.pem and `path`.key."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", f"/CN={name}"]
    command += ["-keyout", f"{path}.key", "-out", f"{path}.pem"]
    for extension in extensions:
        command += ["-addext", extension]
    subprocess.run(command, check=True, timeout=60, capture_output=True)


def _labels(files: Mapping[str, Json]) -> Json:
    """Return the configurations of istio.stats that a stack renders, by name."""
    found = [
        patch["patch"]["value"]
        for each in files.values()
        if each.get("kind") == "EnvoyFilter"
        for patch in each["spec"]["configPatches"]
        if patch["applyTo"] == "EXTENSION_CONFIG"
    ]
    return {
        one["name"]: one["typed_config"]
        for one in found
        if one["typed_config"]["@type"] == STATS_TYPE
    }


def _endpoints_of_istiod(service: Json, address: str) -> Json:
    """Return istiod's endpoints, which no controller makes here."""
    name = service["metadata"]["name"]
    labels = {"kubernetes.io/service-name": name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "namespace": ISTIO, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [
            {"name": port["name"], "port": port.get("targetPort", port["port"])}
            for port in service["spec"]["ports"]
        ],
    }


def established(api: Api, crds: Sequence[Json]) -> bool:
    """Return whether the API server serves all of these kinds."""
    for each in crds:
        found = api.get(each["apiVersion"], each["kind"], None, each["metadata"]["name"])
        conditions = found.get("status", {}).get("conditions", ())
        if not any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            return False
    return True


def chart(meshlab: Path, release: str, folder: str, values: Json) -> list[Json]:
    """Return what Helm would make of one of Istio's charts."""
    command = [meshlab, "charts", "--release", release, "--namespace", ISTIO, "--folder", folder]
    done = run_to_end(*command, input=json.dumps(values))
    return [json.loads(line) for line in done.stdout.splitlines()]
