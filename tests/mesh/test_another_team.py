"""`istio.install: false` in the mesh of another team, which does nothing for it.

Its istiod has its own values and a revision tag, the crawlers' namespace its own Sidecar, and
crawlers call its service, which takes mTLS alone.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.attribution.stats import SETUP_METRIC
from deployment import stack_plan
from preflight.checks import CRAWLERS as CRAWLERS_CHECKS
from preflight.objects import read
from preflight.stack import Stack
from settings.loading import load_stack_file
from tests.mesh import crawler, vendors
from tests.mesh.kubelet import Pod
from tests.mesh.mesh import CRAWLERS, STACK_FILE, Mesh, edited, platform
from tests.mesh.networks import why_not
from tests.mesh.test_traffic import PROXIES, WAYS
from tests.mesh.test_verify import kubectl_for
from tests.mesh.versions import PAIRS
from verify.cluster import Cluster
from verify.crawlers import crawler_checks

Json = dict[str, Any]
Key = tuple[str, str, str]

pytestmark = pytest.mark.long

TAG, SHOP = "prod-stable", "shop"
INJECTED = {"istio.io/rev": TAG}
THEIR_REGEXPS = ["listener.*downstream_cx_total"]
CHARTS: dict[str, Json] = {
    "istio-base": {"defaultRevision": "default"},
    "istiod": {
        "revisionTags": [TAG],
        "meshConfig": {
            "defaultConfig": {
                "proxyStatsMatcher": {
                    "inclusionPrefixes": ["cluster.outbound|80"],
                    "inclusionRegexps": THEIR_REGEXPS,
                },
                "extraStatTags": ["their_tag"],
            },
        },
    },
}
THEIR_TAGS = {
    "match": {"metric": "REQUEST_COUNT"},
    "tagOverrides": {"their_tag": {"value": "'theirs'"}},
}
NAMESPACES = {"istio-system": {}, "monitoring": {}, CRAWLERS: INJECTED, SHOP: INJECTED}
SERVER_PORT = 8080
REST_SECONDS = 3.0
ASKED = b"GET / HTTP/1.1\r\nHost: web.shop\r\nConnection: close\r\n\r\n"

CHANGES_BY_ITSELF = {"ComponentStatus", "Event", "Lease", "Pod"}
LEADER = "control-plane.alpha.kubernetes.io/leader"


def without_istio(keys: Json) -> None:
    keys["istio"] = {"install": False, "revision": TAG}
    keys["crawlers"]["createNamespaces"] = False
    keys["telemetry"]["alsoExport"] = ["listener*downstream_cx_total"]
    keys["prometheus"] = {
        "mode": "operator",
        "url": "http://theirs.monitoring.svc:9090",
        "operatorLabels": {"release": "theirs"},
        "createNamespace": False,
    }


def theirs(kind: str, name: str, namespace: str, spec: Json, group: str = "networking") -> Json:
    version = f"{group}.istio.io/v1beta1" if kind == "ProxyConfig" else f"{group}.istio.io/v1"
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


OBJECTS = [
    theirs(
        *("Sidecar", "platform", CRAWLERS),
        {"egress": [{"hosts": ["./*", "istio-system/*", f"{SHOP}/*"]}]},
    ),
    theirs(*("PeerAuthentication", "strict", SHOP, {"mtls": {"mode": "STRICT"}}), group="security"),
    theirs(
        *("Telemetry", "tags", "istio-system"),
        {"metrics": [{"providers": [{"name": "prometheus"}], "overrides": [THEIR_TAGS]}]},
        group="telemetry",
    ),
    theirs(
        *("ProxyConfig", "platform", "istio-system"),
        {"environmentVariables": {"THEIR_SETTING": "theirs"}},
    ),
]


@dataclass
class Calls:
    """What a crawler got from the other team's service, all the time."""

    good: int = 0
    bad: list[str] = field(default_factory=list)

    def one(self, pod: Pod, address: str) -> None:
        try:
            with pod.network.connect(address, 80) as sock:
                sock.sendall(ASKED)
                answer = sock.recv(65536)
        except OSError as error:
            answer = repr(error).encode()
        if answer.startswith(b"HTTP/1.1 200"):
            self.good += 1
        else:
            self.bad.append(answer[:60].decode("latin-1"))


@dataclass
class Story:
    """A mesh of another team with the stack in it, and what was before."""

    mesh: Mesh
    servers: vendors.Servers
    web: Pod
    address: str
    """Of the other team's service."""
    before: dict[Key, Json]
    old: Pod
    """A crawler that started before the stack."""
    new: Pod
    calls: Calls
    """Of `old`, from before the stack until the end."""

    def calls_for_a_while(self) -> None:
        wanted = self.calls.good + 20
        self.mesh.until(lambda: self.calls.bad or self.calls.good >= wanted)
        assert self.calls.bad == []


@pytest.fixture(scope="module", autouse=True)
def _as_rendered() -> None:
    """The mesh of this module has its own stack."""


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: pair.name)
def story(request: pytest.FixtureRequest) -> Iterator[Story]:
    if reason := why_not():
        pytest.skip(f"no mesh on this machine: {reason}")
    files = edited(without_istio)
    ours = {path: one for path, one in files.items() if not path.startswith("_cluster/")}
    platforms = {
        f"_cluster/{name}": {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        }
        for name, labels in NAMESPACES.items()
    } | {f"helm/{release}.yaml": {"values": values} for release, values in CHARTS.items()}
    with ExitStack() as stack:
        keep = os.environ.get("KEEP_MESH") == "1"
        mesh = stack.enter_context(platform(request.param, print, ours | platforms, keep=keep))
        mesh.others = frozenset((one["kind"], one["metadata"]["name"]) for one in OBJECTS)
        for namespace in (CRAWLERS, SHOP):
            mesh.namespace(namespace, INJECTED)
        for one in OBJECTS:
            mesh.api.apply(one)
        servers = stack.enter_context(vendors.serving(mesh.world, mesh.folder))
        web = stack.enter_context(mesh.pod("web-1", namespace=SHOP, labels={"app": "web"}))
        address = _serve(mesh, web)
        old = stack.enter_context(mesh.pod("crawler-old"))
        mesh.until(lambda: _answers(old, address), why="their service does not answer")
        before, calls = at_rest(mesh), Calls()
        stack.enter_context(_calling(calls, old, address))
        since = time.time()
        mesh.api.apply(_patch(files))
        mesh.up(files)
        mesh.settled([old], since)
        mesh.until_injected()
        new = stack.enter_context(mesh.pod("crawler-new"))
        yield Story(mesh, servers, web, address, before, old, new, calls)


def _serve(mesh: Mesh, web: Pod) -> str:
    """Run the other team's service in its pod; return its cluster address."""
    mesh.family.start(
        "web",
        web.network.command([sys.executable, "-m", "http.server", str(SERVER_PORT)]),
        log=mesh.folder / "web.log",
        folder=web.folder / "etc",
    )
    ports = [{"name": "http", "port": 80, "targetPort": SERVER_PORT}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": SHOP},
        "spec": {"selector": {"app": "web"}, "ports": ports},
    }
    made = mesh.api.apply(service)
    pod = {"kind": "Pod", "name": web.name, "namespace": SHOP}
    mesh.api.apply(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "web-1",
                "namespace": SHOP,
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "endpoints": [
                {
                    "addresses": [web.manifest["status"]["podIP"]],
                    "conditions": {"ready": True},
                    "targetRef": pod,
                }
            ],
            "ports": [{"name": "http", "port": SERVER_PORT}],
        }
    )
    return str(made["spec"]["clusterIP"])


def _answers(pod: Pod, address: str) -> bool:
    calls = Calls()
    calls.one(pod, address)
    return calls.good == 1


@contextmanager
def _calling(calls: Calls, pod: Pod, address: str) -> Iterator[None]:
    ended = threading.Event()

    def call() -> None:
        while not ended.wait(0.05):
            calls.one(pod, address)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _patch(files: dict[str, Json]) -> Json:
    """Return what the program says of the crawlers' namespace: nothing but the label."""
    patch = files[f"_cluster/NamespacePatch-{CRAWLERS}.yaml"]
    assert patch["metadata"]["labels"] == INJECTED
    return patch


def snapshot(mesh: Mesh) -> dict[Key, Json]:
    """Return every object of the API server but pods and those that change by themselves."""
    found: dict[Key, Json] = {}
    groups = mesh.api.call("GET", "/apis")["groups"]
    # All versions: the preferred one of Istio's has no EnvoyFilter.
    versions = (f"/apis/{each['groupVersion']}" for one in groups for each in one["versions"])
    for root in ("/api/v1", *versions):
        for kind in mesh.api.call("GET", root)["resources"]:
            if "/" in kind["name"] or "list" not in kind["verbs"]:
                continue
            if kind["kind"] in CHANGES_BY_ITSELF:
                continue
            for one in mesh.api.call("GET", f"{root}/{kind['name']}")["items"]:
                metadata = one["metadata"]
                if LEADER not in metadata.get("annotations", {}):
                    where = metadata.get("namespace", "")
                    found[f"{root}/{kind['name']}", where, metadata["name"]] = one
    return found


def at_rest(mesh: Mesh) -> dict[Key, Json]:
    """Return the snapshot once istiod and the API server have stopped writing what they add."""
    seen: list[dict[Key, Json]] = []

    def is_same() -> bool:
        seen[:] = [*seen[-1:], snapshot(mesh)]
        time.sleep(REST_SECONDS)
        return len(seen) == 2 and seen[0] == seen[1]

    mesh.until(is_same, why="objects change all the time")
    return seen[1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("vendor", ["vendor-a", "vendor-d", "vendor-i", "vendor-p"])
def test_each_protocol_is_attributed(story: Story, vendor: str, way: str) -> None:
    for pod in (story.old, story.new):
        spoken = WAYS[way](pod, *PROXIES[vendor])
        assert spoken.code == 200 or spoken.echoed
        entry = pod.entry(spoken.source)
        assert entry is not None
        assert entry["vendor"] == vendor


def test_live_bytes_are_exported_while_a_tunnel_is_open(story: Story) -> None:
    """Of crawlers that started with the ProxyConfig; others export what they did."""
    name, labels = "envoy_cluster_upstream_cx_tx_bytes_total", "proxy-vendor_vendor-c"
    with story.new.network.connect(*PROXIES["vendor-c"]) as sock:
        assert crawler.tunnel_over(sock).code == 200
        story.mesh.until(lambda: story.new.total(name, cluster_name=labels) > len(crawler.PAYLOAD))
    crawler.http(story.old, *PROXIES["vendor-c"])
    assert story.old.total(name, cluster_name=labels) == 0


def test_the_histogram_has_the_stack_s_buckets(story: Story) -> None:
    crawler.http(story.new, *PROXIES["vendor-c"])

    def bounds() -> set[str]:
        return {
            labels["le"]
            for name, labels, _ in story.new.samples()
            if name == f"istio_{SETUP_METRIC}_bucket"
        }

    wanted = load_stack_file(STACK_FILE).telemetry.buckets
    story.mesh.until(lambda: bounds() == {*map(str, wanted), "+Inf"})


def test_what_their_own_values_export_is_exported_still(story: Story) -> None:
    """Their prefixes by themselves; their expressions, as `telemetry.alsoExport` repeats them."""
    for pod in (story.old, story.new):
        assert _answers(pod, story.address)
        names = {name for name, _, _ in pod.samples()}
        clusters = {labels.get("cluster_name", "") for _, labels, _ in pod.samples()}
        assert f"outbound|80||web.{SHOP}.svc.cluster.local" in clusters
        assert any("downstream_cx_total" in name for name in names)
    (variable,) = [
        one["value"]
        for each in story.new.manifest["spec"]["initContainers"]
        for one in each.get("env", ())
        if one["name"] == "THEIR_SETTING" and each["name"] == "istio-proxy"
    ]
    assert variable == "theirs"


def test_their_strict_service_answers_all_the_time(story: Story) -> None:
    """From before the stack was there; in clear it answers nobody."""
    story.calls_for_a_while()
    assert _answers(story.new, story.address)
    with story.mesh.world.connect(story.web.manifest["status"]["podIP"], SERVER_PORT) as sock:
        sock.sendall(ASKED)
        with suppress(ConnectionError):
            assert sock.recv(100) == b""


def test_preflight_and_verify_name_what_is_true_and_nothing_else(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the tag, the Sidecar, the STRICT namespace and the values that go with ours."""
    folder = kubectl_for(story.mesh, tmp_path)
    monkeypatch.setenv("PATH", f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin")
    settings = story.mesh.settings(without_istio)
    plan = stack_plan(settings)
    asked = Stack(settings=settings, plan=plan, made=frozenset())
    found = read("mesh", asked.namespaces, asked.root, asked.settings.prometheus.namespace)
    before_up = [one.line() for check in CRAWLERS_CHECKS for one in check.ask(asked, found)]
    _begin(
        before_up,
        "warn: Deployment istio-system/istiod: its image names no release",
        f"warn: Service {SHOP}/web: takes port 80 of vendors from the attribution",
    )
    cluster = Cluster("mesh")
    pods = cluster.pods(CRAWLERS, settings.crawlers.selector)
    checks = crawler_checks(cluster, settings, plan, pods)
    after_up = [one for check in checks for one in check.findings]
    _begin(
        after_up,
        f"{CRAWLERS}/(Pod): exports no statistics of vendors, as the stack's ProxyConfig was not "
        "there when it started, or another one without a selector is older (pod crawler-old)",
        f"{SHOP}: Service web takes port 80 of vendors from the attribution",
    )


def _begin(lines: list[str], *beginnings: str) -> None:
    assert [one for one in lines if not one.startswith(beginnings)] == []
    assert len(lines) == len(beginnings)


def test_nothing_of_theirs_changes_and_nothing_of_ours_stays(story: Story) -> None:
    """Content, generation and version of each object, with the stack and after it."""
    mesh, own_namespace = story.mesh, ("/api/v1/namespaces", "", CRAWLERS)
    during = snapshot(mesh)
    assert {key: during.get(key) for key in story.before} == story.before
    ours = during.keys() - story.before.keys()
    assert {namespace for _, namespace, _ in ours} == {CRAWLERS}
    assert own_namespace not in ours
    since = time.time()
    mesh.down()
    mesh.settled([story.old, story.new], since)
    assert at_rest(mesh) == story.before
    story.calls_for_a_while()
    assert crawler.http(story.new, *PROXIES["vendor-a"]).code == 200
