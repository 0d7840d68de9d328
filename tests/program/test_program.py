from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction

import pytest
import yaml

from components.attribution import guard
from components.labels import PROJECT
from components.prometheus.estimate import estimate
from components.prometheus.rules import EVALUATED_BY, SERVER
from render.manifests import RELEASE_TYPE
from render.program import MOCK_PASSWORD, REDACTED, Run
from render.program import run_program as run_with
from settings.loading import ROOT, SettingsError, load_stack_file
from settings.values import cpu_millis, memory_bytes
from settings.vendors import RESERVED_NAMES
from tests.program.pod_security import violations

STACKS = ("dev", "prod")
WORKLOADS = ("Deployment", "StatefulSet")
CLUSTER_SCOPED = ("Namespace", "ClusterRole", "ClusterRoleBinding", "ServiceCIDR")
every_stack = pytest.mark.parametrize("stack", STACKS)


def settings_of(stack):
    return load_stack_file(ROOT / f"Pulumi.{stack}.yaml")


def workloads(run: Run):
    return [resource for kind in WORKLOADS for resource in run.of_kind(kind)]


def objects(run: Run):
    """Everything Kubernetes itself receives."""
    return [resource for resource in run.resources if resource.kind]


def istiod_of(run: Run):
    (istiod,) = [r for r in run.of_type(RELEASE_TYPE) if r.inputs["name"] == "istiod"]
    return istiod


def config_maps_of(spec):
    """What a pod's volumes take from ConfigMaps."""
    volumes = spec["volumes"]
    parts = [part for v in volumes for part in v.get("projected", {}).get("sources", ())]
    return [part["configMap"] for part in (*volumes, *parts) if "configMap" in part]


def stateful_set(run: Run, name: str):
    (found,) = [s for s in run.of_kind("StatefulSet") if s.inputs["metadata"]["name"] == name]
    return found


def ancestors(run: Run, resource):
    by_urn = {other.urn: other for other in run.resources}
    while resource:
        yield resource
        resource = by_urn.get(resource.parent)


@every_stack
def test_no_two_resources_are_the_same_one(run_program, stack):
    """Pulumi refuses a URN that is registered twice, but only at `up`."""
    counts = Counter(resource.urn for resource in run_program(stack).resources)
    assert [urn for urn, count in counts.items() if count > 1] == []


@every_stack
def test_every_object_is_one_object_of_the_cluster(run_program, stack):
    """Two resources with one kind, namespace and name would fight over the object."""
    counts = Counter(
        (resource.kind, resource.namespace, resource.inputs["metadata"]["name"])
        for resource in objects(run_program(stack))
    )
    assert [identity for identity, count in counts.items() if count > 1] == []


@every_stack
def test_every_resource_hangs_below_a_component(run_program, stack):
    """`pulumi stack` shows a tree: components, and below each what is named after it."""
    run = run_program(stack)
    by_urn = {resource.urn: resource for resource in run.resources}
    for resource in run.resources:
        parent = by_urn.get(resource.parent)
        if resource.type.startswith("proxyobs:"):
            folder, name = resource.type.split(":")[1:]
            assert (ROOT / "components" / folder / "component.py").exists()
            assert f"class {name}(" in (ROOT / "components" / folder / "component.py").read_text()
            assert parent is None
        elif resource.type != "pulumi:providers:kubernetes":
            assert parent is not None, resource.urn
            assert resource.name.startswith(f"{parent.name}-")


@every_stack
def test_every_object_goes_to_the_named_cluster(run_program, stack):
    """A forgotten parent would use whatever cluster the shell points to."""
    run = run_program(stack)
    (provider,) = run.of_type("pulumi:providers:kubernetes")
    for resource in run.resources:
        if resource.type.startswith("kubernetes:"):
            assert resource.provider.startswith(provider.urn), resource.urn


@every_stack
def test_every_object_is_in_a_namespace_of_the_stack(run_program, stack):
    """Nothing lands in `default`, or in a namespace that nobody makes."""
    run, settings = run_program(stack), settings_of(stack)
    made = {resource.inputs["metadata"]["name"] for resource in run.of_kind("Namespace")}
    expected = {"monitoring", settings.istio.root_namespace, *settings.crawlers.namespaces}
    assert made == expected | ({"proxy-vendors"} if settings.simulated_vendors.enabled else set())
    for resource in objects(run):
        if resource.kind not in CLUSTER_SCOPED:
            assert resource.namespace in made, resource.urn


@every_stack
def test_every_object_can_be_found_by_label(run_program, stack):
    """`kubectl get -l app.kubernetes.io/part-of=proxy-observability` misses nothing."""
    for resource in objects(run_program(stack)):
        labels = resource.inputs["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"], resource.urn
        assert labels["app.kubernetes.io/part-of"] == PROJECT
        assert labels["app.kubernetes.io/managed-by"] == "pulumi"


@every_stack
def test_secrets_stay_secret(run_program, stack):
    """A password is secret in the state, and in nothing but its Secret."""
    run = run_program(stack)
    secrets = run.of_kind("Secret")
    assert secrets
    assert all("stringData" in secret.secrets for secret in secrets)
    for output in ("grafanaAdminPassword", "prometheusPassword", "alertmanagerPassword"):
        assert run.outputs[output] == REDACTED
    for resource in run.resources:
        text = json.dumps(resource.inputs)
        assert MOCK_PASSWORD not in text
        assert resource.kind == "Secret" or REDACTED not in text, resource.urn


@every_stack
def test_every_pod_is_admitted_by_its_namespace(run_program, stack):
    """Pod security refuses pods, not Deployments: `up` would hang and name no reason."""
    run = run_program(stack)
    level = {
        namespace.inputs["metadata"]["name"]: namespace.inputs["metadata"]["labels"][
            "pod-security.kubernetes.io/enforce"
        ]
        for namespace in run.of_kind("Namespace")
    }
    assert level["monitoring"] == "restricted"
    found = workloads(run)
    assert found
    for workload in found:
        spec = workload.inputs["spec"]["template"]["spec"]
        assert violations(level[workload.namespace], spec) == []
        # Ours pass the strictest level wherever they run, with nothing to write to.
        assert violations("restricted", spec) == []
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]


def test_the_checker_knows_a_bad_pod():
    """The promise above is worth what its checker sees."""
    bad = {
        "hostNetwork": True,
        "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
        "containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}],
    }
    assert len(violations("baseline", bad)) == 3
    assert len(violations("restricted", bad)) == 9
    assert violations("privileged", bad) == []


@every_stack
def test_containers_use_what_the_stack_file_says(run_program, stack):
    """Requests and limits are the settings', and every container has them."""
    settings = settings_of(stack)
    expected = {
        "prometheus": settings.prometheus.resources,
        "alertmanager": settings.alertmanager.resources,
        "grafana": settings.grafana.resources,
        "crawler": settings.load_generator.resources,
        "vendor": settings.simulated_vendors.resources,
    }
    for workload in workloads(run_program(stack)):
        for container in workload.inputs["spec"]["template"]["spec"]["containers"]:
            assert container["resources"] == expected[container["name"]].model_dump()


def test_monitoring_fits_the_brief(run_program):
    """One Prometheus and Grafana stay within the brief's figures for the namespace."""
    run = run_program("prod")
    amounts = {"cpu": cpu_millis, "memory": memory_bytes}
    brief = {  # "Resource Allocation" of the architecture document
        "requests": {"cpu": 3000, "memory": 6 * 10**9},
        "limits": {"cpu": 4000, "memory": 8 * 10**9},
    }
    for bound, quantities in brief.items():
        for name, most in quantities.items():
            total = sum(
                Fraction(amounts[name](container["resources"][bound][name]))
                for workload in workloads(run)
                if workload.namespace == "monitoring"
                for container in workload.inputs["spec"]["template"]["spec"]["containers"]
            )
            assert total <= most, (bound, name)


@every_stack
def test_what_pods_refer_to_exists(run_program, stack):
    """ConfigMaps, Secrets and accounts of a pod template are made by the same program."""
    run = run_program(stack)
    made = {
        (resource.kind, resource.namespace, resource.inputs["metadata"]["name"])
        for resource in objects(run)
    }
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
        for container in spec["containers"]:
            for variable in container.get("env", ()):
                if "secretKeyRef" in variable.get("valueFrom", {}):
                    name = variable["valueFrom"]["secretKeyRef"]["name"]
                    used.add(("Secret", namespace, name))
            claims = workload.inputs["spec"].get("volumeClaimTemplates", ())
            volumes = [*spec["volumes"], *(claim["metadata"] for claim in claims)]
            assert {mount["name"] for mount in container["volumeMounts"]} == {
                volume["name"] for volume in volumes
            }
        if "serviceAccountName" in spec:
            used.add(("ServiceAccount", namespace, spec["serviceAccountName"]))
        assert used <= made


@every_stack
def test_services_lead_to_pods(run_program, stack):
    """A Service's selector and named port are those of a pod template beside it."""
    run = run_program(stack)
    for service in run.of_kind("Service"):
        spec = service.inputs["spec"]
        if spec["selector"].get("app.kubernetes.io/instance") == "none":
            # It holds an address beside a simulated vendor's; no vendor may have that name.
            assert "none" in RESERVED_NAMES
            continue
        (workload,) = [
            workload
            for workload in workloads(run)
            if workload.namespace == service.namespace
            and spec["selector"].items()
            <= workload.inputs["spec"]["template"]["metadata"]["labels"].items()
        ]
        template = workload.inputs["spec"]["template"]
        ports = {port["name"] for c in template["spec"]["containers"] for port in c["ports"]}
        assert {port["targetPort"] for port in spec["ports"]} <= ports
        own = workload.inputs["spec"]["selector"]["matchLabels"]
        assert own.items() <= spec["selector"].items()
        if service.namespace == "monitoring":
            # kube-prometheus-stack's Grafana may be there, under the same name.
            assert spec["selector"]["app.kubernetes.io/part-of"] == PROJECT


@every_stack
def test_prometheus_may_list_pods_where_it_looks(run_program, stack):
    """A namespace of a scrape job without a Role gives no target and one line in a log."""
    run = run_program(stack)
    config = yaml.safe_load(run.only("ConfigMap", "prometheus-config")["data"]["prometheus.yml"])
    looked_at = {
        namespace
        for job in [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
        for discovery in job["kubernetes_sd_configs"]
        if discovery["role"] == "pod"
        for namespace in discovery["namespaces"]["names"]
    }
    assert looked_at == {role.namespace for role in run.of_kind("Role")}
    for role in run.of_kind("Role"):
        assert role.inputs["rules"] == [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
        ]
    for binding in run.of_kind("RoleBinding"):
        assert binding.inputs["roleRef"]["name"] == "prometheus"
        assert binding.inputs["subjects"] == [
            {"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}
        ]


@every_stack
def test_crawlers_are_injected_and_protected(run_program, stack):
    """Without injection nothing is measured; the crawlers' pods do not go with the stack."""
    run = run_program(stack)
    for name in settings_of(stack).crawlers.namespaces:
        (namespace,) = [r for r in run.of_kind("Namespace") if r.name.endswith(f"-{name}")]
        assert namespace.inputs["metadata"]["labels"]["istio-injection"] == "enabled"
        assert namespace.protect
    assert "istio-injection" not in run.only("Namespace", "monitoring")["metadata"]["labels"]


@every_stack
def test_filters_come_after_istiod(run_program, stack):
    """istiod validates EnvoyFilters: one that comes first fails the first `up`."""
    run = run_program(stack)
    istiod = istiod_of(run)
    assert run.of_kind("EnvoyFilter")
    for envoy_filter in run.of_kind("EnvoyFilter"):
        # Pulumi registers a child once its parent is, and that once what it depends on exists.
        waited_for = {urn for above in ancestors(run, envoy_filter) for urn in above.dependencies}
        assert istiod.urn in waited_for


@every_stack
def test_every_configured_vendor_reaches_envoy(run_program, stack):
    """No vendor of the stack file is lost between YAML and the mesh."""
    filters = run_program(stack).of_kind("EnvoyFilter")
    names = {envoy_filter.inputs["metadata"]["name"] for envoy_filter in filters}
    for vendor in settings_of(stack).vendors:
        assert f"proxy-vendor-{vendor.name}" in names


def test_an_istio_that_was_there_is_left_alone(edited):
    """With `install: false` no release and no namespace is made; the rest is as ever."""
    path = edited("prod", lambda keys: keys.update(istio={"install": False, "cni": True}))
    run = run_with("prod", path)
    assert run.of_type(RELEASE_TYPE) == ()
    assert {r.inputs["metadata"]["name"] for r in run.of_kind("Namespace")} == {
        "monitoring",
        "crawlers",
    }
    assert run.of_kind("EnvoyFilter")
    assert {role.namespace for role in run.of_kind("Role")} >= {"istio-system"}
    required = run.outputs["requiredIstioValues"]
    assert required["meshConfig"]["defaultConfig"]["proxyStatsMatcher"]["inclusionRegexps"]
    annotations = required["sidecarInjectorWebhook"]["injectedAnnotations"]
    assert json.loads(annotations["sidecar.istio.io/statsHistogramBuckets"])


def test_crawlers_namespaces_that_were_there_get_one_label(edited):
    """Their owner's labels, and their end, are none of the program's business."""
    path = edited("prod", lambda keys: keys.update(crawlers={"createNamespaces": False}))
    run = run_with("prod", path)
    assert {r.inputs["metadata"]["name"] for r in run.of_kind("Namespace")} == {
        "monitoring",
        "istio-system",
    }
    (patch,) = run.of_kind("NamespacePatch")
    assert patch.inputs["kind"] == "Namespace"
    assert patch.inputs["metadata"] == {
        "name": "crawlers",
        "labels": {"istio-injection": "enabled"},
    }
    assert not patch.protect
    # What is put there still waits for it.
    (sidecar,) = run.of_kind("Sidecar")
    assert sidecar.namespace == "crawlers"
    assert patch.urn in sidecar.dependencies


@pytest.mark.parametrize(
    ("source", "chart", "repository"),
    [
        ("https://charts.example/istio", "istiod", {"repo": "https://charts.example/istio"}),
        ("oci://charts.example/istio", "oci://charts.example/istio/istiod", None),
        ("./charts", "./charts/istio-control/istio-discovery", None),
    ],
)
def test_charts_come_from_where_the_stack_says(edited, source, chart, repository):
    """A mirror of either kind, or a folder; a version is pinned wherever there can be several."""
    path = edited("prod", lambda keys: keys.update(istio={"chartSource": source}))
    istiod = istiod_of(run_with("prod", path)).inputs
    assert istiod["chart"] == chart
    assert istiod.get("repositoryOpts") == repository
    assert istiod.get("version") == (
        None if source.startswith(".") else load_stack_file(path).istio.version
    )


def test_a_revision_injects_by_its_own_label(edited):
    """`istio-injection` beside `istio.io/rev` would call the default revision."""
    run = run_with("prod", edited("prod", lambda keys: keys.update(istio={"revision": "canary"})))
    labels = run.only("Namespace", "crawlers")["metadata"]["labels"]
    assert labels["istio.io/rev"] == "canary"
    assert "istio-injection" not in labels
    assert istiod_of(run).inputs["values"]["revision"] == "canary"


def test_several_namespaces_of_crawlers(edited):
    """Each gets attribution, sidecars, and Prometheus's leave to look."""
    names = ["crawlers", "crawlers-eu"]
    path = edited("prod", lambda keys: keys.update(crawlers={"namespaces": names}))
    run = run_with("prod", path)
    for name in names:
        filters = [f for f in run.of_kind("EnvoyFilter") if f.namespace == name]
        assert len(filters) == 4
        assert any(role.namespace == name for role in run.of_kind("Role"))
    assert len({resource.urn for resource in run.resources}) == len(run.resources)


def test_synthetic_traffic_only_where_it_is_wanted(run_program):
    """It costs money at real vendors: prod has none unless its file says so."""
    names = {w.inputs["metadata"]["name"] for w in workloads(run_program("prod"))}
    assert names == {"prometheus", "alertmanager", "grafana"}
    names = {w.inputs["metadata"]["name"] for w in workloads(run_program("dev"))}
    assert names == {
        *("prometheus", "alertmanager", "grafana", "load-generator"),
        *("vendor-a", "vendor-b", "vendor-c"),
    }
    assert all(map(settings_of("dev").is_simulated, settings_of("dev").load_generator.endpoints))


def test_the_generator_is_a_crawler_whatever_the_selector_says(edited):
    """Synthetic traffic that the attribution does not select would be measured by nobody."""
    wanted = {"app.kubernetes.io/name": "crawler"}
    path = edited("dev", lambda keys: keys.update(crawlers={"selector": wanted}))
    spec = run_with("dev", path).only("StatefulSet", "load-generator")["spec"]
    pod_labels = spec["template"]["metadata"]["labels"]
    assert wanted.items() <= pod_labels.items()
    assert spec["selector"]["matchLabels"].items() <= pod_labels.items()
    assert spec["selector"]["matchLabels"].keys().isdisjoint(wanted)


def test_every_rule_and_board_travels(run_program):
    """A file in rules/ or a board that does not reach its ConfigMap alerts nobody."""
    run = run_program("prod")
    rules = run.only("ConfigMap", "prometheus-rules")["data"]
    shipped = {name for name, servers in EVALUATED_BY.items() if SERVER in servers}
    assert set(rules) == shipped - {"native_histograms.yml"}
    (boards,) = [c for c in run.of_kind("ConfigMap") if c.name == "grafana-dashboards"]
    assert boards.inputs["data"]
    for board in boards.inputs["data"].values():
        assert json.loads(board)["panels"]


@every_stack
def test_no_probe_stands_before_the_password(run_program, stack):
    """Both servers ask for a password: an HTTP probe would get 401, and its header be readable."""
    run = run_program(stack)
    for server in ("prometheus", "alertmanager"):
        workload = stateful_set(run, server)
        (container,) = workload.inputs["spec"]["template"]["spec"]["containers"]
        assert any(argument.startswith("--web.config.file=") for argument in container["args"])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe].keys() & {"exec", "tcpSocket"}
            assert "httpGet" not in container[probe]
    assert "uthorization" not in json.dumps([w.inputs for w in workloads(run)])


def test_nodes_are_read_and_no_more(run_program, edited):
    """The one right beyond a namespace; a stack can do without it, and without the alerts on it."""
    role = run_program("prod").only("ClusterRole")
    assert {(tuple(r["resources"]), tuple(r["verbs"])) for r in role["rules"]} == {
        (("nodes",), ("list", "watch")),
        (("nodes/metrics",), ("get",)),
    }
    path = edited("prod", lambda keys: keys["prometheus"].update(nodeMetrics=False))
    run = run_with("prod", path)
    assert run.of_kind("ClusterRole") == run.of_kind("ClusterRoleBinding") == ()
    config = yaml.safe_load(run.only("ConfigMap", "prometheus-config")["data"]["prometheus.yml"])
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    assert jobs.isdisjoint({"kubelet", "cadvisor"})


def test_grafana_asks_with_the_password_and_shows_it_nowhere(run_program):
    """The data source is a ConfigMap; the value comes by the environment from a Secret."""
    run = run_program("prod")
    (config,) = [c for c in run.of_kind("ConfigMap") if c.name == "grafana-datasources"]
    (source,) = yaml.safe_load(config.inputs["data"]["prometheus.yaml"])["datasources"]
    assert source["basicAuthUser"] == "prometheus"
    variable = source["secureJsonData"]["basicAuthPassword"].removeprefix("$")
    (container,) = run.only("Deployment", "grafana")["spec"]["template"]["spec"]["containers"]
    (env,) = [env for env in container["env"] if env["name"] == variable]
    assert env["valueFrom"]["secretKeyRef"]["key"] == "prometheus"


def with_receivers(keys):
    keys["alertmanager"] = {
        "replicas": 3,
        "receivers": [{"name": "oncall", "kind": "pagerduty"}],
        "critical": ["oncall"],
    }
    keys["alertmanagerSecrets"] = {"oncall": {"secure": "v1:abcdefgh:0123456789"}}


def test_alertmanagers_find_each_other_and_their_credentials(edited):
    """Each names all of them; a receiver's credential is a file of a Secret, and nowhere else."""
    run = run_with("prod", edited("prod", with_receivers))
    spec = run.only("StatefulSet", "alertmanager")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    peers = [a for a in container["args"] if a.startswith("--cluster.peer=")]
    assert peers == [f"--cluster.peer=alertmanager-{n}.alertmanager-pods:9094" for n in range(3)]
    assert spec["serviceName"] == "alertmanager-pods"
    assert run.only("Service", "alertmanager-pods")["spec"]["publishNotReadyAddresses"]
    (credentials,) = [s for s in run.of_kind("Secret") if s.name == "alertmanager-credentials"]
    assert credentials.inputs["stringData"] == {"oncall": REDACTED}
    budgets = {b.inputs["metadata"]["name"] for b in run.of_kind("PodDisruptionBudget")}
    assert budgets == {"prometheus", "alertmanager"}


def test_the_limits_of_a_stack_reach_prometheus(edited):
    """A vendor's own limit is recorded for it, the stack's for the others."""

    def edit(keys):
        keys["alerts"] = {"objective": "90%"}
        keys["vendors"][0]["alerts"] = {"objective": "99%"}

    run = run_with("prod", edited("prod", edit))
    text = run.only("ConfigMap", "prometheus-rules")["data"]["thresholds.yml"]
    (group,) = yaml.safe_load(text)["groups"]
    recorded = {
        rule["labels"]["proxy_vendor"]: rule["expr"]
        for rule in group["rules"]
        if rule["record"] == "proxy_vendor:slo:ratio"
    }
    assert recorded == {
        "vendor-a": "vector(0.99)",
        "vendor-b": "vector(0.9)",
        "vendor-c": "vector(0.9)",
    }


def test_a_second_one_is_kept_through_drains(run_program):
    """With two replicas one may leave its node at a time; with one, a budget would block drains."""
    for name in ("prometheus", "alertmanager"):
        budget = run_program("prod").only("PodDisruptionBudget", name)
        assert budget["spec"]["maxUnavailable"] == 1
    assert run_program("dev").of_kind("PodDisruptionBudget") == ()


def test_a_changed_volume_size_replaces_no_prometheus(run_program):
    """Pulumi would delete every replica, and the volumes would have the size they had."""
    for name in ("prometheus", "alertmanager"):
        server = stateful_set(run_program("prod"), name)
        assert server.ignored == {"spec.volumeClaimTemplates"}


@every_stack
def test_a_roll_out_of_prometheus_is_waited_for(run_program, stack):
    """Replicas roll one by one, and each may need all of its start-up and its end."""
    server = stateful_set(run_program(stack), "prometheus")
    pod = server.inputs["spec"]["template"]["spec"]
    startup = pod["containers"][0]["startupProbe"]
    seconds = startup["periodSeconds"] * startup["failureThreshold"]
    seconds += pod["terminationGracePeriodSeconds"]
    assert server.update_timeout == f"{server.inputs['spec']['replicas'] * seconds // 60}m"


def test_a_kubeconfig_of_the_stack_is_used_and_stays_secret(tmp_path):
    """A deployment machine has no ~/.kube/config; the file holds the cluster's credentials."""
    path = tmp_path / "Pulumi.prod.yaml"
    text = (ROOT / "Pulumi.prod.yaml").read_text()
    path.write_text(text.replace("config:\n", "config:\n  kubernetes:kubeconfig: token\n", 1))
    (provider,) = run_with("prod", path).of_type("pulumi:providers:kubernetes")
    assert provider.inputs["kubeconfig"] == REDACTED
    assert "kubeconfig" in provider.secrets


def test_a_vendor_that_no_cluster_can_store_is_refused(monkeypatch):
    """Refused before anything is deployed, not by etcd halfway through."""
    monkeypatch.setattr(guard, "MAX_OBJECT_BYTES", 10_000)
    with pytest.raises(SettingsError, match=r"^vendors: EnvoyFilter proxy-vendor-vendor-a is 0"):
        run_with("prod", ROOT / "Pulumi.prod.yaml")


def test_what_envoy_refuses_is_not_deployed(monkeypatch):
    """The guard stands in the program: a preview ends with its sentence, and no traceback."""
    monkeypatch.setattr(guard, "_validated", lambda envoy, bootstrap: "no such field")
    with pytest.raises(SettingsError) as refused:
        run_with("prod", ROOT / "Pulumi.prod.yaml")
    assert refused.value.findings == (
        "EnvoyFilters: Envoy refuses them (no such field); "
        "this is a defect of the program, report it",
    )


def filters_of(run: Run):
    return {f.inputs["metadata"]["name"]: f for f in run.of_kind("EnvoyFilter")}


def waits_for(run: Run, resource) -> set[str]:
    """The EnvoyFilters that must be there before this one."""
    by_urn = {other.urn: name for name, other in filters_of(run).items()}
    return {by_urn[urn] for urn in resource.dependencies if urn in by_urn}


def test_vendors_that_share_addresses_are_there_before_what_they_share(edited):
    """Its chains lead to their clusters: without one a request would get 503."""

    def share(keys):
        keys["vendors"][0].update(cidrs=["10.1.0.0/16"], ports=[3128])
        keys["vendors"][1].update(cidrs=["10.1.0.0/16"], ports=["4000-4999"])

    run = run_with("prod", edited("prod", share))
    waiting = {name: waits_for(run, one) for name, one in filters_of(run).items()}
    assert {name: names for name, names in waiting.items() if names} == {
        "proxy-shared-vendor-a.vendor-b": {"proxy-vendor-vendor-a", "proxy-vendor-vendor-b"}
    }


def test_a_vendor_of_ten_thousand_ranges_is_stored_in_parts(edited, in_file):
    """Each far below what etcd takes; the one with the cluster comes first and leaves last."""
    path = edited("prod", in_file([f"11.{n // 200}.{n % 200}.1" for n in range(10_000)]))
    run = run_with("prod", path)
    filters = filters_of(run)
    parts = {f"proxy-vendor-vendor-a.chain-{number}" for number in range(8)}
    assert filters.keys() == {
        "proxy-observability",
        *(f"proxy-vendor-{vendor.name}" for vendor in settings_of("prod").vendors),
        *parts,
    }
    assert max(len(json.dumps(one.inputs)) for one in filters.values()) < 1_000_000
    assert {name for name, one in filters.items() if waits_for(run, one)} == parts
    assert {name for part in parts for name in waits_for(run, filters[part])} == {
        "proxy-vendor-vendor-a"
    }


def test_targets_of_the_stack_reach_envoy_and_the_estimate(edited):
    """A group of sites is a label of every request, and multiplies the series."""
    path = edited(
        "prod", lambda keys: keys.update(targets=[{"name": "shops", "hosts": ["shop.example"]}])
    )
    for name, one in filters_of(run_with("prod", path)).items():
        assert ("proxy_target" in json.dumps(one.inputs)) is name.startswith("proxy-vendor-")
    few = estimate(settings_of("prod")).sidecar.total

    def within_budget(keys):
        keys.update(telemetry={"seriesBudget": few})

    run_with("prod", edited("prod", within_budget))
    path = edited(
        "prod",
        lambda keys: (
            within_budget(keys),
            keys.update(targets=[{"name": "shops", "hosts": ["shop.example"]}]),
        ),
    )
    with pytest.raises(SettingsError, match=rf"telemetry\.seriesBudget: {few} is less than"):
        run_with("prod", path)


def test_services_that_crawlers_call_stay_known(edited):
    """Every namespace's Sidecar lets through what the stack file lists."""
    path = edited("prod", lambda keys: keys.update(crawlers={"egressHosts": ["data/*"]}))
    spec = run_with("prod", path).only("Sidecar")["spec"]
    assert spec["egress"] == [{"hosts": ["./*", "data/*"]}]


def test_how_histograms_are_stored_reaches_prometheus(edited):
    """Both halves or neither: converted without the rules that read it, p95 would be gone."""

    def files(run):
        config = run.only("ConfigMap", "prometheus-config")["data"]["prometheus.yml"]
        (job,) = (
            job for job in yaml.safe_load(config)["scrape_configs"] if job["job_name"] == "sidecars"
        )
        return job, run.only("ConfigMap", "prometheus-rules")["data"]

    job, rules = files(run_with("prod", ROOT / "Pulumi.prod.yaml"))
    assert "convert_classic_histograms_to_nhcb" not in job
    assert "native_histograms.yml" not in rules

    def thrifty(keys):
        keys.update(
            crawlers={"expectedPods": 1000},
            telemetry={"nativeHistograms": True, "histogramSampling": 10, "buckets": [70, 9000]},
        )

    run = run_with("prod", edited("prod", thrifty))
    job, rules = files(run)
    assert job["convert_classic_histograms_to_nhcb"] is True
    assert 10 in [rule.get("modulus") for rule in job["metric_relabel_configs"]]
    (group,) = yaml.safe_load(rules["native_histograms.yml"])["groups"]
    assert [rule.get("labels") for rule in group["rules"]] == [
        *(None, {"le": "70.0"}, {"le": "9000.0"}, {"le": "+Inf"})
    ]
    own = {
        rule["record"]: rule["expr"]
        for rule in yaml.safe_load(rules["thresholds.yml"])["groups"][0]["rules"]
    }
    assert own["cluster:sidecars_per_histogram:ratio"] == "vector(10)"
    assert run.outputs["expected"]["seriesPerSidecar"] < estimate(settings_of("prod")).sidecar.total


def test_more_series_than_budgeted_are_refused(edited):
    """Refused by key before anything is deployed, not found out by a Prometheus out of memory."""
    path = edited("prod", lambda keys: keys.update(telemetry={"seriesBudget": 10}))
    with pytest.raises(SettingsError, match=r"telemetry\.seriesBudget: 10 is less than"):
        run_with("prod", path)


def test_one_run_does_not_see_another(run_program):
    """The recorded program is the same however often it ran in this process."""
    first = run_program("dev")
    again = run_with("dev", ROOT / "Pulumi.dev.yaml")
    assert again.resources == first.resources
    assert again.outputs == first.outputs
