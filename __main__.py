"""The Pulumi program: one stack file becomes one cluster's proxy observability.

Reads the configuration once, builds the components, exports. What each part is lies in
components/; what a stack may say, in settings/.
"""

from __future__ import annotations

import pulumi
from pulumi.runtime import get_config_env, get_config_secret_keys_env, is_config_secret
from pulumi.runtime.config import CONFIG
from pulumi_kubernetes import Provider

from components.alertmanager.component import (
    LOGIN_SECRET,
    AlertmanagerCluster,
    AlertmanagerClusterArgs,
)
from components.alertmanager.component import USER as ALERTMANAGER_USER
from components.attribution.component import VendorAttribution, VendorAttributionArgs
from components.attribution.guard import envoy_here, refuse_undeployable
from components.attribution.render import envoy_filters
from components.external.files import LOGIN_FOLDER
from components.grafana.component import GrafanaServer, GrafanaServerArgs, PrometheusLogin
from components.labels import labels
from components.load_generator.component import LoadGenerator, LoadGeneratorArgs
from components.load_generator.plan import crawler_plan
from components.mesh.component import IstioInstall, IstioInstallArgs
from components.mesh.values import last_scrape_seconds, required_values
from components.namespaces.component import Namespaces, NamespacesArgs
from components.operator.component import OperatorObjects, OperatorObjectsArgs
from components.operator.objects import (
    alerting_endpoint,
    monitors,
    prometheus_rules,
    required_prometheus_values,
)
from components.prometheus.component import PrometheusServer, PrometheusServerArgs
from components.prometheus.config import BasicAuth, operator_jobs
from components.prometheus.estimate import estimate
from components.prometheus.own_rules import own_rule_files, promtool_here
from components.prometheus.rules import operator_rules, server_rules, shard_rules
from components.repository_files import ROOT, program_files
from components.simulated_vendors.component import SimulatedVendors, SimulatedVendorsArgs
from dashboards.boards import boards
from settings.loading import SettingsError, settings_of_config
from settings.namespaces import MONITORING_NAMESPACE, SIMULATED_NAMESPACE
from settings.prometheus import OperatorPrometheusSettings

# The whole map, as the engine hands it over: asked key by key, a misspelt one would go unseen.
try:
    config = {**get_config_env(), **CONFIG.get()}
    encrypted = {*get_config_secret_keys_env(), *filter(is_config_secret, config)}
    settings = settings_of_config(config, encrypted)
    simulated_namespace = SIMULATED_NAMESPACE if settings.simulated_vendors.enabled else None
    expected = estimate(settings)  # refuses a stack with more series than it may have
    own_rules = own_rule_files(settings, ROOT)
    choose_rules = server_rules if settings.runs_prometheus else operator_rules
    rules = choose_rules(settings, own_rules)
    # A global server's cluster has no crawlers, and so no mesh.
    crawlers_here = settings.prometheus.role == "leaf"
    # The scrape jobs for a Prometheus that is not the stack's own.
    jobs = (
        ()
        if settings.runs_prometheus
        else operator_jobs(
            settings,
            monitoring_namespace=MONITORING_NAMESPACE,
            simulated_vendors_namespace=simulated_namespace,
            alertmanager_auth=BasicAuth(
                username=ALERTMANAGER_USER, password_file=f"{LOGIN_FOLDER}/password"
            ),
        )
    )
    operator_objects = (
        (
            *monitors(jobs, LOGIN_SECRET),
            *prometheus_rules(rules, settings.prometheus.scrape_interval),
        )
        if settings.prometheus.mode == "operator"
        else ()
    )
    # Once for all namespaces: thousands of ranges take a second.
    filters = envoy_filters(
        settings.vendors,
        targets=settings.targets,
        timeout_after_seconds=settings.telemetry.timeout_after,
        selector=settings.crawlers.selector,
    )
    plan = crawler_plan(settings) if settings.load_generator.enabled else None
    envoy = envoy_here()
    refuse_undeployable(
        settings.vendors,
        filters,
        envoy,
        istio_version=settings.istio.version if settings.istio.install else None,
    )
    if envoy is None:
        pulumi.log.info("no Envoy 1.39 or 1.40 here: the rendered chains were not validated by one")
    if own_rules and promtool_here() is None:
        pulumi.log.warn("alerts.ruleFiles: no promtool here, so their PromQL was not looked at")
except SettingsError as error:
    # Pulumi prints the findings alone; any other exception comes with a traceback.
    raise pulumi.RunError(str(error)) from None

kubernetes = pulumi.Config("kubernetes")
cluster = Provider(
    "cluster",
    kubeconfig=kubernetes.get_secret("kubeconfig"),
    context=kubernetes.get("context"),
    # Prometheus reloads its files in place; ConfigMaps marked immutable are still replaced.
    enable_config_map_mutable=True,
)
everywhere = pulumi.ResourceOptions(providers={"kubernetes": cluster})
istio = settings.istio if crawlers_here else settings.istio.model_copy(update={"install": False})

namespaces = Namespaces(
    "namespaces",
    NamespacesArgs(
        monitoring=MONITORING_NAMESPACE,
        monitoring_created=settings.prometheus.create_namespace,
        crawlers=settings.crawlers.namespaces if crawlers_here else (),
        crawlers_created=settings.crawlers.create_namespaces,
        crawlers_pod_security=settings.crawlers.pod_security,
        istio=istio.root_namespace,
        istio_revision=istio.revision,
        istio_installed=istio.install,
        istio_cni=istio.cni,
        simulated_vendors=simulated_namespace,
    ),
    everywhere,
)

mesh = IstioInstall(
    "mesh",
    IstioInstallArgs(
        namespace=namespaces.istio,
        istio=istio,
        buckets=settings.telemetry.buckets,
        last_scrape_seconds=last_scrape_seconds(settings),
    ),
    everywhere,
)

attributions = [
    VendorAttribution(
        f"attribution-{name}",
        VendorAttributionArgs(
            namespace=namespace,
            filters=filters,
            selector=settings.crawlers.selector,
            egress_hosts=settings.crawlers.egress_hosts,
            labels=labels("vendor-attribution"),
        ),
        # istiod validates EnvoyFilters: without it they can't be made.
        pulumi.ResourceOptions(providers={"kubernetes": cluster}, depends_on=[mesh]),
    )
    for name, namespace in namespaces.crawlers.items()
]

alertmanager = (
    AlertmanagerCluster(
        "alertmanager",
        AlertmanagerClusterArgs(
            namespace=namespaces.monitoring,
            alertmanager=settings.alertmanager,
            secrets=settings.alertmanager_secrets,
            with_login_secret=not settings.runs_prometheus,
        ),
        everywhere,
    )
    if settings.runs_alertmanager
    else None
)
if alertmanager and not settings.alertmanager.receivers:
    pulumi.log.warn("alertmanager.receivers: there are none, so alerts reach nobody")

prometheus: PrometheusServer | None = None
if alertmanager and not isinstance(settings.prometheus, OperatorPrometheusSettings):
    prometheus = PrometheusServer(
        "prometheus",
        PrometheusServerArgs(
            cluster=settings.cluster,
            namespace=namespaces.monitoring,
            monitoring_namespace=MONITORING_NAMESPACE,
            crawler_namespaces=settings.crawlers.namespaces,
            istio_namespace=settings.istio.root_namespace,
            simulated_vendors_namespace=simulated_namespace,
            watched={
                **namespaces.crawlers,
                **({istio.root_namespace: namespaces.istio} if crawlers_here else {}),
                MONITORING_NAMESPACE: namespaces.monitoring,
                **(
                    {SIMULATED_NAMESPACE: namespaces.simulated_vendors}
                    if namespaces.simulated_vendors
                    else {}
                ),
            },
            prometheus=settings.prometheus,
            telemetry=settings.telemetry,
            rules=rules,
            shard_rules=shard_rules(settings),
            federation_passwords={
                source.cluster: pulumi.StackReference(source.stack).get_output("prometheusPassword")
                for source in settings.prometheus.federate_from
            },
            alertmanager_user=ALERTMANAGER_USER,
            alertmanager_auth=alertmanager.auth_secret,
        ),
        everywhere,
    )
    prometheus_url: pulumi.Input[str] = prometheus.url
    login: PrometheusLogin | str | None = PrometheusLogin(
        user=prometheus.user, password=prometheus.password
    )
    pulumi.export("prometheusPassword", prometheus.password)
else:
    assert isinstance(settings.prometheus, OperatorPrometheusSettings)
    prometheus_url, login = settings.prometheus.url, settings.prometheus.login_secret

if isinstance(settings.prometheus, OperatorPrometheusSettings):
    OperatorObjects(
        "operator",
        OperatorObjectsArgs(
            namespace=namespaces.monitoring,
            objects=operator_objects,
            operator_labels=settings.prometheus.operator_labels,
        ),
        everywhere,
    )
    endpoint = alerting_endpoint(MONITORING_NAMESPACE, LOGIN_SECRET) if alertmanager else None
    # For its owner to merge into kube-prometheus-stack's values.
    pulumi.export(
        "requiredPrometheusValues", required_prometheus_values(settings.cluster, endpoint)
    )

grafana = GrafanaServer(
    "grafana",
    GrafanaServerArgs(
        namespace=namespaces.monitoring,
        grafana=settings.grafana,
        prometheus_url=prometheus_url,
        prometheus_login=login,
        scrape_interval_seconds=settings.prometheus.scrape_interval,
        dashboards=boards(),
    ),
    everywhere,
)

simulated_vendors = (
    SimulatedVendors(
        "simulated-vendors",
        SimulatedVendorsArgs(
            namespace=namespaces.simulated_vendors,
            settings=settings,
            program=program_files("proxy"),
            prometheus_namespace=settings.prometheus.namespace,
        ),
        pulumi.ResourceOptions(
            providers={"kubernetes": cluster},
            # Kubernetes gives a new Service any free address. Made before them, the simulated
            # vendors' Service range would offer them the simulated vendors' addresses.
            depends_on=[
                grafana,
                *([prometheus] if prometheus else []),
                *([alertmanager] if alertmanager else []),
            ],
        ),
    )
    if namespaces.simulated_vendors
    else None
)

if plan is not None:
    LoadGenerator(
        "load-generator",
        LoadGeneratorArgs(
            namespace=namespaces.crawlers[settings.crawlers.namespaces[0]],
            settings=settings,
            plan=plan,
            program=program_files("crawler"),
            logins=simulated_vendors.logins if simulated_vendors else {},
            pod_labels=settings.crawlers.selector,
        ),
        pulumi.ResourceOptions(
            providers={"kubernetes": cluster},
            depends_on=[mesh, *attributions, *([simulated_vendors] if simulated_vendors else [])],
        ),
    )

pulumi.export("expected", expected.as_output() if crawlers_here else {})
pulumi.export("prometheusUrl", prometheus_url)
if alertmanager:
    pulumi.export("alertmanagerUrl", alertmanager.url)
    pulumi.export("alertmanagerPassword", alertmanager.password)
pulumi.export("grafanaUrl", grafana.url)
pulumi.export("grafanaAdminPassword", grafana.admin_password)
# For an Istio that was installed before: what its owner merges into its values.
pulumi.export(
    "requiredIstioValues",
    required_values(settings.telemetry.buckets, last_scrape_seconds(settings)),
)
