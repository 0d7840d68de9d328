"""What holds for every shape of stack: names, wiring, secrets, pod security."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
import yaml

from components.labels import PROJECT
from components.namespaces.admission import namespaces_of
from render.program import MOCK_PASSWORD, REDACTED
from settings.loading import ROOT
from tests.program.conftest import (
    SHAPES,
    config_maps_of,
    container_of,
    named,
    objects,
    provider_of,
    waited_for,
    workloads,
)
from tests.program.pod_security import violations
from tests.programs import run_to_end
from tools.find import find

CLUSTER_SCOPED = ("Namespace", "ClusterRole", "ClusterRoleBinding")


@pytest.fixture(params=SHAPES)
def run(run_program, request):
    return run_program(request.param)


def test_no_two_resources_are_the_same_one(run):
    """Pulumi refuses a URN that is registered twice, but only at `up`."""
    counts = Counter(resource.urn for resource in run.resources)
    assert [urn for urn, count in counts.items() if count > 1] == []


def test_every_object_is_one_object_of_the_cluster(run):
    """Two resources with one kind, namespace and name would fight over the object."""
    counts = Counter(
        (resource.kind, resource.namespace, resource.inputs["metadata"]["name"])
        for resource in objects(run)
    )
    assert [identity for identity, count in counts.items() if count > 1] == []


def test_every_resource_hangs_below_a_component(run):
    """`pulumi stack` shows a tree: components, and below each what is named after it."""
    by_urn = {resource.urn: resource for resource in run.resources}
    for resource in run.resources:
        parent = by_urn.get(resource.parent)
        if resource.type.startswith("proxyobs:"):
            folder, name = resource.type.split(":")[1:]
            modules = (ROOT / "components" / folder).glob("*.py")
            assert any(f"\nclass {name}(" in module.read_text() for module in modules)
            assert parent is None
        elif not resource.type.startswith("pulumi:"):
            assert parent is not None, resource.urn
            assert resource.name.startswith(f"{parent.name}-")


def test_destroy_waits_as_up_does(run):
    """The state has a child's own dependencies, and not what its component waits for."""
    by_urn = {resource.urn: resource for resource in run.resources}
    for resource in run.resources:
        if component := by_urn.get(resource.parent):
            assert component.dependencies <= resource.dependencies, resource.urn


def test_every_component_makes_something(run):
    """An empty component in `pulumi stack` reads as a part that is there."""
    parents = {resource.parent for resource in run.resources}
    for resource in run.resources:
        assert resource.custom or resource.urn in parents, resource.urn


def test_every_object_goes_to_the_named_cluster(run):
    """A resource without our provider would use whatever cluster the shell points to."""
    provider = provider_of(run)
    for resource in run.resources:
        if resource.type.startswith("kubernetes:"):
            assert resource.provider.startswith(provider.urn), resource.urn


def test_there_is_no_default_cluster():
    """With it a resource without our provider fails at preview on the real engine, too."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert project["pulumi:disable-default-providers"] == {"value": ["kubernetes"]}


def test_every_object_is_in_a_namespace_of_the_stack(run):
    """Nothing lands in `default`, or in a namespace that the stack does not use."""
    plans = namespaces_of(run.settings)
    assert named(run, "Namespace") == {plan.name for plan in plans if plan.action == "create"}
    for resource in objects(run):
        if resource.kind not in CLUSTER_SCOPED:
            assert resource.namespace in {plan.name for plan in plans}, resource.urn


def test_namespaces_with_pods_of_others_outlive_the_stack(run):
    """`pulumi destroy` needs no preparation, and deletes no crawler and no history."""
    assert not any(resource.protect for resource in run.resources)
    kept = {r.inputs["metadata"]["name"] for r in run.resources if r.retained}
    crawlers = () if run.settings.prometheus.role == "global" else ("crawlers",)
    assert kept == {"monitoring", *crawlers}


def test_every_object_can_be_found_by_label(run):
    """`kubectl get -l app.kubernetes.io/part-of=proxy-observability` misses nothing."""
    for resource in objects(run):
        labels = resource.inputs["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"], resource.urn
        assert labels["app.kubernetes.io/part-of"] == PROJECT
        assert labels["app.kubernetes.io/managed-by"] == "pulumi"


def test_secrets_stay_secret(run):
    """A password is secret in the state, and in nothing but its Secret."""
    secrets = run.of_kind("Secret")
    assert secrets
    assert all("stringData" in secret.secrets for secret in secrets)
    for name, output in run.outputs.items():
        assert name.endswith("Password") is (output == REDACTED)
    assert run.outputs["grafanaAdminPassword"] == REDACTED
    for resource in run.resources:
        text = json.dumps(resource.inputs)
        assert MOCK_PASSWORD not in text
        assert resource.kind == "Secret" or REDACTED not in text, resource.urn
        assert "secure" not in resource.inputs.get("stringData", {}).values()


def test_every_pod_is_admitted_by_its_namespace(run):
    """Pod security refuses pods, not Deployments: `up` would hang and name no reason."""
    monitoring = run.only("Namespace", "monitoring")["metadata"]["labels"]
    assert monitoring["pod-security.kubernetes.io/enforce"] == "restricted"
    assert workloads(run)
    for workload in workloads(run):
        spec = workload.inputs["spec"]["template"]["spec"]
        # The pods pass the strictest level wherever they run, with a read-only root.
        assert [*violations(spec)] == []
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]


def test_the_checker_knows_a_bad_pod():
    """The promise above is worth what its checker sees."""
    bad = {
        "hostNetwork": True,
        "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
        "containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}],
    }
    assert [*violations(bad)] == [
        *("hostNetwork", "volume host", "c: allowPrivilegeEscalation", "c: runAsNonRoot"),
        *("c: seccompProfile", "c: capabilities"),
    ]


def test_containers_use_what_the_stack_file_says(run):
    """Requests and limits are the settings', and every container has them."""
    settings = run.settings
    expected = {
        "alertmanager": settings.alertmanager.resources,
        "grafana": settings.grafana.resources,
        "crawler": settings.load_generator.resources,
        "vendor": settings.simulated_vendors.resources,
    }
    if settings.runs_prometheus:
        expected["prometheus"] = settings.prometheus.resources
    for workload in workloads(run):
        container = container_of(workload.inputs)
        assert container["resources"] == expected[container["name"]].model_dump()


def test_what_pods_refer_to_exists(run):
    """ConfigMaps, Secrets and accounts of a pod template are made by the same program."""
    made = {
        (resource.kind, resource.namespace, resource.inputs["metadata"]["name"])
        for resource in objects(run)
    }
    # cert-manager's own: no Secret of the program, and changed in place.
    issued = {
        ("Secret", one.namespace, one.inputs["spec"]["secretName"])
        for one in run.of_kind("Certificate")
    }
    keys_issued = {"ca.crt", "tls.crt", "tls.key"}
    for workload in workloads(run):
        spec, namespace = workload.inputs["spec"]["template"]["spec"], workload.namespace
        sources = config_maps_of(spec)
        used = {("ConfigMap", namespace, source["name"]) for source in sources} | {
            ("Secret", namespace, volume["secret"]["secretName"])
            for volume in spec["volumes"]
            if "secret" in volume
        }
        for source in sources:
            # A key that is listed and not there keeps the pod from starting.
            if items := source.get("items"):
                data = run.only("ConfigMap", source["name"])["data"]
                assert sorted(item["key"] for item in items) == sorted(data)
        container = container_of(workload.inputs)
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                referred = ("Secret", namespace, reference["name"])
                used.add(referred)
                if referred in issued:
                    assert reference["key"] in keys_issued
                    continue
                secret = run.only("Secret", reference["name"])
                assert reference["key"] in secret["stringData"]
        claims = workload.inputs["spec"].get("volumeClaimTemplates", ())
        volumes = [*spec["volumes"], *(claim["metadata"] for claim in claims)]
        assert {mount["name"] for mount in container["volumeMounts"]} == {
            volume["name"] for volume in volumes
        }
        if "serviceAccountName" in spec:
            used.add(("ServiceAccount", namespace, spec["serviceAccountName"]))
        assert used <= made | issued
        for kind, _, name in used - issued:
            # One that changes in place would leave the pod with the password that it read.
            assert kind != "Secret" or run.only("Secret", name)["immutable"]


def test_services_lead_to_pods(run):
    """A Service's selector and named port are those of a pod template beside it."""
    for service in run.of_kind("Service"):
        spec = service.inputs["spec"]
        (workload,) = [
            workload
            for workload in workloads(run)
            if workload.namespace == service.namespace
            and spec["selector"].items()
            <= workload.inputs["spec"]["template"]["metadata"]["labels"].items()
        ]
        ports = {port["name"] for port in container_of(workload.inputs)["ports"]}
        assert {port["targetPort"] for port in spec["ports"]} <= ports
        own = workload.inputs["spec"]["selector"]["matchLabels"]
        assert own.items() <= spec["selector"].items()
        if service.namespace == "monitoring":
            # kube-prometheus-stack's Grafana may be there, under the same name.
            assert spec["selector"]["app.kubernetes.io/part-of"] == PROJECT


def test_no_probe_stands_before_the_password(run):
    """Both servers ask for a password: an HTTP probe would get 401, and its header be readable."""
    for workload in workloads(run):
        container = container_of(workload.inputs)
        if container["name"] not in ("prometheus", "alertmanager"):
            continue
        assert any(argument.startswith("--web.config.file=") for argument in container["args"])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe].keys() & {"exec", "tcpSocket"}
            assert "httpGet" not in container[probe]
    assert "uthorization" not in json.dumps([workload.inputs for workload in workloads(run)])


def test_prometheus_may_list_pods_where_it_looks(run):
    """A namespace of a scrape job without a Role gives no target and one line in a log."""
    configs = [
        yaml.safe_load(one.inputs["data"]["prometheus.yml"])
        for one in run.of_kind("ConfigMap")
        if "prometheus.yml" in one.inputs["data"]
    ]
    looked_at = {
        namespace
        for config in configs
        for job in [*config["scrape_configs"], *config.get("alerting", {}).get("alertmanagers", ())]
        for discovery in job.get("kubernetes_sd_configs", ())
        if discovery["role"] == "pod"
        for namespace in discovery["namespaces"]["names"]
    }
    own = [one for one in objects(run) if one.inputs["metadata"]["name"] == "prometheus"]
    roles = [one for one in own if one.kind == "Role"]
    assert looked_at == {role.namespace for role in roles}
    for role in roles:
        assert role.inputs["rules"] == [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
        ]
    for binding in (one for one in own if one.kind == "RoleBinding"):
        assert binding.inputs["roleRef"]["name"] == "prometheus"
        assert binding.inputs["subjects"] == [
            {"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}
        ]


def test_crawlers_are_injected(run):
    """Without injection nothing is measured; a sidecar of Prometheus would count its scrapes."""
    namespaces = {n.inputs["metadata"]["name"]: n.inputs for n in run.of_kind("Namespace")}
    for name, namespace in namespaces.items():
        injection = namespace["metadata"]["labels"].get("istio-injection")
        assert injection == {"crawlers": "enabled", "proxy-vendors": "disabled"}.get(name)


def test_filters_come_after_istiod(run):
    """istiod validates EnvoyFilters: one that comes first fails the first `up`."""
    istiod = {r.urn for r in run.resources if r.inputs.get("name") == "istiod"}
    for envoy_filter in run.of_kind("EnvoyFilter"):
        assert istiod
        assert istiod <= waited_for(run, envoy_filter)


def test_every_configured_vendor_reaches_envoy(run):
    """No vendor of the stack file is lost between YAML and the mesh."""
    if run.settings.prometheus.role == "leaf":
        vendors = {f"proxy-vendor-{vendor.name}" for vendor in run.settings.vendors}
        assert vendors <= named(run, "EnvoyFilter")


def test_promtool_takes_what_every_server_is_given(run, tmp_path):
    """Configuration and rules together, as they are mounted; a shard's and a global one's too."""
    servers = {name.removesuffix("-config") for name in named(run, "ConfigMap")}
    servers &= named(run, "StatefulSet") - {"alertmanager", "load-generator"}
    assert bool(servers) is run.settings.runs_prometheus
    for server in servers:
        root = tmp_path / server
        text = run.only("ConfigMap", f"{server}-config")["data"]["prometheus.yml"]
        for file in re.findall(r"file: (/\S+)", text):
            (root / file[1:]).parent.mkdir(parents=True, exist_ok=True)
            (root / file[1:]).touch()
        (root / "etc/prometheus/rules").mkdir(parents=True, exist_ok=True)
        for name, rules in run.only("ConfigMap", f"{server}-rules")["data"].items():
            (root / "etc/prometheus/rules" / name).write_text(rules)
        config = root / "prometheus.yml"
        config.write_text(re.sub(r"(- |file: )/", rf"\1{root}/", text))
        assert "rules found" in run_to_end(find("promtool"), "check", "config", config).stdout
