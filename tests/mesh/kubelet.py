"""Run an injected pod as a kubelet would: first its iptables rules, then its sidecar."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.processes import Children, children
from tests.mesh.kubernetes import Api
from tests.mesh.networks import GATEWAY, Network, plug_in
from tests.mesh.stand_in import ACCESS_LOG, EXPORTED_PREFIX

Json = dict[str, Any]

PROXY_USER = 1337
READY_SECONDS = 120.0
ADMIN, STATUS, HEALTH, METRICS = 15000, 15020, 15021, 15090
NODE = "node-1"
COUNTS = ("istio_requests_total", "istio_tcp_connections_opened_total")
LOG_SECONDS = 60.0  # for a busy machine; it usually takes 0.05 s

MARK, MARK_VENDOR = ("10.9.0.10", 4444), "vendor-log"
"""A vendor whose connections mark a place in the access log, on a port that no Service has."""

_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, eq=False)
class Pod:
    """A running sidecar, and the network in which its crawler would be."""

    name: str
    network: Network
    folder: Path
    family: Children
    manifest: Json
    """The pod as the API server keeps it, after injection."""
    sidecar: int
    """The process whose process namespace holds the sidecar."""

    @property
    def node(self) -> str:
        """Its node name in xDS."""
        return f"{self.name}.{self.manifest['metadata']['namespace']}"

    def get(self, path: str, port: int = ADMIN, method: str = "GET") -> str:
        """Return a page of one of the sidecar's ports."""
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.sock = self.network.connect("127.0.0.1", port)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        assert answer.status == 200, f"{self.name}: {path}: {answer.status} {text[:300]}"
        return text

    def metrics(self) -> str:
        """Return the page that Prometheus scrapes."""
        return self.get("/stats/prometheus", port=METRICS)

    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        """Return `metrics` as (name, labels, value); the stand-in's have Istio's names."""
        found = []
        for line in self.metrics().splitlines():
            if line and not line.startswith("#"):
                name, labels, value = _SAMPLE.fullmatch(line).groups()  # type: ignore[union-attr]
                pairs = dict(_LABEL.findall(labels or ""))
                found.append((name.removeprefix(EXPORTED_PREFIX), pairs, float(value)))
        return found

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        return sum(
            value
            for found, pairs, value in self.samples()
            if found == name and labels.items() <= pairs.items()
        )

    def counts(self, vendors: Collection[str]) -> Counter[tuple[str, str]]:
        """Return how many requests and connections these vendors had, by vendor and visibility."""
        counted: Counter[tuple[str, str]] = Counter()
        for name, labels, value in self.samples():
            if name in COUNTS and labels.get("proxy_vendor") in vendors:
                counted[labels["proxy_vendor"], labels["proxy_visibility"]] += int(value)
        return counted

    def wire(self, cluster: str) -> tuple[float, float]:
        """Return the bytes that a cluster sent and received."""
        return (
            self.total("envoy_cluster_upstream_cx_tx_bytes_total", cluster_name=cluster),
            self.total("envoy_cluster_upstream_cx_rx_bytes_total", cluster_name=cluster),
        )

    def is_draining(self) -> bool:
        """Return whether the sidecar still has connections that a change will end."""
        draining = re.compile("envoy_listener_manager_total_(listeners|filter_chains)_draining")
        found = [value for name, _, value in self.samples() if draining.fullmatch(name)]
        assert len(found) == 2, f"{self.name}: does not tell what it drains"
        return any(found)

    def envoy(self) -> int:
        """Return the process number of the sidecar's Envoy."""
        (envoy,) = _children_of(agent_of(self))
        return envoy

    def log(self) -> list[Json]:
        """Return the access log of the program's chains, with all connections that have ended."""
        mark = self._mark()
        file = self.folder / ACCESS_LOG
        deadline = time.monotonic() + LOG_SECONDS
        while True:
            lines = file.read_text().splitlines() if file.exists() else []
            entries = [json.loads(line) for line in lines if line.endswith("}")]
            if any(entry["source"] == mark for entry in entries):
                return [entry for entry in entries if entry["vendor"] != MARK_VENDOR]
            assert time.monotonic() < deadline, f"{self.name}: the log does not grow"
            time.sleep(0.02)

    def entry(self, source: int, seconds: float = LOG_SECONDS) -> Json | None:
        """Return the log's entry of a connection by the crawler's port, None if it has none.

        The sidecar may end a connection a moment after the crawler does.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = [entry for entry in self.log() if entry["source"] == source]
            if found or time.monotonic() > deadline:
                return found[-1] if found else None
            time.sleep(0.05)

    def _mark(self) -> int:
        """Make a connection that becomes the last entry of the log; return the crawler's port."""
        with self.network.connect(*MARK) as sock:
            sock.sendall(b"GET http://mark.sim.test/ HTTP/1.1\r\n\r\n")
            sock.recv(100)
            return int(sock.getsockname()[1])

    def is_ready(self) -> bool:
        """Return whether the startup probe that Istio injects would succeed."""
        try:
            self.get("/healthz/ready", port=HEALTH)
        except (OSError, AssertionError):
            return False
        return True

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> float:
        """Wait for the startup probe; return how long it took."""
        started = time.monotonic()
        while not self.is_ready():
            self.family.check()
            waited = time.monotonic() - started
            assert waited < seconds, f"{self.name}: not ready in {seconds} s; see {self.folder}"
            time.sleep(0.05)
        return time.monotonic() - started


@contextmanager
def running(
    api: Api, world: Network, folder: Path, number: int, manifest: Json, *, wait: bool = True
) -> Iterator[Pod]:
    """Create a pod and run its sidecar until the block ends."""
    with children() as family, _created(api, manifest) as made:
        name = made["metadata"]["name"]
        agent = agent_for(made, folder)
        own = folder / f"pod-{number}-{name}"
        own.mkdir()
        network = Network(family, name, own)
        network.resolve_as_a_pod(own)
        addresses = plug_in(world, network, number)
        status = {
            "phase": "Running",
            "podIP": addresses[0],
            "podIPs": [{"ip": address} for address in addresses],
            "hostIP": GATEWAY,
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        made = api.set_status(made, status)
        _redirect(network, made, agent, own, family)
        _mount(api, made, own)
        proxy = proxy_of(made)
        environment = _environment(made, proxy)
        # env -i: the kubelet gives a container no variables but its own.
        command = ["env", "-i", *(f"{key}={value}" for key, value in environment.items())]
        command += [os.fspath(agent), *(_expanded(text, environment) for text in proxy["args"])]
        sidecar = family.start(
            f"{name}'s sidecar",
            network.container(command, PROXY_USER),
            log=own / "sidecar.log",
            folder=own,
        )
        pod = Pod(name, network, own, family, made, sidecar)
        try:
            if wait:
                pod.wait_until_ready()
            yield pod
        finally:
            os.kill(sidecar, signal.SIGKILL)  # after SIGTERM it would drain first
            network.close()


def agent_for(pod: Json, folder: Path) -> Path:
    """Return the agent of the Istio that injected a pod, which a kubelet has from an image."""
    revision = pod["metadata"]["annotations"]["istio.io/rev"]
    own = folder if revision == "default" else folder / revision
    return own / "bin" / "pilot-agent"


def rss_mb(process: int | None, *, peak: bool = False) -> float:
    """Return the resident memory of a process, or its peak."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:" if peak else "VmRSS:")[2].split()[0]) / 1024


def agent_of(pod: Pod) -> int:
    """Return the container's first process, which gets the kubelet's signals."""
    (agent,) = _children_of(pod.sidecar)
    return agent


@contextmanager
def _created(api: Api, manifest: Json) -> Iterator[Json]:
    """Create a pod in the API server, and delete it at the end of the block."""
    made = api.create(manifest)
    try:
        yield made
    finally:
        api.delete("v1", "Pod", made["metadata"]["namespace"], made["metadata"]["name"])


def _children_of(process: int) -> list[int]:
    # Each thread has its own list, and Go forks from any thread.
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return [int(one) for file in lists for one in file.read_text().split()]


def proxy_of(pod: Json) -> Json:
    """Return the injected sidecar, native or not."""
    spec = pod["spec"]
    for one in [*spec.get("initContainers", ()), *spec["containers"]]:
        if one["name"] == "istio-proxy":
            return dict(one)
    raise AssertionError("no sidecar was injected")


def _redirect(network: Network, pod: Json, agent: Path, own: Path, family: Children) -> None:
    """Write Istio's iptables rules into the pod, as istio-init or the CNI plugin does."""
    inits = {one["name"]: one for one in pod["spec"].get("initContainers", ())}
    init = inits.get("istio-init") or inits["istio-validation"]
    # With the CNI plugin, istio-validation has the arguments from which the plugin makes rules.
    arguments = [a for a in init["args"] if a not in ("--run-validation", "--skip-rule-apply")]
    name = f"{network.name}'s rules"
    environment = {one["name"]: one["value"] for one in init.get("env", ()) if "value" in one}
    environment["INSTANCE_IP"] = pod["status"]["podIP"]
    family.start(
        name,
        network.command([os.fspath(agent), *arguments]),
        log=own / "rules.log",
        environment=environment,
        folder=own,
    )
    family.wait_for_end(name)


def _mount(api: Api, pod: Json, own: Path) -> None:
    """Write the files of the pod's volumes below its working folder."""
    metadata = pod["metadata"]
    account = pod["spec"].get("serviceAccountName", "default")
    root = api.get("v1", "ConfigMap", metadata["namespace"], "istio-ca-root-cert")
    files = {
        "var/run/secrets/istio/root-cert.pem": root["data"]["root-cert.pem"],
        "var/run/secrets/tokens/istio-token": api.token(metadata["namespace"], account, "istio-ca"),
        "etc/istio/pod/labels": _downward(metadata.get("labels", {})),
        "etc/istio/pod/annotations": _downward(metadata.get("annotations", {})),
    }
    for path, content in files.items():
        (own / path).parent.mkdir(parents=True, exist_ok=True)
        (own / path).write_text(content)
    for folder in ("etc/istio/proxy", "var/run/secrets/workload-spiffe-uds"):
        (own / folder).mkdir(parents=True)
    for one in (own, *own.rglob("*")):
        os.chown(one, PROXY_USER, PROXY_USER)


def _downward(values: Mapping[str, str]) -> str:
    """Return labels or annotations as a downward-API volume has them."""
    return "".join(f"{key}={json.dumps(value)}\n" for key, value in sorted(values.items()))


def _environment(pod: Json, container: Json) -> dict[str, str]:
    values = {"PATH": "/usr/bin:/bin"}
    for one in container["env"]:
        source = one.get("valueFrom")
        text = _referred(pod, container, source) if source else one.get("value", "")
        values[one["name"]] = _expanded(text, values)
    return values


def _referred(pod: Json, container: Json, source: Json) -> str:
    if "fieldRef" in source:
        found: Any = pod
        for part in source["fieldRef"]["fieldPath"].split("."):
            if part == "podIPs":
                return ",".join(one["ip"] for one in found["podIPs"])
            found = found.get(part, "default" if part == "serviceAccountName" else "")
        return str(found)
    resource = source["resourceFieldRef"]["resource"].partition(".")[2]
    amount = container["resources"]["limits"][resource]
    if resource == "cpu":  # Kubernetes rounds up to whole cores
        millis = int(amount[:-1]) if amount.endswith("m") else int(amount) * 1000
        return str(-(-millis // 1000))
    factor = {"M": 10**6, "Mi": 2**20, "G": 10**9, "Gi": 2**30}
    number, unit = re.fullmatch(r"(\d+)(\D*)", amount).groups()  # type: ignore[union-attr]
    return str(int(number) * factor.get(unit, 1))


def _expanded(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda match: values.get(match[1], match[0]), text)
