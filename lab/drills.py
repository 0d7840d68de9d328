"""Every drill: what is broken, and which alert must come. `make drill` prints this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab import faults
from lab.faults import Fault
from lab.receiver import HEARTBEAT_LOST

ALL = "all"
SECONDS = 60.0
"""Within which an alert must come, and be over: a shortened hour."""

_SLOW_BURN = {
    "ProxyVendorBudgetBurnsSlowly": "its six hours are the minutes that the lab has run",
}
_BURN = {
    "ProxyVendorBudgetBurnsFast": "its hour is the minute that the lab has run",
    **_SLOW_BURN,
}


@dataclass(frozen=True, kw_only=True)
class Drill:
    """A fault and what follows from it. Nothing else may arrive."""

    name: str
    does: str
    fault: Fault
    alert: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the alert has among its labels; other labels make it another alert."""
    companions: Mapping[str, str] = field(default_factory=dict)
    """Alerts that may come too, each with the reason."""
    undelivered: str = ""
    """An alert that must fire in Prometheus and can reach nobody."""
    is_kill: bool = False
    """A part of the pipeline itself is killed."""
    past_seconds: float = 5.0
    """How long the lab must have run since it was first in good order."""
    seconds: float = SECONDS


def _vendor(name: str) -> dict[str, str]:
    return {"proxy_vendor": name}


DRILLS: tuple[Drill, ...] = (
    Drill(
        name="vendor-b-bans",
        does="vendor-b's exits are banned: 30 % of answers are 403",
        fault=faults.vendor_does("vendor-b", faults={"blocked": 0.3}),
        alert="ProxyVendorBanned",
        labels=_vendor("vendor-b"),
        companions=_BURN,
        past_seconds=30.0,
    ),
    Drill(
        name="vendor-c-password",
        does="a part of the crawlers has vendor-c's old password: 12 % are 407 with credentials",
        fault=faults.vendor_does("vendor-c", faults={"auth-failed": 0.12}),
        alert="ProxyVendorAuthFailures",
        labels=_vendor("vendor-c"),
        companions=_SLOW_BURN,
    ),
    Drill(
        name="vendor-b-quota",
        does="vendor-b's quota is used up for 10 %, which it says as 407 with a reason of its own",
        fault=faults.vendor_does("vendor-b", faults={"quota-dialect": 0.1}),
        alert="ProxyVendorQuotaExhausted",
        labels=_vendor("vendor-b"),
        companions=_SLOW_BURN,
    ),
    Drill(
        name="vendor-a-limit",
        does="vendor-a takes 22 requests a second of some 30: the others are 429",
        fault=faults.vendor_does("vendor-a", limits={"requests_per_second": 22}),
        alert="ProxyVendorRateLimited",
        labels=_vendor("vendor-a"),
        companions=_BURN,
    ),
    Drill(
        name="vendor-d-outage",
        does="80 % of vendor-d's answers are its own 502",
        fault=faults.vendor_does("vendor-d", faults={"vendor-error": 0.8}),
        alert="ProxyVendorFailing",
        labels=_vendor("vendor-d"),
        companions=_BURN,
    ),
    Drill(
        name="vendor-e-burns",
        does="35 % of vendor-e's answers are its own 522",
        fault=faults.vendor_does("vendor-e", faults={"vendor-error-522": 0.35}),
        alert="ProxyVendorBudgetBurnsFast",
        labels=_vendor("vendor-e"),
        companions=_SLOW_BURN,
    ),
    Drill(
        name="vendor-h-slow",
        does="vendor-h takes 0.7 s to answer (a crawler here gives up after 1.5 s)",
        fault=faults.vendor_does("vendor-h", latency_seconds=0.7),
        alert="ProxyVendorSlow",
        labels=_vendor("vendor-h"),
    ),
    Drill(
        name="vendor-c-refuses",
        does="a third of what is sent to vendor-c meets an address where nobody listens",
        fault=faults.crawler_does(faults.to_dead_addresses("vendor-c", 0.3)),
        alert="ProxyVendorConnectFailures",
        labels=_vendor("vendor-c"),
        companions=_BURN,
    ),
    Drill(
        name="vendor-f-left",
        does="crawlers leave vendor-f from one second to the next",
        fault=faults.crawler_does(faults.without("vendor-f")),
        alert="ProxyVendorSilent",
        labels=_vendor("vendor-f"),
        past_seconds=130.0,
    ),
    Drill(
        name="crawlers-outside",
        does="27 % of what crawlers do goes to an address of no vendor",
        fault=faults.crawler_does(faults.outside(0.27)),
        alert="ProxyTrafficOutside",
    ),
    Drill(
        name="chains-gone",
        does="Envoy comes up without the vendors' chains: traffic goes on, nameless",
        fault=faults.chains_are_gone,
        alert="ProxyAttributionLost",
        past_seconds=60.0,
        companions={
            "ProxyTrafficOutside": "its wait is longer than the other's, whose end it may outlive",
        },
    ),
    Drill(
        name="lua-raises",
        does="the attribution's script raises on every request",
        fault=faults.lua_raises,
        alert="ProxyLuaErrors",
    ),
    Drill(
        name="round-the-mesh",
        does="30 % of the load generator's requests go past its sidecar",
        fault=faults.round_envoy(0.3),
        alert="ProxyCountsDisagree",
    ),
    Drill(
        name="vendor-d-limits",
        does="thresholds.yml has no limits of vendor-d any more",
        fault=faults.without_limits_of("vendor-d"),
        alert="ProxyVendorWithoutLimits",
        labels=_vendor("vendor-d"),
    ),
    Drill(
        name="series-explode",
        does="a sidecar has 3,000 series where 1,000 are the budget",
        fault=faults.page_says("second sidecar", faults.swollen(3_000)),
        alert="SidecarSeriesOverBudget",
    ),
    Drill(
        name="samples-flood",
        does="a sidecar has 15,000 series, scraped every second",
        fault=faults.page_says("second sidecar", faults.swollen(15_000)),
        alert="HighMetricIngestionRate",
        companions={"SidecarSeriesOverBudget": "the same sidecar is over its budget too"},
    ),
    Drill(
        name="sidecar-away",
        does="one of two sidecars does not answer Prometheus",
        fault=faults.page_is_away("second sidecar"),
        alert="TargetsMissing",
        labels={"job": "sidecars"},
    ),
    Drill(
        name="rule-file-broken",
        does="a rule file of the user's own does not parse",
        fault=faults.rule_file("groups: [{name: own, rules: [{alert: Mine, expr: 'up ='}]}]\n"),
        alert="ConfigurationReloadFailed",
    ),
    Drill(
        name="rule-fails",
        does="a rule of the user's own cannot be evaluated: two series match where one may",
        fault=faults.rule_file(
            "groups: [{name: own, rules: [{record: 'job:up:bad', expr: 'up * on () up'}]}]\n"
        ),
        alert="PrometheusRulesFailing",
    ),
    Drill(
        name="replica-tells-nobody",
        does="prometheus-1 looks for Alertmanager where nobody listens",
        fault=faults.replica_tells_nobody("prometheus-1"),
        alert="PrometheusNotificationsFailing",
    ),
    Drill(
        name="heartbeat-refused",
        does="the heartbeat's receiver answers 403: its credential has expired",
        fault=faults.receiver_refuses("heartbeat"),
        alert="AlertmanagerNotificationsFailing",
        companions={HEARTBEAT_LOST: "what is refused does not arrive"},
    ),
    Drill(
        name="grafana-away",
        does="Grafana does not answer",
        fault=faults.page_is_away("grafana"),
        alert="GrafanaDown",
    ),
    Drill(
        name="datasource-fails",
        does="half of Grafana's queries get 502",
        fault=faults.page_says("grafana", faults.failing_datasource),
        alert="GrafanaDatasourceFailing",
    ),
    Drill(
        name="istiod-rejected",
        does="sidecars refuse three listeners that istiod sends",
        fault=faults.page_says("istiod", faults.rejecting_istiod),
        alert="IstiodConfigRejected",
    ),
    Drill(
        name="kill-istiod",
        does="istiod does not answer",
        fault=faults.page_is_away("istiod"),
        alert="IstiodDown",
        is_kill=True,
    ),
    Drill(
        name="kill-sidecar",
        does="the sidecar that carries everything is killed",
        fault=faults.killed("envoy"),
        alert="TargetsMissing",
        labels={"job": "sidecars"},
        is_kill=True,
    ),
    Drill(
        name="kill-prometheus-a",
        does="the first Prometheus is killed",
        fault=faults.killed("prometheus-0"),
        alert="PrometheusDown",
        is_kill=True,
    ),
    Drill(
        name="kill-prometheus-b",
        does="the second Prometheus is killed",
        fault=faults.killed("prometheus-1"),
        alert="PrometheusDown",
        is_kill=True,
    ),
    Drill(
        name="kill-both-prometheus",
        does="both Prometheus are killed: nobody is left inside to notice",
        fault=faults.killed("prometheus-0", "prometheus-1"),
        alert=HEARTBEAT_LOST,
        is_kill=True,
    ),
    Drill(
        name="kill-alertmanager",
        does="the only Alertmanager is killed: Prometheus notices, and can tell nobody",
        fault=faults.killed("alertmanager"),
        alert=HEARTBEAT_LOST,
        undelivered="AlertmanagerDown",
        companions={"AlertmanagerDown": "told once there is an Alertmanager again"},
        is_kill=True,
    ),
    # Last: it takes three minutes in a lab whose past is calm.
    Drill(
        name="vendor-g-wears",
        does="14 % of vendor-g's answers are its own 502, for hours",
        fault=faults.vendor_does("vendor-g", faults={"vendor-error": 0.14}),
        alert="ProxyVendorBudgetBurnsSlowly",
        labels=_vendor("vendor-g"),
        seconds=300.0,
    ),
)


def named(names: str) -> tuple[Drill, ...]:
    """Return the drills of those names, separated by commas; every drill for "all".

    Raises:
        ValueError: one is unknown; the text lists them.
    """
    if names == ALL:
        return DRILLS
    known = {drill.name: drill for drill in DRILLS}
    for name in names.split(","):
        if name not in known:
            raise ValueError(f"NAME: {name!r} is no drill; use {ALL}, or some of {','.join(known)}")
    return tuple(known[name] for name in names.split(","))


def listing() -> str:
    """Return the table of drills: name, alert, what is done."""
    width = max(len(drill.name) for drill in DRILLS) + 2
    alert = max(len(drill.alert) for drill in DRILLS) + 2
    lines = [f"{drill.name:<{width}}{drill.alert:<{alert}}{drill.does}" for drill in DRILLS]
    return "\n".join([f"{'NAME':<{width}}{'alert':<{alert}}what is done", *lines])
