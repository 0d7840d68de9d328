"""alertmanager.yml: which receiver gets which alert, how often, and what silences what.

Credentials are not in it: each receiver's is a file that the Secret mounts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from components.labels import PROJECT
from settings.alertmanager import Alertmanager, EmailReceiver, Receiver, SlackReceiver
from settings.values.quantities import format_duration

Json = dict[str, Any]

ALERTMANAGER_USER = "alertmanager"
PODS_SERVICE = "alertmanager-pods"
GOSSIP_PORT = 9094
CREDENTIALS = "/etc/alertmanager/credentials"

LOGIN_SECRET = "alertmanager-login"
"""The Secret for a Prometheus that another team runs: a login, and where the Alertmanagers are."""
ALERTMANAGERS_KEY = "alertmanagers.yml"

NOBODY = "nobody"  # alerts are visible in Alertmanager, and go no further
PRODUCT = f'product="{PROJECT}"'
"""Matches the alerts of this project. The operator's Prometheus sends other teams' alerts too, and
those may not reach this stack's receivers."""

# Which alerts are silenced while the first one fires, where these labels are equal. Only what
# follows from it: a vendor's own trouble is delivered even while monitoring has some.
INHIBITIONS: tuple[tuple[str, list[str], list[str]], ...] = (
    # The crawlers' numbers are missing, which reads like silence.
    (
        'alertname="TargetsMissing", job="sidecars"',
        ["ProxyVendorSilent", "ProxyAttributionLost", "ProxyCountsDisagree"],
        ["cluster"],
    ),
    # Without a shard's records the mesh's counts are low. Critical alerts stay: a vendor may fail
    # all the same.
    ('alertname="FederationSourceMissing"', ["ProxyCountsDisagree"], ["cluster"]),
    # Without a cluster's records its targets are missing too.
    ('alertname="FederationSourceMissing", shard=""', ["TargetsMissing"], ["cluster"]),
    # No traffic is attributed any more: one message, not one for each vendor.
    (
        'alertname="ProxyAttributionLost"',
        [
            *("ProxyVendorSilent", "ProxyTrafficOutside", "ProxyCountsDisagree"),
            *("ProxyNameUnattributed", "ProxyTrafficRefused"),
        ],
        ["cluster"],
    ),
    # An outage silences both burn rates, and the fast burn rate the slow one.
    (
        'alertname="ProxyVendorFailing"',
        ["ProxyVendorBudgetBurnsFast", "ProxyVendorBudgetBurnsSlowly"],
        ["cluster", "proxy_vendor"],
    ),
    (
        'alertname="ProxyVendorBudgetBurnsFast"',
        ["ProxyVendorBudgetBurnsSlowly"],
        ["cluster", "proxy_vendor"],
    ),
    # Grafana's queries fail at a replica that is down.
    ('alertname="PrometheusDown"', ["GrafanaDatasourceFailing"], ["cluster"]),
    ('alertname="AlertmanagerDown"', ["PrometheusNotificationsFailing"], ["cluster"]),
    ('alertname="GrafanaDown"', ["GrafanaDatasourceFailing"], ["cluster"]),
    ('alertname="IstiodDown"', ["IstiodConfigRejected"], ["cluster"]),
)

# After its start Alertmanager delivers nothing until Prometheus has sent everything that fires,
# which takes a minute and a scrape: otherwise the first alerts to arrive would be delivered before
# the one that silences them.
START_DELAY = "90s"

_PAGERDUTY_SEVERITY = (
    '{{ if eq .CommonLabels.severity "critical" }}critical{{ else }}warning{{ end }}'
)
_TITLE = "{{ .CommonLabels.cluster }}: {{ (index .Alerts 0).Annotations.summary }}"
_TEXT = (
    '{{ range .Alerts }}{{ if eq .Status "resolved" }}Resolved: {{ end }}'
    "{{ .Annotations.summary }}\n"
    "{{ .Annotations.description }}\n"
    "{{ .Labels.alertname }}, {{ .Labels.severity }}, since {{ .StartsAt }}: "
    "{{ .Annotations.runbook_url }}\n\n{{ end }}"
)


def alertmanager_config(alertmanager: Alertmanager) -> Json:
    """Return alertmanager.yml as plain values.

    Critical alerts of a stack without receivers for them go to those for warnings.
    """
    names = {
        "critical": alertmanager.critical or alertmanager.warning,
        "warning": alertmanager.warning,
        "heartbeat": alertmanager.heartbeat,
    }
    by_name = {receiver.name: receiver for receiver in alertmanager.receivers}
    receivers: list[Json] = [
        _receiver(route, [by_name[name] for name in wanted], resolved=route != "heartbeat")
        for route, wanted in names.items()
        if wanted
    ]

    def to(route: str) -> str:
        return route if names[route] else NOBODY

    return {
        "global": {"resolve_timeout": "5m"},
        "route": {
            "receiver": NOBODY,
            # A vendor's alerts come as one message, all others as one for each kind.
            "group_by": ["cluster", "alertname"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": format_duration(alertmanager.repeat),
            "routes": [
                {
                    "matchers": ['alertname="Watchdog"', PRODUCT],
                    "receiver": to("heartbeat"),
                    "group_wait": "0s",
                    "group_interval": "1m",
                    "repeat_interval": "1m",
                },
                {"matchers": ['severity="info"', PRODUCT], "receiver": NOBODY},
                *(
                    {
                        "matchers": [f'severity="{severity}"', 'proxy_vendor!=""', PRODUCT],
                        "receiver": to(severity),
                        "group_by": ["cluster", "proxy_vendor"],
                    }
                    for severity in ("critical", "warning")
                ),
                {"matchers": ['severity="critical"', PRODUCT], "receiver": to("critical")},
                # An alert without a known severity is treated as a warning.
                {"matchers": [PRODUCT], "receiver": to("warning")},
            ],
        },
        "inhibit_rules": [
            {
                "source_matchers": [*source.split(", "), PRODUCT],
                "target_matchers": [f'alertname=~"{"|".join(targets)}"', PRODUCT],
                "equal": equal,
            }
            for source, targets, equal in INHIBITIONS
        ],
        "receivers": [{"name": NOBODY}, *receivers],
    }


def alertmanagers(namespace: str, port: int, replicas: int, password: str) -> list[Json]:
    """Return our Alertmanagers as an entry of another Prometheus' `alerting.alertmanagers`."""
    host = f"{PODS_SERVICE}.{namespace}.svc"
    # Every replica gets every alert; the replicas agree which of them notifies.
    targets = [f"alertmanager-{replica}.{host}:{port}" for replica in range(replicas)]
    login = {"username": ALERTMANAGER_USER, "password": password}
    return [{"basic_auth": login, "static_configs": [{"targets": targets}]}]


def _receiver(name: str, receivers: list[Receiver], *, resolved: bool) -> Json:
    integrations: dict[str, list[Json]] = {}
    for receiver in receivers:
        key, make = _KINDS[receiver.kind]
        config = {**make(receiver, f"{CREDENTIALS}/{receiver.name}"), "send_resolved": resolved}
        integrations.setdefault(key, []).append(config)
    return {"name": name, **integrations}


def _slack(receiver: SlackReceiver, credential: str) -> Json:
    return {
        "api_url_file": credential,
        "channel": receiver.channel,
        "title": _TITLE,
        "text": _TEXT,
    }


def _pagerduty(receiver: Receiver, credential: str) -> Json:
    return {
        "routing_key_file": credential,
        "description": _TITLE,
        "severity": _PAGERDUTY_SEVERITY,
        "details": {"alerts": _TEXT},
    }


def _email(receiver: EmailReceiver, credential: str) -> Json:
    return {
        "to": receiver.to,
        "from": receiver.sender,
        "smarthost": receiver.smarthost,
        "auth_username": receiver.sender,
        "auth_password_file": credential,
        "require_tls": True,
        "headers": {"Subject": _TITLE},
        "html": "",
        "text": _TEXT,
    }


def _webhook(receiver: Receiver, credential: str) -> Json:
    return {"url_file": credential}


_KINDS: dict[str, tuple[str, Callable[[Any, str], Json]]] = {
    "slack": ("slack_configs", _slack),
    "pagerduty": ("pagerduty_configs", _pagerduty),
    "email": ("email_configs", _email),
    "webhook": ("webhook_configs", _webhook),
}
