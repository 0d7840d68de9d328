"""The Pulumi program: what exists in one cluster.

deployment.py renders the stack's settings; each component gets its part of the result.
"""

from __future__ import annotations

import pulumi
from pulumi.runtime import get_config_env, get_config_secret_keys_env

from components.alertmanager.component import AlertmanagerCluster, AlertmanagerClusterArgs
from components.attribution.component import VendorAttribution, VendorAttributionArgs
from components.cluster import after, in_cluster
from components.grafana.component import GrafanaServer, GrafanaServerArgs
from components.load_generator.component import LoadGenerator, LoadGeneratorArgs
from components.mesh.component import IstioInstall, IstioInstallArgs
from components.namespaces.component import Namespaces, NamespacesArgs
from components.prometheus.component import prometheus_of
from components.prometheus.interface import PrometheusArgs
from components.simulated_vendors.component import SimulatedVendors, SimulatedVendorsArgs
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

here = in_cluster(pulumi.Config("kubernetes"))
namespaces = Namespaces("namespaces", NamespacesArgs(plans=deployment.namespaces), here)
monitoring = namespaces.name_for("monitoring")

alertmanager = deployment.alertmanager and AlertmanagerCluster(
    "alertmanager",
    AlertmanagerClusterArgs(
        namespace=monitoring,
        plan=deployment.alertmanager,
        credentials=pulumi.Config().get_secret_object("alertmanagerSecrets", {}),
    ),
    here,
)
prometheus = prometheus_of(
    "prometheus",
    PrometheusArgs(
        namespace=monitoring,
        plan=deployment.prometheus,
        watched=namespaces.names,
        alertmanager_auth=alertmanager.auth_secret if alertmanager else None,
    ),
    here,
)
grafana = GrafanaServer(
    "grafana",
    GrafanaServerArgs(namespace=monitoring, plan=deployment.grafana, prometheus=prometheus),
    here,
)
servers = [server for server in (alertmanager, prometheus, grafana) if server]
for server in servers:
    for output, value in server.exports.items():
        pulumi.export(output, value)

if crawlers := deployment.crawlers:
    mesh = crawlers.mesh and IstioInstall(
        "mesh",
        IstioInstallArgs(namespace=namespaces.name_for("istio"), plan=crawlers.mesh),
        here,
    )
    attribution = VendorAttribution(
        "attribution",
        VendorAttributionArgs(
            namespaces=namespaces.names_for("crawlers"), plan=crawlers.attribution
        ),
        after(here, mesh),  # istiod validates EnvoyFilters
    )
    simulated_vendors = crawlers.simulation and SimulatedVendors(
        "simulated-vendors",
        SimulatedVendorsArgs(
            namespace=namespaces.name_for("simulated vendors"), plan=crawlers.simulation
        ),
        # Kubernetes gives a Service any free address: theirs come before the vendors' ranges.
        after(here, *servers),
    )
    if crawlers.load_generator:
        LoadGenerator(
            "load-generator",
            LoadGeneratorArgs(
                namespace=next(iter(namespaces.names_for("crawlers").values())),
                plan=crawlers.load_generator,
                simulated_logins=simulated_vendors.logins if simulated_vendors else {},
            ),
            after(here, mesh, attribution, simulated_vendors),
        )
    pulumi.export("expected", crawlers.expected)
    pulumi.export("requiredIstioValues", crawlers.required_istio_values)
