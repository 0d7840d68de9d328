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
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from components.repository_files import ROOT
from render.program import REDACTED, Run
from render.program import run_program as run_with
from settings.loading import load_stack_file
from settings.values import split_endpoint
from tests.program.conftest import config_maps_of, container_of, named, scrape_jobs, waited_for

PORT_BASE = 15_200  # below what the kernel gives to outgoing connections
DEADLINE_SECONDS = 30
COUNTS = 20


def settings():
    return load_stack_file(ROOT / "Pulumi.dev.yaml")


def files_of(run: Run, workload) -> dict[str, str]:
    """What the pod finds in its working directory, by path."""
    return {
        item["path"]: run.only("ConfigMap", source["name"])["data"][item["key"]]
        for source in config_maps_of(workload["spec"]["template"]["spec"])
        for item in source["items"]
    }


def generator_of(run: Run):
    return run.only("StatefulSet", "load-generator")


def variables_of(container) -> dict[str, dict]:
    return {variable["name"]: variable for variable in container["env"]}


def real_vendors(keys):
    """Vendors as a customer has them: far away, with a Secret that somebody made."""
    del keys["simulatedVendors"]
    keys["loadGenerator"].update(
        maxGBPerDay=3,
        replicas=3,
        endpoints={
            "vendor-a": {
                "address": "10.1.0.10:3128",
                "credentialsSecret": {"name": "vendor-a-login", "key": "login"},
            },
            "vendor-b": "10.2.0.10:3128",
        },
    )


def test_every_replica_has_a_plan_of_its_own(edited):
    """Named after its pod: with the same seed all would ask the same at the same moment."""
    run = run_with("dev", edited("dev", lambda keys: keys["loadGenerator"].update(replicas=3)))
    generator = generator_of(run)
    container = container_of(generator)
    assert container["command"][-2:] == ["--plan", "$(POD_NAME).json"]
    name = variables_of(container)["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert name == "metadata.name"
    files = files_of(run, generator)
    plans = [json.loads(files[f"load-generator-{replica}.json"]) for replica in range(3)]
    assert sorted(plan["seed"] for plan in plans) == [1, 2, 3]
    assert all(plan["profile"] in files for plan in plans)


def test_a_pod_is_given_the_time_its_end_takes(run_program):
    """Killed sooner, its last numbers are lost; and its sidecar must not leave before it does."""
    run = run_program("dev")
    generator = generator_of(run)
    template = generator["spec"]["template"]
    plan = json.loads(files_of(run, generator)["plan.json"])
    end = plan["drain_seconds"] + plan["linger_seconds"]
    assert template["spec"]["terminationGracePeriodSeconds"] > end
    assert plan["drain_seconds"] > plan["timeout_after_seconds"]
    assert plan["linger_seconds"] > settings().prometheus.scrape_interval
    proxy = json.loads(template["metadata"]["annotations"]["proxy.istio.io/config"])
    assert proxy == {
        "holdApplicationUntilProxyStarts": True,
        "terminationDrainDuration": f"{end}s",
    }


def test_a_roll_out_of_all_replicas_is_waited_for(edited):
    """One after the other they may take longer than Pulumi waits by default."""
    run = run_with("dev", edited("dev", lambda keys: keys["loadGenerator"].update(replicas=20)))
    (generator,) = [
        r for r in run.of_kind("StatefulSet") if r.inputs["metadata"]["name"] == "load-generator"
    ]
    grace = generator.inputs["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert int(generator.update_timeout.removesuffix("m")) * 60 >= 20 * grace


def test_generators_spread_and_are_probed(run_program):
    """One node's network must not be all that is measured; a stuck generator starts anew."""
    generator = generator_of(run_program("dev"))
    (spread,) = generator["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"] == generator["spec"]["selector"]
    container = container_of(generator)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/metrics", "port": "metrics"}


def test_credentials_of_a_real_vendor_stay_in_their_secret(edited):
    """By reference into the environment: not in a plan, a ConfigMap, or the state."""
    run = run_with("dev", edited("dev", real_vendors))
    container = container_of(generator_of(run))
    variable = variables_of(container)["LOGIN_VENDOR_A"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "vendor-a-login", "key": "login"}}
    assert "LOGIN_VENDOR_B" not in variables_of(container)
    assert not any(secret.name.startswith("load-generator") for secret in run.of_kind("Secret"))


def test_the_days_budget_outlives_a_container(edited):
    """A generator that crashes at its start would else begin a new day each time."""
    run = run_with("dev", edited("dev", real_vendors))
    generator = generator_of(run)
    plan = json.loads(files_of(run, generator)["plan.json"])
    assert plan["max_gb_per_day"] == 1  # 3 of all three
    (mount,) = [
        mount
        for mount in container_of(generator)["volumeMounts"]
        if plan["budget_file"].startswith(f"{mount['mountPath']}/")
    ]
    (volume,) = [
        volume
        for volume in generator["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == mount["name"]
    ]
    assert "emptyDir" in volume


def test_nobody_is_simulated_unless_the_stack_says_so(edited):
    """A Service at a vendor's address would take real crawlers' traffic away from it."""
    run = run_with("dev", edited("dev", real_vendors))
    assert run.of_kind("ServiceCIDR") == ()
    assert not any(resource.namespace == "proxy-vendors" for resource in run.resources)
    assert "proxy-vendors" not in json.dumps([resource.inputs for resource in run.resources])


def services_of(run, vendor):
    """The Services of a simulated vendor, or of spare addresses ("none")."""
    return [
        service
        for service in run.of_kind("Service")
        if service.inputs["spec"].get("selector", {}).get("app.kubernetes.io/instance") == vendor
    ]


def test_a_simulated_vendor_is_where_crawlers_look_for_it(run_program):
    """In its own ranges, with a cluster IP that no Service of others can get before it."""
    run = run_program("dev")
    by_urn = {resource.urn: resource for resource in run.resources}
    vendors = {vendor.name: vendor for vendor in settings().vendors}
    for vendor, simulated in settings().simulated_vendors.vendors.items():
        (service,) = services_of(run, vendor)
        spec = service.inputs["spec"]
        address, port = split_endpoint(simulated.endpoint)
        assert ip_address(spec["clusterIP"]) == address
        assert any(address in block.network for block in vendors[vendor].cidrs)
        assert [one["port"] for one in spec["ports"]] == [port]
        (service_range,) = [
            by_urn[urn] for urn in service.dependencies if by_urn[urn].kind == "ServiceCIDR"
        ]
        (cidr,) = service_range.inputs["spec"]["cidrs"]
        assert address in ip_network(cidr)
        # Not made is refused: Pulumi goes on only when the range is ready.
        waits = service_range.inputs["metadata"]["annotations"]["pulumi.com/waitFor"]
        assert waits == "condition=Ready"


def test_the_ranges_of_simulated_vendors_hold_nobody_else(run_program):
    """Any Service may get any free address of any range: its traffic would be the vendor's."""
    run = run_program("dev")
    taken = {
        ip_address(service.inputs["spec"]["clusterIP"])
        for service in run.of_kind("Service")
        if service.namespace == "proxy-vendors"
    }
    for service_range in run.of_kind("ServiceCIDR"):
        (cidr,) = service_range.inputs["spec"]["cidrs"]
        assert set(ip_network(cidr).hosts()) <= taken


def test_monitoring_has_its_addresses_before_the_simulated_ranges_exist(run_program):
    """The first `up` failed 6 of 7 times: Grafana's Service was given a simulated vendor's IP."""
    run = run_program("dev")
    monitoring = {s.urn for s in run.of_kind("Service") if s.namespace == "monitoring"}
    assert {urn.rpartition("::")[2] for urn in monitoring} >= {
        *("alertmanager-service", "grafana-service", "prometheus-service"),
    }
    ranges = run.of_kind("ServiceCIDR")
    assert ranges
    for service_range in ranges:
        assert monitoring <= waited_for(run, service_range)


def test_ranges_that_the_cluster_has_are_not_made(edited):
    """On a cluster before 1.33 the API server's own flag holds them."""

    def older(keys):
        keys["simulatedVendors"]["serviceCidr"] = "none"
        keys["network"]["serviceCidrs"] = ["10.0.0.0/8"]
        keys["network"]["podCidrs"] = ["192.168.0.0/16"]

    run = run_with("dev", edited("dev", older))
    assert run.of_kind("ServiceCIDR") == ()
    for vendor in ("vendor-a", "vendor-b", "vendor-c"):
        assert services_of(run, vendor)
    assert not services_of(run, "none")


def test_a_simulated_vendor_can_move_to_the_address_beside_it(run_program, edited):
    """No address changes hands between two Services: the new one would come before the old goes."""

    def moved(keys):
        keys["simulatedVendors"]["vendors"]["vendor-a"]["endpoint"] = "10.1.0.9:3128"
        keys["loadGenerator"]["endpoints"]["vendor-a"] = "10.1.0.9:3128"

    before, after = (
        {
            service.inputs["spec"]["clusterIP"]: (service.urn, service.inputs["metadata"]["name"])
            for service in run.of_kind("Service")
            if service.namespace == "proxy-vendors"
        }
        for run in (run_program("dev"), run_with("dev", edited("dev", moved)))
    )
    assert before == after
    assert len(before) == 6


def test_simulated_vendors_are_outside_the_mesh(run_program):
    """As a part of it their traffic would take another way than a real vendor's."""
    run = run_program("dev")
    labels = run.only("Namespace", "proxy-vendors")["metadata"]["labels"]
    assert labels["istio-injection"] == "disabled"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    (egress,) = run.only("Sidecar")["spec"]["egress"]
    assert egress["hosts"] == ["./*"]
    for service in run.of_kind("Service"):
        if service.namespace == "proxy-vendors":
            annotations = service.inputs["metadata"]["annotations"]
            assert annotations["networking.istio.io/exportTo"] == "~"


def test_only_crawlers_and_prometheus_reach_simulated_vendors(run_program):
    """The control endpoint changes what a vendor does, and a simulated vendor calls nobody."""
    run = run_program("dev")
    spec = run.only("NetworkPolicy", "simulated-vendors")["spec"]
    ports = {
        port["name"]: port["containerPort"]
        for port in container_of(run.only("Deployment", "vendor-a"))["ports"]
    }
    allowed = {
        rule["ports"][0]["port"]: rule["from"][0]["namespaceSelector"]["matchExpressions"][0][
            "values"
        ]
        for rule in spec["ingress"]
    }
    assert allowed == {ports["proxy"]: ["crawlers"], ports["control"]: ["monitoring"]}
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in spec
    for vendor in settings().simulated_vendors.vendors:
        pod_labels = run.only("Deployment", vendor)["spec"]["template"]["metadata"]["labels"]
        assert spec["podSelector"]["matchLabels"].items() <= pod_labels.items()
    # The Service has the proxy alone.
    for service in run.of_kind("Service"):
        if service.namespace == "proxy-vendors":
            assert [port["name"] for port in service.inputs["spec"]["ports"]] == ["proxy"]


def test_prometheus_finds_simulated_vendors(run_program):
    """By label and port, as it finds the load generator."""
    run = run_program("dev")
    job = scrape_jobs(run)["simulated-vendors"]
    deployment = run.only("Deployment", "vendor-a")
    found = {
        f"__meta_kubernetes_pod_label_{re.sub(r'[^a-zA-Z0-9_]', '_', key)}": value
        for key, value in deployment["spec"]["template"]["metadata"]["labels"].items()
    }
    found["__meta_kubernetes_pod_container_port_number"] = "9465"
    keeps = [rule for rule in job["relabel_configs"] if rule.get("action") == "keep"]
    assert keeps
    for rule in keeps:
        assert re.fullmatch(rule["regex"], found[rule["source_labels"][0]])
    assert "simulated-vendors" not in scrape_jobs(run_program("prod"))


def test_a_made_password_is_known_to_both_sides_alone(run_program):
    """The vendor's and the generator's Secrets hold it, each in its own namespace."""
    run = run_program("dev")
    expected = variables_of(container_of(run.only("Deployment", "vendor-a")))["CUSTOMER_PASSWORD"]
    given = variables_of(container_of(generator_of(run)))["LOGIN_VENDOR_A"]
    for variable, namespace in ((expected, "proxy-vendors"), (given, "crawlers")):
        reference = variable["valueFrom"]["secretKeyRef"]
        (secret,) = [
            s
            for s in run.of_kind("Secret")
            if s.inputs["metadata"]["name"] == reference["name"] and s.namespace == namespace
        ]
        assert secret.inputs["stringData"][reference["key"]] == REDACTED


def test_the_generator_waits_for_simulated_vendors(run_program):
    """Sooner, its traffic would go to whoever has the addresses outside the cluster."""
    run = run_program("dev")
    (generator,) = [r for r in run.resources if r.type == "proxyobs:load_generator:LoadGenerator"]
    vendors = {r.urn for r in run.of_kind("Deployment") if r.namespace == "proxy-vendors"} | {
        r.urn for r in run.of_kind("Service") if r.namespace == "proxy-vendors"
    }
    assert vendors <= generator.dependencies


def test_synthetic_traffic_only_where_it_is_wanted(run_program):
    """It costs money at real vendors: prod has none unless its file says so."""
    monitoring = {"prometheus", "alertmanager", "grafana"}
    assert named(run_program("prod"), "StatefulSet") | named(run_program("prod"), "Deployment") == (
        monitoring
    )
    dev = run_program("dev")
    vendors = {"vendor-a", "vendor-b", "vendor-c"}
    assert named(dev, "Deployment") == {"grafana", *vendors}
    assert named(dev, "StatefulSet") == {"prometheus", "alertmanager", "load-generator"}
    assert all(map(dev.settings.is_simulated, dev.settings.load_generator.endpoints))


def test_the_generator_is_a_crawler_whatever_the_selector_says(variant):
    """The attribution would not count synthetic traffic that it does not select."""
    wanted = {"app.kubernetes.io/name": "crawler"}
    spec = generator_of(variant("dev", crawlers={"selector": wanted}))["spec"]
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
        [sys.executable, *expanded],
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
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
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


def test_both_programs_run_from_what_the_pods_are_given(run_program, tmp_path):
    """The ConfigMaps, laid out as Kubernetes does, with the pods' own commands and variables.

    The login works, the vendor's books and the generator's hold the same requests, and a pod that
    is told to end does so within its grace period.
    """
    run = run_program("dev")
    proxy, control, metrics = PORT_BASE, PORT_BASE + 1, PORT_BASE + 2
    vendor, generator = run.only("Deployment", "vendor-a"), generator_of(run)
    vendor_folder = laid_out(files_of(run, vendor), tmp_path / "vendor")
    crawler_folder = laid_out(files_of(run, generator), tmp_path / "crawler")

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
