"""What is rendered from a stack's settings: pure text and numbers, without Pulumi.

`deployment_of` also refuses a stack that could not be deployed. __main__.py lists the resources
that carry the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.alertmanager.config import (
    ALERTMANAGER_USER,
    AlertmanagerPlan,
    alertmanager_config,
)
from components.attribution.guard import envoy_here, refuse_undeployable
from components.attribution.plan import AttributionPlan
from components.attribution.render import envoy_filters, sidecar_spec
from components.grafana.provisioning import GrafanaPlan
from components.load_generator.plan import GeneratorPlan, generator_plan
from components.mesh.values import MeshPlan, last_scrape_seconds, mesh_plan, required_values
from components.namespaces.admission import NamespacePlan, namespaces_of
from components.prometheus.config import BasicAuth, alerting_config, operator_jobs
from components.prometheus.estimate import estimate
from components.prometheus.operator_objects import (
    OperatorPlan,
    monitors,
    prometheus_rules,
    required_prometheus_values,
)
from components.prometheus.outside_files import LOGIN_FOLDER, outside_files
from components.prometheus.own_rules import own_rule_files, promtool_here
from components.prometheus.rules import Files, operator_rules
from components.prometheus.servers import ServerPlan, server_plan
from components.repository_files import ROOT
from components.simulated_vendors.plan import SimulationPlan, simulation_plan
from dashboards.boards import boards
from settings.prometheus import OperatorPrometheusSettings
from settings.stack import StackSettings

Json = dict[str, Any]

ALERTMANAGER_LOGIN = BasicAuth(username=ALERTMANAGER_USER, password_file=f"{LOGIN_FOLDER}/password")
"""For a Prometheus outside the cluster; the operator reads the Secret itself."""


@dataclass(frozen=True, kw_only=True)
class CrawlerSide:
    """What a cluster with crawlers gets beside monitoring."""

    attribution: AttributionPlan
    mesh: MeshPlan | None
    """None where another team runs Istio."""
    required_istio_values: Json
    """What that team merges into Istio's values."""
    simulation: SimulationPlan | None
    load_generator: GeneratorPlan | None
    expected: dict[str, int]
    """Series and samples that Prometheus will store."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Everything that is rendered from one stack's settings, a plan for each component.

    `crawlers` is None for a `global` stack, `alertmanager` where no Alertmanager runs. Prometheus
    is the program's own or the operator's.
    """

    namespaces: tuple[NamespacePlan, ...]
    crawlers: CrawlerSide | None
    prometheus: ServerPlan | OperatorPlan
    alertmanager: AlertmanagerPlan | None
    grafana: GrafanaPlan
    warnings: tuple[str, ...]


def deployment_of(settings: StackSettings) -> Deployment:
    """Render a stack.

    Raises:
        SettingsError: the stack would fail in the cluster: too many series, an object that etcd
            refuses, a rule file that Prometheus refuses, a plan that the crawler refuses.
    """
    own_rules = own_rule_files(settings, ROOT)
    return Deployment(
        namespaces=namespaces_of(settings),
        crawlers=_crawler_side(settings) if settings.has_crawlers else None,
        prometheus=(
            _operator_plan(settings, settings.prometheus, own_rules)
            if isinstance(settings.prometheus, OperatorPrometheusSettings)
            else server_plan(settings, settings.prometheus, own_rules)
        ),
        alertmanager=_alertmanager_plan(settings) if settings.runs_alertmanager else None,
        grafana=GrafanaPlan(
            grafana=settings.grafana,
            scrape_interval_seconds=settings.prometheus.scrape_interval,
            dashboards=boards(),
        ),
        warnings=_warnings(settings),
    )


def files_outside(settings: StackSettings) -> dict[str, str]:
    """Return the files for a Prometheus outside the cluster by path, for `make render`.

    Empty for a `global` stack, which has no sidecars to scrape.
    """
    if not settings.has_crawlers:
        return {}
    alerting = alerting_config(ALERTMANAGER_LOGIN)
    return outside_files(
        settings.cluster,
        operator_jobs(settings, ALERTMANAGER_LOGIN),
        alerting if settings.runs_alertmanager else None,
        operator_rules(settings, own_rule_files(settings, ROOT)),
    )


def _crawler_side(settings: StackSettings) -> CrawlerSide:
    expected = estimate(settings)
    # Once for all namespaces: thousands of ranges take a second.
    filters = envoy_filters(
        settings.vendors,
        targets=settings.targets,
        timeout_after_seconds=settings.telemetry.timeout_after,
        selector=settings.crawlers.selector,
    )
    refuse_undeployable(
        settings.vendors,
        filters,
        envoy_here(),
        istio_version=settings.istio.version if settings.istio.install else None,
    )
    buckets, last_scrape = settings.telemetry.buckets, last_scrape_seconds(settings)
    istio = settings.istio
    return CrawlerSide(
        attribution=AttributionPlan(
            filters=filters,
            sidecar=sidecar_spec(settings.crawlers.egress_hosts, settings.crawlers.selector),
        ),
        mesh=mesh_plan(istio, buckets, last_scrape) if istio.install else None,
        required_istio_values=required_values(buckets, last_scrape),
        simulation=simulation_plan(settings) if settings.simulated_vendors.enabled else None,
        load_generator=generator_plan(settings) if settings.load_generator.enabled else None,
        expected=expected.as_output(),
    )


def _alertmanager_plan(settings: StackSettings) -> AlertmanagerPlan:
    return AlertmanagerPlan(
        alertmanager=settings.alertmanager,
        config=alertmanager_config(settings.alertmanager),
        with_login_secret=not settings.runs_prometheus,
    )


def _operator_plan(
    settings: StackSettings, prometheus: OperatorPrometheusSettings, own_rules: Files
) -> OperatorPlan:
    rules = operator_rules(settings, own_rules)
    return OperatorPlan(
        objects=(
            *monitors(operator_jobs(settings, ALERTMANAGER_LOGIN)),
            *prometheus_rules(rules, prometheus.scrape_interval),
        ),
        operator_labels=prometheus.operator_labels,
        url=prometheus.url,
        login_secret=prometheus.login_secret,
        required_values=required_prometheus_values(
            settings.cluster, runs_alertmanager=settings.runs_alertmanager
        ),
    )


def _warnings(settings: StackSettings) -> tuple[str, ...]:
    warnings = []
    if settings.runs_alertmanager and not settings.alertmanager.receivers:
        warnings.append("alertmanager.receivers: there are none, so no alert reaches anybody")
    if settings.alerts.rule_files and promtool_here() is None:
        warnings.append("alerts.ruleFiles: their PromQL was not checked; install promtool")
    return tuple(warnings)
