"""What `make verify` expects is what the program renders."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from components.attribution.bootstrap import VARIABLE, proxy_config, sidecar_annotations
from components.attribution.outcome import SOCKS, proxy_outcome, response_code
from deployment import stack_plan
from settings.loading import parse_settings
from verify.backups import NEWEST, backups_check
from verify.contract import CODES, OUTCOMES, contract_check
from verify.crawlers import mesh_of, vendors_of
from verify.mesh import (
    hosts_of_sidecars,
    mesh_findings,
    proxy_config_reason,
    sidecars_in_force,
)
from verify.pods import REVISION, Vendors, pod_findings, redirection
from verify.prometheus import Server, rules_check, servers_of, targets_check

VENDORS = [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"], "httpPorts": [3128]}]


def stack(**more):
    return parse_settings({"cluster": "x", "vendors": VENDORS} | more)


def test_the_outcomes_and_codes_are_those_that_a_sidecar_can_write():
    """A new one would be reported as a fault of every cluster."""
    emitted = set(re.findall(r"[?:] \(?'(\w+)'(?! in )", proxy_outcome(10)))
    assert emitted | {row.outcome for row in SOCKS} == OUTCOMES
    assert set(re.findall(r"'(\w+)'", response_code())) <= CODES


@pytest.mark.parametrize(
    ("more", "jobs"),
    [
        ({}, {"prometheus": True}),
        ({"prometheus": {"backup": {}}}, {"prometheus": True}),
        ({"prometheus": {"shards": 2}}, {"prometheus": False, "prometheus-shard-0": True}),
        (
            {"prometheus": {"mode": "operator", "url": "http://p.m.svc", "operatorLabels": {}}},
            {"": True},
        ),
    ],
    ids=["server", "backup", "shards", "operator"],
)
def test_each_server_is_asked_for_its_own(more, jobs):
    """Shards have the sidecars; no job is waited for whose pods the stack does not run."""
    settings = stack(**more)
    servers = servers_of(settings, stack_plan(settings))
    has_sidecars = {server.service: server.has_sidecars for server in servers}
    assert jobs.items() <= has_sidecars.items()
    for server in servers:
        assert server.rules
        none_here = {"load-generator", "simulated-vendors", "crawlers-unseen", "backup"}
        assert not none_here & set(server.jobs)


@pytest.mark.parametrize(
    ("health", "findings"),
    [
        (["up", "unknown"], []),
        (["up", "down"], ["1 of 2 of job sidecars do not answer, b first (connection refused)"]),
        (["unknown", "unknown"], ["none of job sidecars has been scraped yet; ask again"]),
    ],
)
def test_a_target_that_was_just_found_is_no_fault(health, findings):
    """Else each pod that starts would fail a small stack."""
    targets = [
        {
            "scrapePool": "sidecars",
            "labels": {"job": "sidecars", "pod": pod},
            "health": state,
            "lastError": "connection refused" if state == "down" else "",
        }
        for pod, state in zip("ab", health, strict=True)
    ]

    class Answering:
        def get(self, path, **_):
            return {"activeTargets": targets} if path == "targets" else {"yaml": ""}

    found = targets_check(Answering(), Server(service="", jobs=("sidecars",), rules={})).findings
    assert len(found) == len(findings)
    assert all(part in line for part, line in zip(findings, found, strict=True))


@pytest.mark.parametrize(("service", "of_all"), [("", True), ("prometheus", False)])
def test_a_prometheus_that_selects_nothing_of_the_stack_is_one_line(service, of_all):
    """A wrong label was a line for every job and every rule, and none named the cause."""

    class Answering:
        def get(self, path, **_):
            return {"activeTargets": [], "yaml": "", "groups": []}

    jobs, rules = ("sidecars", "istiod"), {("a", "b"): 1, ("a", "c"): 1}
    server = Server(service=service, jobs=jobs, rules=rules)
    for check in (targets_check, rules_check):
        found = check(Answering(), server).findings
        assert len(found) == (1 if of_all else 2)
        assert all(("make preflight" in line) == of_all for line in found)
    # Rules come in without any right, targets do not.
    found = targets_check(Answering(), server).findings
    assert ("may not list their pods yet" in found[0]) == of_all


@pytest.mark.parametrize(("mode", "waits"), [("full", True), ("observe", False), ("off", False)])
def test_no_request_is_missed_where_the_mode_counts_none(mode, waits):
    """In an incident `make verify` says that the switch works, and nothing of broken labels."""

    class Answering:
        def query(self, expression):
            of_vendor = {"metric": {"proxy_vendor": VENDORS[0]["name"]}}
            return [of_vendor] if expression.startswith("count by (proxy_vendor)") else []

        def get(self, *_, **__):
            return []

    check = contract_check(Answering(), stack(crawlers={"mode": mode}))
    assert any("no request through a vendor" in one for one in check.findings) == waits
    assert (f"crawlers.mode is {mode}" in check.said) == (mode != "full")


def test_what_other_namespaces_have_matters_where_crawlers_know_it():
    """By `crawlers.egressHosts`, which brings a Service's listener to crawlers."""
    ports = [{"number": 3128, "protocol": "HTTP"}]
    entry = {
        "kind": "ServiceEntry",
        "metadata": {"name": "proxy", "namespace": "shops"},
        "spec": {"hosts": ["a.shops.test"], "ports": ports},
    }

    def found(*egress_hosts):
        settings = stack(crawlers={"egressHosts": [*egress_hosts]})
        crawlers = stack_plan(settings).crawlers
        mesh = mesh_of(settings, crawlers, vendors_of(settings.vendors))
        return [line for line in mesh_findings(mesh, [entry], [], []) if "is missing" not in line]

    assert found() == []
    assert found("shops/other.test") == []
    (line,) = found("shops/*.shops.test")
    assert line.startswith("shops: ServiceEntry proxy takes port 3128 of vendors")
    assert found("*/a.shops.test") == [line]
    entry["spec"]["exportTo"] = [".", "carts"]
    assert found("*/a.shops.test") == []
    entry["spec"]["exportTo"] = ["carts", "crawlers"]
    assert found("*/a.shops.test") == [line]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"containers": ["crawler"], "initContainers": ["istio-proxy"]}, []),
        ({"containers": ["crawler", {"lifecycle": {"postStart": {}}}]}, []),
        ({"containers": ["crawler", "istio-proxy"]}, ["may start before its sidecar"]),
    ],
    ids=["native", "held", "neither"],
)
def test_a_crawler_that_does_not_wait_for_its_sidecar_is_named(spec, said):
    """Where Istio is another team's, its own annotations alone have it wait."""
    annotations = sidecar_annotations((50,))
    given = proxy_config(annotations, {}, captures_dns=False)["environmentVariables"][VARIABLE]
    env = [{"name": VARIABLE, "value": json.loads(f'"{given}"')}]

    def container(one):
        more = one if isinstance(one, dict) else {}
        name = one if isinstance(one, str) else "istio-proxy"
        return {"name": name, "env": env, **more}

    metadata = {"name": "a", "namespace": "crawlers"}
    pod = {"metadata": metadata, "spec": {key: [*map(container, spec[key])] for key in spec}}
    found = pod_findings([pod], Vendors(ranges=(), ports=frozenset()), "app")
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_a_sidecar_whose_istiod_is_gone_is_named():
    """It works on with what it has, so that no metric tells."""
    pod = {
        "metadata": {"name": "a", "namespace": "crawlers", "annotations": {REVISION: "1-30"}},
        "spec": {"containers": [], "initContainers": [{"name": "istio-proxy"}]},
    }

    def found(*revisions):
        lines = pod_findings([pod], Vendors(ranges=(), ports=frozenset()), "app", revisions)
        return [line for line in lines if "revision" in line]

    assert found() == []
    assert found("1-30", "1-31") == []
    assert len(found("1-31")) == 1


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ("docker.io/istio/proxyv2:1.31.4-distroless", False),
        ("mirror.example:5000/istio/proxyv2:1.30.2@sha256:00", False),
        ("mirror.example:5000/istio/proxyv2@sha256:00", False),
        ("docker.io/istio/proxyv2:1.32.0", True),
        ("gcr.io/istio/proxyv2:1.3.1", True),
    ],
)
def test_a_sidecar_of_a_release_that_no_patch_matches_is_named(image, named):
    """After the platform team moved its tag; with a selector no metric tells which pods it is."""
    proxy = {"name": "istio-proxy", "image": image}
    pod = {
        "metadata": {"name": "a", "namespace": "crawlers"},
        "spec": {"containers": [], "initContainers": [proxy]},
    }
    lines = pod_findings([pod], Vendors(ranges=(), ports=frozenset()), "app")
    assert any("not attributed" in line for line in lines) is named


def sidecar(hosts, namespace="crawlers"):
    spec = {"egress": [{"hosts": hosts}]} if hosts else {}
    metadata = {"name": "theirs", "namespace": namespace}
    return {"kind": "Sidecar", "metadata": metadata, "spec": spec}


def service(namespace, **annotations):
    metadata = {"name": "proxy", "namespace": namespace, "annotations": annotations}
    ports = [{"name": "http-proxy", "port": 3128}]
    return {"kind": "Service", "metadata": metadata, "spec": {"ports": ports}}


@pytest.mark.parametrize(
    ("objects", "found"),
    [
        ([], ["shops: Service proxy takes port 3128 of vendors"]),
        ([sidecar(["./*"])], []),
        ([sidecar(["./*"], "istio-system")], []),
        ([sidecar(["./*"]), sidecar(["*/*"], "istio-system")], []),
        ([sidecar(["./*", "shops/*"])], ["shops: Service proxy takes port 3128 of vendors"]),
        ([sidecar([])], ["shops: Service proxy takes port 3128 of vendors"]),
        ([sidecar(["crawlers/*"])], []),
        ([sidecar(["shops/web"])], ["crawlers: Sidecar theirs leaves out gw.vendor.example"]),
        (
            [sidecar(["istio-system/*"], "istio-system")],
            ["istio-system: Sidecar theirs leaves out gw.vendor.example"],
        ),
    ],
)
def test_another_teams_sidecar_says_what_crawlers_know(objects, found):
    """With `sidecarResource: none`; without any, every namespace's Services are known."""
    named = {"name": "named", "hosts": [{"name": "gw.vendor.example", "ports": [7777]}]}
    addressed = {"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}
    settings = stack(crawlers={"sidecarResource": "none"}, vendors=[named, addressed])
    crawlers = stack_plan(settings).crawlers
    mesh = mesh_of(settings, crawlers, vendors_of(settings.vendors))
    mesh = replace(mesh, egress_hosts=hosts_of_sidecars(mesh, objects, []))
    alias = service("aliases")
    alias["spec"]["type"] = "ExternalName"
    services = [
        *(service("shops"), alias),
        service("hidden", **{"networking.istio.io/exportTo": "."}),
        service("carts", **{"networking.istio.io/exportTo": "carts, news"}),
    ]
    lines = [
        line for line in mesh_findings(mesh, objects, services, []) if "is missing" not in line
    ]
    assert [one for one in lines if not one.startswith(tuple(found))] == []
    assert len(lines) == len(found)


def placed(name, namespace, created, labels=None):
    selector = {"workloadSelector": {"labels": labels}} if labels else {}
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created}
    return {"kind": "Sidecar", "metadata": metadata, "spec": selector}


@pytest.mark.parametrize(
    ("labels_of_pods", "in_force"),
    [
        ({"crawlers": [{"app": "x"}], "second": [{"app": "x"}]}, ["for-x", "default"]),
        ({"crawlers": [{"app": "y"}], "second": [{}]}, ["older", "default"]),
        ({"crawlers": [{"app": "x"}, {}], "second": []}, ["for-x", "older", "default"]),
        ({"crawlers": []}, ["for-x", "older", "newer", "default"]),
    ],
)
def test_a_pod_has_the_sidecar_that_istiod_gives_it(labels_of_pods, in_force):
    """Each namespace by itself: one without a Sidecar has the mesh's default."""
    sidecars = [
        placed("newer", "crawlers", "2026-02-01T00:00:00Z"),
        placed("older", "crawlers", "2026-01-01T00:00:00Z"),
        placed("for-x", "crawlers", "2026-03-01T00:00:00Z", {"app": "x"}),
        placed("default", "istio-system", "2026-01-01T00:00:00Z"),
        placed("default-2", "istio-system", "2026-02-01T00:00:00Z"),
        placed("of-a-gateway", "istio-system", "2025-01-01T00:00:00Z", {"app": "x"}),
        placed("elsewhere", "shops", "2025-01-01T00:00:00Z"),
    ]
    crawlers = {"namespaces": ["crawlers", "second"], "sidecarResource": "none"}
    settings = stack(crawlers=crawlers)
    mesh = mesh_of(settings, stack_plan(settings).crawlers, vendors_of(settings.vendors))
    pods = [
        {"metadata": {"name": "p", "namespace": where, "labels": labels}}
        for where, each in labels_of_pods.items()
        for labels in each
    ]
    found = [one["metadata"]["name"] for one in sidecars_in_force(mesh, sidecars, pods)]
    assert found == in_force


@pytest.mark.parametrize(
    ("ours", "theirs", "excluded"),
    [
        ({}, None, True),
        ({}, {}, False),
        ({}, {"app": "x"}, False),
        ({"app": "x"}, None, False),
        ({"app": "x"}, {"tier": "a"}, True),
        ({"app": "x"}, {"app": "y"}, False),
    ],
)
def test_a_second_proxy_config_is_named_where_istiod_takes_one_of_the_two(ours, theirs, excluded):
    """One with an empty selector is for no pod; with and without selector both are in force."""
    settings = stack(crawlers={"selector": ours})
    mesh = mesh_of(settings, stack_plan(settings).crawlers, vendors_of(settings.vendors))
    selector = {} if theirs is None else {"selector": {"matchLabels": theirs} if theirs else {}}
    one = {
        "kind": "ProxyConfig",
        "metadata": {"name": "theirs", "namespace": "crawlers"},
        "spec": {**selector, "concurrency": 2},
    }
    assert bool(proxy_config_reason(one, mesh, [])) is excluded


@pytest.mark.parametrize(
    ("newest", "stale", "said", "findings"),
    [
        ("", False, "none yet", 0),
        ("", True, "none yet", 1),
        ("7200", False, "the newest is 2.0 hours old", 0),
        ("99000", True, "the newest is 27.5 hours old", 1),
    ],
)
def test_a_backup_is_fresh_by_the_alerts_own_expression(newest, stale, said, findings):
    """On the first day there is none, and that is no fault."""

    class Answering:
        def query(self, expression):
            if expression == NEWEST:
                return [{"metric": {}, "value": [0, newest]}] if newest else []
            assert "[26h]" in expression
            return [{"metric": {}, "value": [0, "1"]}] if stale else []

    check = backups_check(Answering())
    assert (check.said, len(check.findings)) == (said, findings)


def test_a_stack_that_was_never_deployed_is_one_line_a_namespace():
    """A verify too early printed a line for each of thirty objects, and its reason below them."""
    settings = stack()
    mesh = mesh_of(settings, stack_plan(settings).crawlers, vendors_of(settings.vendors))
    assert [*mesh_findings(mesh, [], [], [])] == [
        "crawlers: all that the stack has of Istio is missing; run `pulumi up`"
    ]


def test_odd_annotations_of_a_pod_are_no_traceback():
    """An annotation is any text: a number of 5,000 digits is none that int() takes."""
    ports = {"traffic.sidecar.istio.io/excludeOutboundPorts": f"*, 3128,x,{'9' * 5000},²"}
    ((reason, _),) = redirection(ports, Vendors(ranges=(), ports=frozenset({80, 3128})))
    assert reason == "sends port 3128 of a vendor past the sidecar"
