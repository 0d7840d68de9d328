"""The Pulumi program: one stack file becomes one cluster's proxy observability.

Reads the configuration once, builds the components, exports. What each part is lies in
components/; what a stack may say, in settings/.
"""

from __future__ import annotations

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env
from pulumi_kubernetes import Provider

from components.alerting.component import USER as ALERTMANAGER_USER
from components.alerting.component import AlertmanagerCluster, AlertmanagerClusterArgs
from components.attribution.component import VendorAttribution, VendorAttributionArgs
from components.attribution.guard import envoy_here, refuse_undeployable
from components.attribution.render import envoy_filters
from components.contents import ROOT, program_files, rule_files
from components.grafana.component import GrafanaServer, GrafanaServerArgs
from components.labels import labels
from components.mesh.component import IstioInstall, IstioInstallArgs
from components.mesh.values import last_scrape_seconds, required_values
from components.metrics.component import PrometheusServer, PrometheusServerArgs
from components.metrics.estimate import estimate
from components.metrics.own_rules import own_rule_files
from components.metrics.stack_rules import stack_rules
from components.namespaces.component import Namespaces, NamespacesArgs
from components.simulated_vendors.component import SimulatedVendors, SimulatedVendorsArgs
from components.texts import yaml_text
from components.traffic.component import LoadGenerator, LoadGeneratorArgs
from components.traffic.plan import crawler_plan
from dashboards.boards import boards
from settings.checks import MONITORING_NAMESPACE, SIMULATED_NAMESPACE
from settings.loading import SettingsError, settings_of_pulumi_config

# The whole map, as the engine hands it over: asked key by key, a misspelt one would go unseen.
try:
    settings = settings_of_pulumi_config({**get_config_env(), **CONFIG.get()})
    expected = estimate(settings)  # refuses a stack with more series than it may have
    rules = {
        **rule_files(),
        **{name: yaml_text(file) for name, file in stack_rules(settings).items()},
        **own_rule_files(settings.alerts.rule_files, ROOT),
    }
    # Once for all namespaces: thousands of ranges take a second.
    filters = envoy_filters(
        settings.vendors,
        targets=settings.targets,
        patience_seconds=settings.telemetry.patience,
        selector=settings.crawlers.selector,
    )
    plan = crawler_plan(settings) if settings.load_generator.enabled else None
    envoy = envoy_here()
    refuse_undeployable(settings.vendors, filters, envoy)
    if envoy is None:
        pulumi.log.info("no Envoy 1.39 or 1.40 here: the rendered chains were not validated by one")
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
simulated_namespace = SIMULATED_NAMESPACE if settings.simulated_vendors.enabled else None

namespaces = Namespaces(
    "namespaces",
    NamespacesArgs(
        monitoring=MONITORING_NAMESPACE,
        crawlers=settings.crawlers.namespaces,
        crawlers_created=settings.crawlers.create_namespaces,
        crawlers_pod_security=settings.crawlers.pod_security,
        istio=settings.istio.root_namespace,
        istio_revision=settings.istio.revision,
        istio_installed=settings.istio.install,
        istio_cni=settings.istio.cni,
        simulated_vendors=simulated_namespace,
    ),
    everywhere,
)

mesh = IstioInstall(
    "mesh",
    IstioInstallArgs(
        namespace=namespaces.istio,
        istio=settings.istio,
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

alertmanager = AlertmanagerCluster(
    "alertmanager",
    AlertmanagerClusterArgs(
        namespace=namespaces.monitoring,
        alertmanager=settings.alertmanager,
        secrets=settings.alertmanager_secrets,
    ),
    everywhere,
)
if not settings.alertmanager.receivers:
    pulumi.log.warn("alertmanager.receivers: there are none, so alerts reach nobody")

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
            settings.istio.root_namespace: namespaces.istio,
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
        alertmanager_user=ALERTMANAGER_USER,
        alertmanager_auth=alertmanager.auth_secret,
    ),
    everywhere,
)

grafana = GrafanaServer(
    "grafana",
    GrafanaServerArgs(
        namespace=namespaces.monitoring,
        grafana=settings.grafana,
        prometheus_url=prometheus.url,
        prometheus_user=prometheus.user,
        prometheus_password=prometheus.password,
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
            program=program_files("vendor"),
            monitoring_namespace=MONITORING_NAMESPACE,
        ),
        everywhere,
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

pulumi.export("expected", expected.as_output())
pulumi.export("prometheusUrl", prometheus.url)
pulumi.export("prometheusPassword", prometheus.password)
pulumi.export("alertmanagerUrl", alertmanager.url)
pulumi.export("alertmanagerPassword", alertmanager.password)
pulumi.export("grafanaUrl", grafana.url)
pulumi.export("grafanaAdminPassword", grafana.admin_password)
# For an Istio that was installed before: what its owner merges into its values.
pulumi.export(
    "requiredIstioValues",
    required_values(settings.telemetry.buckets, last_scrape_seconds(settings)),
)
