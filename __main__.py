"""The Pulumi program: what exists in one cluster.

deployment.py renders the stack's settings; each component gets its part of the result.
"""

from __future__ import annotations

import pulumi
from pulumi.runtime import get_config_env, get_config_secret_keys_env
from pulumi_kubernetes import Provider

from components.alertmanager.component import AlertmanagerCluster
from components.attribution.component import VendorAttribution
from components.grafana.component import GrafanaServer
from components.load_generator.component import LoadGenerator
from components.mesh.component import IstioInstall
from components.namespaces.component import Namespaces
from components.prometheus.operator import OperatedPrometheus
from components.prometheus.operator_objects import OperatorPlan
from components.prometheus.server import PrometheusServer
from components.simulated_vendors.component import SimulatedVendors
from deployment import deployment_of
from settings.loading import SettingsError, settings_of_config

try:
    # The whole map: pulumi.Config cannot list its keys, so a misspelt one would go unseen.
    settings = settings_of_config(get_config_env(), get_config_secret_keys_env())
    deployment = deployment_of(settings)
except SettingsError as error:
    # Pulumi prints the findings alone; any other exception comes with a traceback.
    raise pulumi.RunError(str(error)) from None
for warning in deployment.warnings:
    pulumi.log.warn(warning)

kubernetes = pulumi.Config("kubernetes")
provider = Provider(
    "cluster",
    kubeconfig=kubernetes.get_secret("kubeconfig"),
    context=kubernetes.get("context"),
    # Prometheus reloads its files in place; ConfigMaps marked immutable are still replaced.
    enable_config_map_mutable=True,
)
here = pulumi.ResourceOptions(providers={"kubernetes": provider})


def after(*resources: pulumi.Resource | None) -> pulumi.ResourceOptions:
    """Return `here` with dependencies; None is a component that the stack does not have."""
    existing = [resource for resource in resources if resource is not None]
    return pulumi.ResourceOptions.merge(here, pulumi.ResourceOptions(depends_on=existing))


namespaces = Namespaces("namespaces", deployment.namespaces, here)
monitoring = namespaces.name_for("monitoring")

alertmanager = None
if settings.runs_alertmanager:
    alertmanager = AlertmanagerCluster(
        "alertmanager",
        settings.alertmanager,
        here,
        namespace=monitoring,
        credentials=pulumi.Config().get_secret_object("alertmanagerSecrets", {}),
        with_login_secret=not settings.runs_prometheus,
    )
prometheus: PrometheusServer | OperatedPrometheus
if isinstance(deployment.prometheus, OperatorPlan):
    prometheus = OperatedPrometheus("prometheus", deployment.prometheus, here, namespace=monitoring)
else:
    assert alertmanager  # this program's Prometheus has one
    prometheus = PrometheusServer(
        "prometheus",
        deployment.prometheus,
        here,
        namespace=monitoring,
        watched=namespaces.names,
        alertmanager_auth=alertmanager.auth_secret,
    )
grafana = GrafanaServer(
    "grafana",
    settings,
    here,
    namespace=monitoring,
    prometheus_url=prometheus.url,
    prometheus_login=prometheus.login_secret,
)
servers = [server for server in (alertmanager, prometheus, grafana) if server]
for server in servers:
    for output, value in server.exports.items():
        pulumi.export(output, value)

if crawlers := deployment.crawlers:
    mesh = None
    if crawlers.charts:
        istio = namespaces.name_for("istio")
        mesh = IstioInstall("mesh", crawlers.charts, here, namespace=istio)
    attribution = VendorAttribution(
        "attribution",
        after(mesh),  # istiod validates EnvoyFilters
        namespaces=namespaces.names_for("crawlers"),
        filters=crawlers.filters,
        sidecar=crawlers.sidecar,
    )
    simulated_vendors = None
    if settings.simulated_vendors.enabled:
        simulated_vendors = SimulatedVendors(
            "simulated-vendors",
            settings,
            # Kubernetes gives a Service any free address: theirs come before the vendors' ranges.
            after(*servers),
            namespace=namespaces.name_for("simulated vendors"),
        )
    if crawlers.crawler_plan:
        LoadGenerator(
            "load-generator",
            settings,
            after(mesh, attribution, simulated_vendors),
            plan=crawlers.crawler_plan,
            namespace=next(iter(namespaces.names_for("crawlers").values())),
            simulated_logins=simulated_vendors.logins if simulated_vendors else {},
        )
    pulumi.export("expected", crawlers.expected)
    pulumi.export("requiredIstioValues", crawlers.required_istio_values)
