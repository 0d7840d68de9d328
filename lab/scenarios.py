"""What `make drill` breaks, and which alert must come. `make drill` alone prints this table."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab import fault_injection as inject
from lab.fault_injection import Fault
from lab.receiver import HEARTBEAT_LOST
from settings.masking import quoted

ALL = "all"

_SLOW_BURN = {
    "ProxyVendorBudgetBurnsSlowly": "its six hours are the minutes that the lab has run",
}
_BURN = {
    "ProxyVendorBudgetBurnsFast": "its hour is the minute that the lab has run",
    **_SLOW_BURN,
}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A fault, the alert that must follow from it, and no other alert.

    Attributes:
        name: as in NAME=.
        description: what is broken.
        fault: breaks the lab.
        alert: what must arrive, and end once the fault is undone.
        labels: those that the alert must have; others of its name are other alerts.
        companions: alerts that may come too, each with the reason.
        undelivered: an alert that must fire in Prometheus although nobody can receive it.
        is_kill: a part of the monitoring itself is killed.
        calm_seconds: how long the lab must have run without alerts before.
        within_seconds: for the alert to arrive, and to end; an hour of a cluster is a minute here.
    """

    name: str
    description: str
    fault: Fault
    alert: str
    labels: Mapping[str, str] = field(default_factory=dict)
    companions: Mapping[str, str] = field(default_factory=dict)
    undelivered: str = ""
    is_kill: bool = False
    calm_seconds: float = 5.0
    within_seconds: float = 60.0


def _scenario(name: str, description: str, alert: str, fault: Fault, **more: Any) -> Scenario:
    return Scenario(name=name, description=description, alert=alert, fault=fault, **more)


def _vendor(
    vendor: str, what: str, description: str, alert: str, fault: Fault, **more: Any
) -> Scenario:
    """Return the scenario `vendor`-`what`, whose alert names that vendor."""
    labels = {"proxy_vendor": vendor}
    return _scenario(f"{vendor}-{what}", description, alert, fault, labels=labels, **more)


def _kill(name: str, description: str, alert: str, fault: Fault, **more: Any) -> Scenario:
    return _scenario(f"kill-{name}", description, alert, fault, is_kill=True, **more)


# fmt: off
SCENARIOS: tuple[Scenario, ...] = (
    _vendor("vendor-b", "bans", "vendor-b's exits are banned: 30 % of answers are 403",
            "ProxyVendorBanned",
            inject.vendor_behaviour("vendor-b", faults={"blocked": 0.3}),
            companions=_BURN, calm_seconds=30.0),
    _vendor("vendor-c", "password",
            "some crawlers have vendor-c's old password: 12 % are 407 with credentials",
            "ProxyVendorAuthFailures",
            inject.vendor_behaviour("vendor-c", faults={"auth-failed": 0.12}),
            companions=_SLOW_BURN),
    _vendor("vendor-b", "quota",
            "vendor-b's quota is exhausted for 10 %: it answers 407 with a reason of its own",
            "ProxyVendorQuotaExhausted",
            inject.vendor_behaviour("vendor-b", faults={"quota-dialect": 0.1}),
            companions=_SLOW_BURN),
    _vendor("vendor-a", "limit",
            "vendor-a takes 22 requests a second of some 30: the others are 429",
            "ProxyVendorRateLimited",
            inject.vendor_behaviour("vendor-a", limits={"requests_per_second": 22}),
            companions=_BURN),
    _vendor("vendor-d", "outage", "80 % of vendor-d's answers are its own 502",
            "ProxyVendorFailing",
            inject.vendor_behaviour("vendor-d", faults={"vendor-error": 0.8}),
            companions=_BURN),
    _vendor("vendor-e", "burns", "35 % of vendor-e's answers are its own 522",
            "ProxyVendorBudgetBurnsFast",
            inject.vendor_behaviour("vendor-e", faults={"vendor-error-522": 0.35}),
            companions=_SLOW_BURN),
    _vendor("vendor-h", "slow",
            "vendor-h takes 0.7 s to answer (a crawler here gives up after 1.5 s)",
            "ProxyVendorSlow",
            inject.vendor_behaviour("vendor-h", latency_seconds=0.7)),
    _vendor("vendor-c", "refuses",
            "a third of what is sent to vendor-c meets an address where nothing listens",
            "ProxyVendorConnectFailures",
            inject.crawler_plan(inject.to_dead_addresses("vendor-c", 0.3)),
            companions=_BURN),
    _vendor("vendor-f", "left", "crawlers leave vendor-f from one second to the next",
            "ProxyVendorSilent",
            inject.crawler_plan(inject.without_vendor("vendor-f")), calm_seconds=130.0),
    _scenario("crawlers-outside", "27 % of the crawlers' requests go to an address of no vendor",
              "ProxyTrafficOutside",
              inject.crawler_plan(inject.to_outside(0.27))),
    _scenario("chains-gone", "Envoy starts without the vendors' chains: traffic goes on, nameless",
              "ProxyAttributionLost",
              inject.remove_chains, calm_seconds=60.0,
              companions={"ProxyTrafficOutside": "it waits longer, and may outlive the other"}),
    _scenario("names-gone",
              "Envoy starts without the chains of names: Istio carries these vendors, nameless",
              "ProxyNameUnattributed",
              inject.remove_chains_of_names, calm_seconds=60.0,
              companions={"ProxyTrafficOutside": "what Istio carries counts as outside",
                          "ProxyVendorSilent": "nothing is sent to these vendors by their chains",
                          "ProxyCountsDisagree": "the load generator counts them at the vendors"}),
    _scenario("crawler-unseen", "a workload of crawlers runs without a sidecar",
              "ProxyCrawlersUnseen",
              inject.unseen_crawler),
    _vendor("vendor-e", "unread", "crawlers speak TLS to vendor-e's proxies: nothing can be read",
            "ProxyVendorUnreadable",
            inject.crawler_plan(inject.encrypted_to("vendor-e"))),
    _scenario("lua-raises", "the attribution's Lua raises on every request", "ProxyLuaErrors",
              inject.break_lua),
    _scenario("module-gone",
              "sidecars lose the passive module: half of the vendors pass uncounted",
              "ProxyBytesUncounted",
              inject.unload_module,
              companions={"ProxyCountsDisagree": "it waits longer, and may outlive the other"}),
    _scenario("round-the-mesh", "30 % of the load generator's requests go past its sidecar",
              "ProxyCountsDisagree",
              inject.past_envoy(0.3)),
    _vendor("vendor-d", "limits", "thresholds.yml has no limits for vendor-d any more",
            "ProxyVendorWithoutLimits",
            inject.remove_limits("vendor-d")),
    _scenario("series-explode", "a sidecar has 3,000 series where 1,000 are the budget",
              "SidecarSeriesOverBudget",
              inject.page("second sidecar", inject.page_of_series(3_000))),
    _scenario("samples-flood", "a sidecar has 15,000 series, scraped every second",
              "HighMetricIngestionRate",
              inject.page("second sidecar", inject.page_of_series(15_000)),
              companions={"SidecarSeriesOverBudget": "the same sidecar is over its budget too"}),
    _scenario("sidecar-away", "one of two sidecars does not answer Prometheus", "TargetsMissing",
              inject.page("second sidecar", None), labels={"job": "sidecars"}),
    _scenario("rule-file-broken", "a user's rule file does not parse",
              "ConfigurationReloadFailed",
              inject.rule_file(
                  "groups: [{name: own, rules: [{alert: Mine, expr: 'up ='}]}]\n")),
    _scenario("rule-fails",
              "a user's rule cannot be evaluated: two series match where one may",
              "PrometheusRulesFailing",
              inject.rule_file(
                  "groups: [{name: own, rules: [{record: 'job:up:bad', expr: 'up * on () up'}]}]\n"
              )),
    _scenario("replica-tells-nobody", "prometheus-1 looks for Alertmanager where nothing listens",
              "PrometheusNotificationsFailing",
              inject.lose_alertmanager("prometheus-1")),
    _scenario("heartbeat-refused",
              "the heartbeat's receiver answers 403: its credential has expired",
              "AlertmanagerNotificationsFailing",
              inject.receiver_refuses("heartbeat"),
              companions={HEARTBEAT_LOST: "what is refused does not arrive"}),
    _scenario("grafana-away", "Grafana does not answer", "GrafanaDown",
              inject.page("grafana", None)),
    _scenario("datasource-fails", "half of Grafana's queries get 502", "GrafanaDatasourceFailing",
              inject.page("grafana", inject.grafana_with_failing_datasource)),
    _scenario("istiod-rejected", "sidecars refuse three listeners that istiod sends",
              "IstiodConfigRejected",
              inject.page("istiod", inject.istiod_with_rejections)),
    _kill("istiod", "istiod does not answer", "IstiodDown",
          inject.page("istiod", None)),
    _kill("sidecar", "the sidecar that carries everything is killed", "TargetsMissing",
          inject.kill("envoy"), labels={"job": "sidecars"}),
    _kill("prometheus-a", "the first Prometheus is killed", "PrometheusDown",
          inject.kill("prometheus-0")),
    _kill("prometheus-b", "the second Prometheus is killed", "PrometheusDown",
          inject.kill("prometheus-1")),
    _kill("both-prometheus", "both Prometheus are killed: none is left inside to notice",
          HEARTBEAT_LOST,
          inject.kill("prometheus-0", "prometheus-1")),
    _kill("alertmanager",
          "the only Alertmanager is killed: Prometheus notices, and can tell nobody",
          HEARTBEAT_LOST,
          inject.kill("alertmanager"), undelivered="AlertmanagerDown",
          companions={"AlertmanagerDown": "it arrives once there is an Alertmanager again"}),
    # Last: it takes three minutes in a lab that had no alert before.
    _vendor("vendor-g", "wears", "14 % of vendor-g's answers are its own 502, for hours",
            "ProxyVendorBudgetBurnsSlowly",
            inject.vendor_behaviour("vendor-g", faults={"vendor-error": 0.14}),
            within_seconds=300.0),
)
# fmt: on


def chosen(names: str) -> tuple[Scenario, ...]:
    """Return the scenarios of those names, separated by commas; every one for "all".

    Raises:
        ValueError: a name is unknown; the text has the nearest one.
    """
    if names == ALL:
        return SCENARIOS
    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names.split(","):
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {nearest[0]}? " if nearest else ""
            raise ValueError(f"NAME: {quoted(name)} is unknown; {hint}make drill lists the names")
    return tuple(known[name] for name in names.split(","))


def listing() -> str:
    """Return the table of scenarios: name, alert, what is broken."""
    width = max(len(scenario.name) for scenario in SCENARIOS) + 2
    alert = max(len(scenario.alert) for scenario in SCENARIOS) + 2
    rows = [("NAME", "alert", "what is broken")]
    rows += [(scenario.name, scenario.alert, scenario.description) for scenario in SCENARIOS]
    return "\n".join(f"{row[0]:<{width}}{row[1]:<{alert}}{row[2]}" for row in rows)
