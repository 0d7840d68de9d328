"""What is rendered from a stack's settings: pure text and numbers, without Pulumi.

`stack_plan` also refuses a stack that could not be deployed. __main__.py lists the resources that
carry the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.alertmanager.config import ALERTMANAGER_USER, alertmanager_config
from components.attribution.bootstrap import proxy_config, sidecar_annotations
from components.attribution.guard import envoy_here, refuse_undeployable
from components.attribution.names import service_entries
from components.attribution.render import envoy_filters, sidecar_spec
from components.backup.plan import BackupPlan, backup_plan
from components.certificates.plan import certificates
from components.file_text import yaml_text
from components.grafana.own_boards import all_boards
from components.ledger.plan import LedgerPlan, ledger_plan
from components.load_generator.plan import GeneratorPlan, generator_plan
from components.mesh.values import Chart, charts_of, last_scrape_seconds, optional_values
from components.money_exporter.plan import ExporterPlan, exporter_plan
from components.namespaces.admission import NamespacePlan, namespaces_of
from components.network.crawlers import limits_egress
from components.network.policies import PolicyPlan, policies_of
from components.prometheus.capacity import refuse_too_small
from components.prometheus.config import (
    ALERTMANAGER_APP,
    LEDGER_APP,
    BasicAuth,
    alerting_config,
    operator_jobs,
)
from components.prometheus.estimate import estimate
from components.prometheus.operator_objects import (
    OperatorObject,
    monitors,
    prometheus_rules,
    required_prometheus_values,
)
from components.prometheus.own_rules import own_rule_files, promtool_here
from components.prometheus.rules import operator_rules
from components.prometheus.servers import Server, claims_of, servers_of
from components.repository_files import ROOT
from components.simulated_vendors.plan import SimulationPlan, simulation_plan, simulators
from settings.prometheus import OperatorPrometheusSettings, OwnPrometheus
from settings.stack import StackSettings
from settings.values.quantities import format_duration
from settings.warnings import vendor_warnings

Json = dict[str, Any]

ALERTMANAGER_LOGIN = BasicAuth(
    username=ALERTMANAGER_USER, password_file="/etc/prometheus/secrets/alertmanager-login/password"
)
"""For a Prometheus outside the cluster, from its chart's folder for Secrets.

The operator reads the Secret itself.
"""


ALERTMANAGER_TLS = "/etc/prometheus/secrets/alertmanager-tls"
"""The Secret with the CA there."""


@dataclass(frozen=True, kw_only=True)
class CrawlerSide:
    """What a cluster with crawlers gets beside monitoring."""

    filters: dict[str, Json]
    """Specs of the EnvoyFilters, by name."""
    sidecar: Json | None
    """Spec of the Sidecar; None where it is others' to make."""
    service_entries: dict[str, Json]
    """Specs of the ServiceEntries, one for each name in `hosts`, by name."""
    sidecar_annotations: dict[str, str]
    """What crawlers' sidecars read as they start."""
    proxy_config: Json
    """Spec of the ProxyConfig that gives them these, and has them answer DNS if need be."""
    charts: tuple[Chart, ...]
    """Istio's; none where another team runs Istio."""
    optional_istio_values: Json
    """What that team may merge into Istio's values."""
    simulated_vendors: SimulationPlan | None
    """None where every vendor is real."""
    load_generator: GeneratorPlan | None
    """None where there is no synthetic traffic."""
    expected: dict[str, int]
    """Series and samples that Prometheus will store."""


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """Everything that is rendered from one stack's settings."""

    namespaces: tuple[NamespacePlan, ...]
    network_policies: tuple[PolicyPlan, ...]
    certificates: dict[str, Json]
    """Spec of each Certificate that cert-manager is asked for, by its name."""
    alertmanager_config: str
    """Text of alertmanager.yml."""
    operator_namespace: str | None
    """Namespace of the operator's Prometheus; None where this program runs Prometheus."""
    operator_objects: tuple[OperatorObject, ...]
    """Empty where this program runs Prometheus."""
    required_prometheus_values: Json
    """What the owner of kube-prometheus-stack merges into its values, for the operator."""
    servers: tuple[Server, ...]
    """Empty where the operator runs Prometheus."""
    backup: BackupPlan | None
    """None where nothing is backed up."""
    ledger: LedgerPlan | None
    """None where this program keeps no hours."""
    money: ExporterPlan | None
    """None where no hours are kept."""
    volumes: tuple[str, ...]
    """Claims that Kubernetes makes in `monitoring`, and that outlive what they were made for."""
    boards: dict[str, dict[str, str]]
    """All boards, the stack's own too: JSON by file name, by folder of Grafana."""
    crawlers: CrawlerSide | None
    """None for a `global` stack."""
    warnings: tuple[str, ...]


def stack_plan(settings: StackSettings) -> StackPlan:
    """Render a stack.

    Raises:
        SettingsError: the stack would fail in the cluster: too many series, a Prometheus too small
            for them, an object that etcd refuses, a rule file that Prometheus refuses, a board that
            Grafana refuses, a plan that the crawler refuses.
    """
    prometheus, own_rules = settings.prometheus, own_rule_files(settings, ROOT)
    servers: tuple[Server, ...] = ()
    operator_objects: tuple[OperatorObject, ...] = ()
    operator_namespace = None
    backup = None
    if isinstance(prometheus, OperatorPrometheusSettings):
        operator_namespace = prometheus.namespace
        operator_objects = (
            *monitors(operator_jobs(settings, ALERTMANAGER_LOGIN)),
            *prometheus_rules(operator_rules(settings, own_rules), prometheus.scrape_interval),
        )
    else:
        servers = servers_of(settings, prometheus, own_rules)
        backup = backup_plan(prometheus, servers, with_tls=settings.monitoring.tls is not None)
        if settings.has_crawlers:
            refuse_too_small(prometheus, estimate(settings))
    return StackPlan(
        namespaces=namespaces_of(settings),
        network_policies=policies_of(settings),
        certificates=certificates(settings),
        alertmanager_config=yaml_text(alertmanager_config(settings.alertmanager)),
        operator_namespace=operator_namespace,
        operator_objects=operator_objects,
        required_prometheus_values=required_prometheus_values(
            settings.cluster, runs_alertmanager=settings.runs_alertmanager
        ),
        servers=servers,
        backup=backup,
        ledger=ledger_plan(settings),
        money=exporter_plan(settings),
        volumes=_volumes(settings, servers),
        boards=all_boards(settings, ROOT),
        crawlers=_crawler_side(settings) if settings.has_crawlers else None,
        warnings=_warnings(settings),
    )


def files_outside(settings: StackSettings) -> dict[str, str]:
    """Return the files for a Prometheus outside the cluster by path, for `make render`.

    The program deploys none of them. There are none for a `global` stack, which has no sidecars to
    scrape. The scrape jobs are for `scrape_config_files`, which Prometheus has since 2.43.
    """
    if not settings.has_crawlers:
        return {}
    tls_folder = ALERTMANAGER_TLS if settings.monitoring.tls else None
    alerting = {"alerting": alerting_config(ALERTMANAGER_LOGIN, tls_folder=tls_folder)}
    prometheus = {
        "global": {
            # Prometheus would evaluate rules once a minute, and vendors' alerts would be late.
            "evaluation_interval": format_duration(settings.prometheus.scrape_interval),
            # Boards and messages name the cluster by this label. With two replicas, give each a
            # label prometheus_replica as well: the relabelling below takes it off alerts.
            "external_labels": {"cluster": settings.cluster},
        },
        "scrape_config_files": ["scrape_configs.yml"],
        "rule_files": ["rules/*.yml"],
        **(alerting if settings.runs_alertmanager else {}),
    }
    jobs = operator_jobs(settings, ALERTMANAGER_LOGIN, tls_folder)
    rules = operator_rules(settings, own_rule_files(settings, ROOT))
    return {
        "prometheus.yml": yaml_text(prometheus),
        "scrape_configs.yml": yaml_text({"scrape_configs": [*jobs]}),
        **{f"rules/{name}": text for name, text in rules.items()},
    }


def filters_of(settings: StackSettings) -> dict[str, Json]:
    """Return the specs of a stack's EnvoyFilters by name; a `global` one has none."""
    if not settings.has_crawlers:
        return {}
    return envoy_filters(
        settings.vendors,
        targets=settings.targets,
        destinations=settings.destinations,
        timeout_after_seconds=settings.telemetry.timeout_after,
        selector=settings.crawlers.selector,
        simulators=simulators(settings),
        access_logs=settings.telemetry.access_logs,
        log_outside=settings.telemetry.log_outside,
        mode=settings.crawlers.mode,
    )


def annotations_of(settings: StackSettings) -> dict[str, str]:
    """Return what crawlers' sidecars read as they start, as annotations."""
    return sidecar_annotations(settings.telemetry.buckets, settings.telemetry.also_export)


def _crawler_side(settings: StackSettings) -> CrawlerSide:
    estimate(settings)  # refuses a stack above its budget
    # Once for all namespaces: thousands of ranges take a second.
    filters = filters_of(settings)
    vendors, destinations = settings.vendors, settings.destinations
    refuse_undeployable(
        vendors,
        filters,
        envoy_here(),
        entries=service_entries(vendors, destinations, with_retired=True),
        istio_versions=settings.istio.versions_by_key,
        scripts_run=settings.crawlers.mode == "full",
    )
    istio, annotations = settings.istio, annotations_of(settings)
    return CrawlerSide(
        filters=filters,
        sidecar=sidecar_spec(
            settings.crawlers.egress_hosts,
            settings.crawlers.selector,
            registry_only=limits_egress(settings),
        )
        if settings.makes_sidecar
        else None,
        service_entries=service_entries(vendors, destinations),
        sidecar_annotations=annotations,
        proxy_config=proxy_config(
            annotations,
            settings.crawlers.selector,
            captures_dns=settings.captures_dns,
        ),
        charts=charts_of(settings) if istio.install else (),
        optional_istio_values=optional_values(last_scrape_seconds(settings)),
        simulated_vendors=(
            simulation_plan(settings) if settings.simulated_vendors.enabled else None
        ),
        load_generator=generator_plan(settings) if settings.load_generator.enabled else None,
        expected=estimate(settings, settings.crawlers.mode).as_output(),
    )


def _volumes(settings: StackSettings, servers: tuple[Server, ...]) -> tuple[str, ...]:
    prometheus = settings.prometheus
    replicas = {}
    if isinstance(prometheus, OwnPrometheus):
        replicas = {server.name: prometheus.replicas for server in servers}
    if settings.runs_ledger:
        replicas[LEDGER_APP] = 1
    if settings.runs_alertmanager:
        replicas[ALERTMANAGER_APP] = settings.alertmanager.replicas
    return tuple(claim for name, number in replicas.items() for claim in claims_of(name, number))


def _warnings(settings: StackSettings) -> tuple[str, ...]:
    warnings = []
    if settings.runs_alertmanager and not settings.alertmanager.receivers:
        warnings.append("alertmanager.receivers: there are none, so no alert reaches anybody")
    if settings.alerts.rule_files and promtool_here() is None:
        warnings.append("alerts.ruleFiles: their PromQL was not checked; install promtool")
    warnings += vendor_warnings(settings)
    return tuple(warnings)
