"""The Pulumi program: what exists in one cluster. deployment.py renders what components carry."""

from __future__ import annotations

import pulumi

from components.access.component import TeamAccess, TeamAccessArgs
from components.alertmanager.component import AlertmanagerCluster, AlertmanagerClusterArgs
from components.attribution.component import VendorAttribution, VendorAttributionArgs
from components.backup.component import PrometheusBackup, PrometheusBackupArgs
from components.certificates.component import ServerCertificates, ServerCertificatesArgs
from components.cluster import after, cluster_provider, read_stack
from components.grafana.boards import GrafanaBoards, GrafanaBoardsArgs
from components.grafana.component import GrafanaServer, GrafanaServerArgs, LedgerSource
from components.ledger.component import Ledger, LedgerArgs
from components.ledger.plan import SCRAPE_SECONDS
from components.load_generator.component import LoadGenerator, LoadGeneratorArgs
from components.mesh.component import IstioInstall, IstioInstallArgs
from components.money_exporter.component import ExporterOfMoney, ExporterOfMoneyArgs
from components.namespaces.component import Namespaces, NamespacesArgs
from components.network.component import NetworkPolicies, NetworkPoliciesArgs
from components.placement import placement
from components.prometheus.operator import OperatedPrometheus, OperatedPrometheusArgs
from components.prometheus.server import PrometheusServer, PrometheusServerArgs
from components.simulated_vendors.component import SimulatedVendors, SimulatedVendorsArgs
from settings.prometheus import OperatorPrometheusSettings

settings, plan = read_stack()
provider = cluster_provider(pulumi.Config("kubernetes"))
here = pulumi.ResourceOptions(
    providers={"kubernetes": provider},
    transformations=[
        placement(settings.scheduling, settings.images, on_openshift=settings.istio.on_openshift)
    ],
)
namespaces = Namespaces("namespaces", NamespacesArgs(plans=plan.namespaces), here)
monitoring = namespaces.name_for("monitoring")
access_args = TeamAccessArgs(namespace=monitoring, settings=settings.monitoring.access)
TeamAccess("access", access_args, here)
policies = NetworkPoliciesArgs(namespaces=namespaces.names, plans=plan.network_policies)
NetworkPolicies("network", policies, here)

certificates, with_tls = None, bool(plan.certificates)
if with_tls:
    certificate_args = ServerCertificatesArgs(namespace=monitoring, specs=plan.certificates)
    certificates = ServerCertificates("certificates", certificate_args, here)
certified = after(here, certificates)

alert_args = AlertmanagerClusterArgs(
    namespace=monitoring,
    settings=settings.alertmanager,
    config=plan.alertmanager_config,
    credentials=pulumi.Config().get_secret_object("alertmanagerSecrets", {}),
    operator_namespace=plan.operator_namespace,
    with_tls=with_tls,
)
alertmanager = None
if settings.runs_alertmanager:
    alertmanager = AlertmanagerCluster("alertmanager", alert_args, certified)
prometheus: PrometheusServer | OperatedPrometheus
hours = None
if store := settings.ledger.url:
    secret = settings.ledger.login_secret
    hours = LedgerSource(url=store, login=secret, is_own=False, interval=SCRAPE_SECONDS)
if isinstance(settings.prometheus, OperatorPrometheusSettings):
    operator_args = OperatedPrometheusArgs(
        namespace=monitoring, settings=settings.prometheus, objects=plan.operator_objects
    )
    prometheus = OperatedPrometheus("prometheus", operator_args, here)
    pulumi.export("requiredPrometheusValues", plan.required_prometheus_values)
else:
    assert alertmanager  # it runs beside every Prometheus of this program
    stacks = {
        source.cluster: pulumi.StackReference(f"federation-{source.cluster}", source.stack)
        for source in settings.prometheus.federate_from
    }
    server_args = PrometheusServerArgs(
        namespace=monitoring,
        settings=settings.prometheus,
        servers=plan.servers,
        watched=namespaces.names,
        alertmanager_auth=alertmanager.auth_secret,
        federation_passwords={
            cluster: stack.require_output("prometheusPassword") for cluster, stack in stacks.items()
        },
        store_login=settings.ledger.login_secret if settings.ledger.write_url else None,
        with_tls=with_tls,
    )
    prometheus = PrometheusServer("prometheus", server_args, certified)
    pulumi.export("prometheusPassword", prometheus.password)
    if plan.backup:
        backup_args = PrometheusBackupArgs(
            namespace=monitoring, plan=plan.backup, login=prometheus.login_secret
        )
        PrometheusBackup("backup", backup_args, here)
    if plan.ledger:
        ledger_args = LedgerArgs(
            namespace=monitoring,
            plan=plan.ledger,
            login=prometheus.login_secret,
            with_tls=with_tls,
        )
        ledger = Ledger("ledger", ledger_args, certified)
        hours = LedgerSource(
            url=ledger.url, login=prometheus.login_secret, is_own=True, interval=SCRAPE_SECONDS
        )
if plan.money and hours:
    money_args = ExporterOfMoneyArgs(
        namespace=monitoring,
        plan=plan.money,
        ledger_url=hours.url,
        ledger_login=hours.login,
        with_tls=with_tls and hours.is_own,
    )
    ExporterOfMoney("money", money_args, certified)
if settings.runs_grafana:
    grafana_args = GrafanaServerArgs(
        namespace=monitoring,
        settings=settings.grafana,
        boards=plan.boards,
        scrape_interval=settings.prometheus.scrape_interval,
        prometheus_url=prometheus.url,
        prometheus_login=prometheus.login_secret,
        ledger=hours,
        with_tls=with_tls,
    )
    grafana = GrafanaServer("grafana", grafana_args, certified)
    pulumi.export("grafanaUrl", grafana.url)
    pulumi.export("grafanaAdminPassword", grafana.admin_password)
else:
    GrafanaBoards("boards", GrafanaBoardsArgs(namespace=monitoring, boards=plan.boards), here)
if alertmanager:
    pulumi.export("alertmanagerUrl", alertmanager.url)
    pulumi.export("alertmanagerPassword", alertmanager.password)
pulumi.export("prometheusUrl", prometheus.url)
# A preview names those that would stay behind, as after a change of mode.
pulumi.export("volumes", plan.volumes)
if hours:
    pulumi.export("ledgerUrl", hours.url)

if crawlers := plan.crawlers:
    mesh = None
    if crawlers.charts:
        mesh_args = IstioInstallArgs(namespace=namespaces.name_for("istio"), charts=crawlers.charts)
        mesh = IstioInstall("mesh", mesh_args, here)
    attribution_args = VendorAttributionArgs(
        namespaces=namespaces.crawlers,
        filters=crawlers.filters,
        sidecar=crawlers.sidecar,
        service_entries=crawlers.service_entries,
        proxy_config=crawlers.proxy_config,
    )
    simulated_vendors = None
    if crawlers.simulated_vendors:
        vendor_args = SimulatedVendorsArgs(
            namespace=namespaces.name_for("simulated vendors"),
            settings=settings.simulated_vendors,
            plan=crawlers.simulated_vendors,
        )
        simulated_vendors = SimulatedVendors("simulated-vendors", vendor_args, here)
    after_them = after(here, mesh, simulated_vendors)
    attribution = VendorAttribution("attribution", attribution_args, after_them)
    if crawlers.load_generator:
        traffic = LoadGeneratorArgs(
            namespace=namespaces.names[settings.crawlers.namespaces[0]],
            settings=settings.load_generator,
            plan=crawlers.load_generator,
            simulated_logins=simulated_vendors.logins if simulated_vendors else {},
            sidecar_annotations=crawlers.sidecar_annotations,
        )
        LoadGenerator("load-generator", traffic, after(here, mesh, attribution, simulated_vendors))
    pulumi.export("expected", crawlers.expected)
    pulumi.export("optionalIstioValues", crawlers.optional_istio_values)
