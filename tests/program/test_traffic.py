"""Synthetic traffic in the cluster: the load generator, and vendors that are simulated."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from render.program import REDACTED, Run
from render.program import run_program as run_with
from tests.program.conftest import (
    config_maps_of,
    container_of,
    named,
    scrape_jobs,
    waited_for,
    workloads,
)
from tests.relabel import relabel

PORT_BASE = 15_200  # below what the kernel gives to outgoing connections
DEADLINE_SECONDS = 120
COUNTS = 20


@pytest.fixture
def dev(run_program) -> Run:
    return run_program("dev")


@pytest.fixture
def real(edited) -> Run:
    """Vendors as a customer has them: far away, with a Secret that somebody made."""

    def edit(keys):
        del keys["simulatedVendors"]
        login = {"name": "vendor-a-login", "key": "login"}
        keys["loadGenerator"].update(
            maxGBPerDay=3,
            replicas=3,
            endpoints={
                "vendor-a": {"address": "10.1.0.10:3128", "credentialsSecret": login},
                "vendor-b": "10.2.0.10:3128",
            },
        )

    return run_with("dev", edited("dev", edit))


def files_of(run: Run, workload) -> dict[str, str]:
    """What the pod finds in its working directory, by path."""
    return {
        item["path"]: run.only("ConfigMap", source["name"])["data"][item["key"]]
        for source in config_maps_of(workload["spec"]["template"]["spec"])
        for item in source["items"]
    }


def generator_of(run: Run):
    return run.only("StatefulSet", "load-generator")


def variables_of(workload) -> dict[str, dict]:
    return {variable["name"]: variable for variable in container_of(workload)["env"]}


def services_of(run, vendor=None):
    """The Services of simulated vendors, or of one of them."""
    return [
        service
        for service in run.of_kind("Service")
        if service.namespace == "proxy-vendors"
        and vendor in (None, service.inputs["spec"]["selector"]["app.kubernetes.io/instance"])
    ]


def cluster_of(run, vendor):
    """The cluster to which a vendor's chains lead."""
    patches = run.only("EnvoyFilter", f"proxy-vendor-{vendor}")["spec"]["configPatches"]
    (cluster,) = [one["patch"]["value"] for one in patches if one["applyTo"] == "CLUSTER"]
    return cluster


def test_every_replica_has_a_plan_of_its_own(real):
    """Named after its pod: with the same seed all would ask the same at the same moment."""
    generator = generator_of(real)
    assert container_of(generator)["command"][-2:] == ["--plan", "$(POD_NAME).json"]
    name = variables_of(generator)["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert name == "metadata.name"
    files = files_of(real, generator)
    plans = [json.loads(files[f"load-generator-{replica}.json"]) for replica in range(3)]
    assert sorted(plan["seed"] for plan in plans) == [1, 2, 3]
    assert all(plan["profile"] in files for plan in plans)


def test_a_pod_is_given_the_time_its_end_takes(dev):
    """Killed sooner, its last numbers are lost; and its sidecar must not leave before it does."""
    generator = generator_of(dev)
    template = generator["spec"]["template"]
    plan = json.loads(files_of(dev, generator)["plan.json"])
    end = plan["drain_seconds"] + plan["linger_seconds"]
    assert template["spec"]["terminationGracePeriodSeconds"] > end
    assert plan["drain_seconds"] > plan["timeout_after_seconds"]
    assert plan["linger_seconds"] > dev.settings.prometheus.scrape_interval
    proxy = json.loads(template["metadata"]["annotations"]["proxy.istio.io/config"])
    assert proxy == {
        "holdApplicationUntilProxyStarts": True,
        "terminationDrainDuration": f"{end}s",
    }


def test_a_roll_out_of_all_replicas_is_waited_for(edited):
    """One after the other they may take longer than Pulumi waits by default."""
    run = run_with("dev", edited("dev", lambda keys: keys["loadGenerator"].update(replicas=20)))
    (generator,) = [r for r in workloads(run) if r.inputs == generator_of(run)]
    grace = generator.inputs["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert int(generator.update_timeout.removesuffix("m")) * 60 >= 20 * grace


def test_generators_spread_and_are_probed(dev):
    """One node's network must not be all that is measured; a stuck generator starts anew."""
    generator = generator_of(dev)
    (spread,) = generator["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"] == generator["spec"]["selector"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container_of(generator)[probe]["httpGet"] == {"path": "/metrics", "port": "metrics"}


def test_credentials_of_a_real_vendor_stay_in_their_secret(real):
    """By reference into the environment: not in a plan, a ConfigMap, or the state."""
    variables = variables_of(generator_of(real))
    reference = variables["LOGIN_VENDOR_A"]["valueFrom"]
    assert reference == {"secretKeyRef": {"name": "vendor-a-login", "key": "login"}}
    assert "LOGIN_VENDOR_B" not in variables
    assert not any(secret.name.startswith("load-generator") for secret in real.of_kind("Secret"))


def test_the_days_budget_outlives_a_container(real):
    """A generator that crashes at its start would else begin a new day each time."""
    generator = generator_of(real)
    plan = json.loads(files_of(real, generator)["plan.json"])
    assert plan["max_gb_per_day"] == 1  # 3 of all three
    mounts = {m["mountPath"]: m["name"] for m in container_of(generator)["volumeMounts"]}
    volumes = {v["name"]: v for v in generator["spec"]["template"]["spec"]["volumes"]}
    assert "emptyDir" in volumes[mounts[plan["budget_file"].rpartition("/")[0]]]


def test_nobody_is_simulated_unless_the_stack_says_so(real):
    """A Service at a vendor's address would take real crawlers' traffic away from it."""
    assert not any(resource.namespace == "proxy-vendors" for resource in real.resources)
    assert "proxy-vendors" not in json.dumps([resource.inputs for resource in real.resources])


def test_a_simulated_vendor_has_no_address_of_its_own(dev):
    """Any Service of the cluster may get any free address: the first `up` lost that race."""
    for service in dev.of_kind("Service"):
        assert service.inputs["spec"].get("clusterIP") in (None, "None")


def test_sidecars_lead_to_the_simulated_vendor(dev):
    """By the Service's name, whatever address of the vendor and whatever port is asked for."""
    for vendor in dev.settings.simulated_vendors.vendors:
        cluster = cluster_of(dev, vendor)
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        place = endpoint["endpoint"]["address"]["socket_address"]
        (service,) = services_of(dev, vendor)
        name, namespace = service.inputs["metadata"]["name"], service.namespace
        assert place["address"] == f"{name}.{namespace}.svc"
        # The proxy alone: the control endpoint changes what a vendor does.
        (port,) = service.inputs["spec"]["ports"]
        assert (port["name"], port["port"]) == ("proxy", place["port_value"])
        (pod_port,) = (
            one["containerPort"]
            for one in container_of(dev.only("Deployment", vendor))["ports"]
            if one["name"] == port["targetPort"]
        )
        assert pod_port == place["port_value"]
        labels = dev.only("Deployment", vendor)["spec"]["template"]["metadata"]["labels"]
        assert service.inputs["spec"]["selector"].items() <= labels.items()


def test_a_real_vendor_beside_simulated_ones_keeps_its_addresses(edited):
    """One `up` moves a vendor: its cluster changes while the simulation still runs."""

    def edit(keys):
        del keys["simulatedVendors"]["vendors"]["vendor-b"]
        del keys["loadGenerator"]["endpoints"]["vendor-b"]

    run = run_with("dev", edited("dev", edit))
    assert cluster_of(run, "vendor-b")["type"] == "ORIGINAL_DST"
    assert cluster_of(run, "vendor-a")["type"] == "STRICT_DNS"
    assert not services_of(run, "vendor-b")


def test_sidecars_lead_to_simulated_vendors_once_these_run(dev):
    """Sooner, connections would get 503; and `destroy` takes the lead away first."""
    vendors = [*services_of(dev), *dev.of_kind("Deployment")]
    urns = {resource.urn for resource in vendors if resource.namespace == "proxy-vendors"}
    for envoy_filter in dev.of_kind("EnvoyFilter"):
        assert urns <= waited_for(dev, envoy_filter)


def test_simulated_vendors_are_outside_the_mesh(dev):
    """As a part of it their traffic would take another way than a real vendor's."""
    labels = dev.only("Namespace", "proxy-vendors")["metadata"]["labels"]
    assert labels["istio-injection"] == "disabled"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    (egress,) = dev.only("Sidecar")["spec"]["egress"]
    assert egress["hosts"] == ["./*"]
    for service in services_of(dev):
        annotations = service.inputs["metadata"]["annotations"]
        assert annotations["networking.istio.io/exportTo"] == "~"


def test_prometheus_finds_simulated_vendors(dev, run_program):
    """By label and port, as it finds the load generator."""
    template = dev.only("Deployment", "vendor-a")["spec"]["template"]
    pod = {
        f"__meta_kubernetes_pod_label_{re.sub(r'[^a-zA-Z0-9_]', '_', key)}": value
        for key, value in template["metadata"]["labels"].items()
    }
    rules = scrape_jobs(dev)["simulated-vendors"]["relabel_configs"]
    port = "__meta_kubernetes_pod_container_port_number"
    assert relabel(rules, {**pod, port: "9465"})
    assert relabel(rules, {**pod, port: "3128"}) is None
    assert "simulated-vendors" not in scrape_jobs(run_program("prod"))


def test_a_made_password_is_known_to_both_sides_alone(dev):
    """The vendor's and the generator's Secrets hold it, each in its own namespace."""
    expected = variables_of(dev.only("Deployment", "vendor-a"))["CUSTOMER_PASSWORD"]
    given = variables_of(generator_of(dev))["LOGIN_VENDOR_A"]
    for variable, namespace in ((expected, "proxy-vendors"), (given, "crawlers")):
        reference = variable["valueFrom"]["secretKeyRef"]
        secret = dev.only("Secret", reference["name"])
        assert secret["metadata"]["namespace"] == namespace
        assert secret["stringData"][reference["key"]] == REDACTED


def test_the_generator_waits_for_simulated_vendors(dev):
    """Sooner, its traffic would go to whoever has the addresses outside the cluster."""
    (generator,) = [r for r in dev.resources if r.type == "proxyobs:load_generator:LoadGenerator"]
    vendors = [*services_of(dev), *dev.of_kind("Deployment")]
    urns = {resource.urn for resource in vendors if resource.namespace == "proxy-vendors"}
    assert urns <= generator.dependencies


def test_the_generator_takes_mtls_alone_but_for_its_metrics(dev):
    """The policy selects the very pod, and exempts the very port that Prometheus scrapes."""
    (policy,) = [one.inputs for one in dev.of_kind("PeerAuthentication")]
    generator, spec = generator_of(dev), policy["spec"]
    assert policy["metadata"]["namespace"] == generator["metadata"]["namespace"]
    chosen = spec["selector"]["matchLabels"].items()
    assert chosen <= generator["spec"]["template"]["metadata"]["labels"].items()
    (port,) = container_of(generator)["ports"]
    modes = {str(port["containerPort"]): {"mode": "DISABLE"}}
    assert (spec["mtls"], spec["portLevelMtls"]) == ({"mode": "STRICT"}, modes)


def test_synthetic_traffic_only_where_it_is_wanted(dev, run_program):
    """It costs money at real vendors: prod has none unless its file says so."""
    prod = run_program("prod")
    assert {w.name for w in workloads(prod)} == {
        *("prometheus-server", "alertmanager-server", "grafana-server")
    }
    assert named(dev, "Deployment") == {"grafana", "vendor-a", "vendor-b", "vendor-c"}
    assert named(dev, "StatefulSet") == {"prometheus", "alertmanager", "load-generator"}
    assert all(map(dev.settings.is_simulated, dev.settings.load_generator.endpoints))


def test_the_generator_is_a_crawler_whatever_the_selector_says(variant):
    """The attribution would not count synthetic traffic that it does not select."""
    wanted = {"app.kubernetes.io/name": "crawler"}
    spec = generator_of(variant("dev", crawlers={"selector": wanted, "expectedPods": 20}))["spec"]
    pod_labels = spec["template"]["metadata"]["labels"]
    assert wanted.items() <= pod_labels.items()
    assert spec["selector"]["matchLabels"].items() <= pod_labels.items()
    assert spec["selector"]["matchLabels"].keys().isdisjoint(wanted)


# --- the pods' own commands, on this machine ---------------------------------------------------


def laid_out(files: dict[str, str], folder: Path) -> Path:
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return folder


def moved(folder: Path, plan: str, change) -> None:
    """Edit a plan for this machine: its addresses and ports, and nothing else."""
    path = folder / plan
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@contextlib.contextmanager
def running(workload, folder: Path, environment: dict[str, str]):
    command = container_of(workload)["command"]
    assert command[0] == "python"
    expanded = [re.sub(r"\$\((\w+)\)", lambda m: environment[m[1]], part) for part in command[1:]]
    # The mount alone is on the path, as in the pod.
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", *expanded],  # a bare Python has no site-packages
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def page(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read().decode()


def until(process, found):
    """What `found` returns once it is true; its process must live till then."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        with contextlib.suppress(OSError, ValueError):
            if answer := found():
                return answer
        time.sleep(0.05)
    pytest.fail(f"not within {DEADLINE_SECONDS} s")


def test_both_programs_run_from_what_the_pods_are_given(dev, tmp_path):
    """The ConfigMaps, laid out as Kubernetes does, with the pods' own commands and variables.

    The login works, the vendor's books and the generator's hold the same requests, and a pod that
    is told to end does so within its grace period.
    """
    proxy, control, metrics = PORT_BASE, PORT_BASE + 1, PORT_BASE + 2
    vendor, generator = dev.only("Deployment", "vendor-a"), generator_of(dev)
    vendor_folder = laid_out(files_of(dev, vendor), tmp_path / "vendor")
    crawler_folder = laid_out(files_of(dev, generator), tmp_path / "crawler")

    def vendor_here(plan):
        plan["listen"][0].update(address="127.0.0.1", port=proxy)
        plan.update(control_host="127.0.0.1", control_port=control)

    def crawler_here(plan):
        plan["vendors"] = [
            entry | {"address": "127.0.0.1", "port": proxy}
            for entry in plan["vendors"]
            if entry["name"] == "vendor-a"
        ]
        plan.update(metrics_host="127.0.0.1", metrics_port=metrics, linger_seconds=1)

    moved(vendor_folder, "plan.json", vendor_here)
    moved(crawler_folder, "plan.json", crawler_here)
    password = {"CUSTOMER_PASSWORD": "secret"}
    login = {"POD_NAME": "load-generator-0", "LOGIN_VENDOR_A": "crawler:secret"}
    with running(vendor, vendor_folder, password) as vendor_process:
        until(vendor_process, lambda: page(control, "/healthz") == "ok\n")
        with running(generator, crawler_folder, login) as crawler_process:
            until(crawler_process, lambda: served(page(control, "/books")) >= COUNTS)
            assert "vendor_" in page(control, "/metrics")
            assert page(metrics, "/metrics")
            crawler_process.send_signal(signal.SIGTERM)
            said, _ = crawler_process.communicate(timeout=DEADLINE_SECONDS)
            assert crawler_process.returncode == 0, said
        counts = json.loads(page(control, "/books"))["counts"]
        assert {(row["visibility"], row["outcome"], str(row["count"])) for row in counts} == set(
            re.findall(r"^vendor-a +(http|tunnel) +(\w+) +(\d+)$", said, re.MULTILINE)
        )
        assert {row["outcome"] for row in counts} == {"success"}  # and not auth_failed
        vendor_process.send_signal(signal.SIGTERM)
        said, _ = vendor_process.communicate(timeout=DEADLINE_SECONDS)
        assert vendor_process.returncode == 0, said
    assert "secret" not in said


def served(books: str) -> int:
    """How many requests a vendor's books hold."""
    return sum(entry["count"] for entry in json.loads(books)["counts"])
