"""alertmanager.yml: who is told what, how often, and what is not worth telling.

Credentials are not in it: each receiver's is a file that the Secret mounts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from settings.alertmanager import Alertmanager, EmailReceiver, Receiver, SlackReceiver
from settings.values import format_duration

Json = dict[str, Any]

CREDENTIALS = "/etc/alertmanager/credentials"
NOBODY = "nobody"  # seen in Alertmanager, told to none

# Who is silenced while the first one fires, where these labels are equal. Only what follows from
# it: a vendor's own trouble is told even while the pipeline has some.
INHIBITIONS: tuple[tuple[str, list[str], list[str]], ...] = (
    # The crawlers' numbers are missing, and their absence reads like silence.
    (
        'alertname="TargetsMissing", job="sidecars"',
        ["ProxyVendorSilent", "ProxyAttributionLost", "ProxyCountsDisagree"],
        ["cluster"],
    ),
    # Where a shard's part is missing, the mesh reads low. No page: a vendor may fail all the same.
    ('alertname="FederationSourceMissing"', ["ProxyCountsDisagree"], ["cluster"]),
    # Where all of a cluster is, so is what its jobs' targets answered.
    ('alertname="FederationSourceMissing", shard=""', ["TargetsMissing"], ["cluster"]),
    # No vendor has its traffic any more: one message, not one for each.
    (
        'alertname="ProxyAttributionLost"',
        ["ProxyVendorSilent", "ProxyTrafficOutside", "ProxyCountsDisagree"],
        ["cluster"],
    ),
    # The outage says it all; then the fast burn.
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
    # A replica that is down fails Grafana's queries and the other's rules.
    ('alertname="PrometheusDown"', ["GrafanaDatasourceFailing"], ["cluster"]),
    ('alertname="AlertmanagerDown"', ["PrometheusNotificationsFailing"], ["cluster"]),
    ('alertname="GrafanaDown"', ["GrafanaDatasourceFailing"], ["cluster"]),
    ('alertname="IstiodDown"', ["IstiodConfigRejected"], ["cluster"]),
)

# After a start nothing is told until Prometheus has sent all that fires, which it does every minute
# and a scrape: else the first alerts to come are told before the one that silences them.
START_DELAY = "90s"

_TITLE = "{{ .CommonLabels.cluster }}: {{ (index .Alerts 0).Annotations.summary }}"
_TEXT = (
    '{{ range .Alerts }}{{ if eq .Status "resolved" }}Over: {{ end }}{{ .Annotations.summary }}\n'
    "{{ .Annotations.description }}\n"
    "{{ .Labels.alertname }}, {{ .Labels.severity }}, since {{ .StartsAt }}: "
    "{{ .Annotations.runbook_url }}\n\n{{ end }}"
)


def alertmanager_config(alertmanager: Alertmanager) -> Json:
    """Return alertmanager.yml as plain values.

    Pages of a stack that names nobody for them go where its tickets go, rather than nowhere.
    """
    told = {
        "page": alertmanager.critical or alertmanager.warning,
        "ticket": alertmanager.warning,
        "heartbeat": alertmanager.heartbeat,
    }
    by_name = {receiver.name: receiver for receiver in alertmanager.receivers}
    receivers: list[Json] = [{"name": NOBODY}]
    for name, wanted in told.items():
        if wanted:
            chosen = [by_name[one] for one in wanted]
            receivers.append(_receiver(name, chosen, resolved=name != "heartbeat"))

    def to(name: str) -> str:
        return name if told[name] else NOBODY

    return {
        "global": {"resolve_timeout": "5m"},
        "route": {
            # What has no severity that we know is a ticket too.
            "receiver": to("ticket"),
            # A vendor's alerts come as one message, the pipeline's one for each kind.
            "group_by": ["cluster", "alertname"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": format_duration(alertmanager.repeat),
            "routes": [
                {
                    "receiver": to("heartbeat"),
                    "matchers": ['alertname="Watchdog"'],
                    "group_wait": "0s",
                    "group_interval": "1m",
                    "repeat_interval": "1m",
                },
                {"receiver": NOBODY, "matchers": ['severity="none"']},
                *(
                    {
                        "receiver": to(name),
                        "matchers": [f'severity="{name}"', 'proxy_vendor!=""'],
                        "group_by": ["cluster", "proxy_vendor"],
                    }
                    for name in ("page", "ticket")
                ),
                {"receiver": to("page"), "matchers": ['severity="page"']},
            ],
        },
        "inhibit_rules": [
            {
                "source_matchers": source.split(", "),
                "target_matchers": [f'alertname=~"{"|".join(targets)}"'],
                "equal": equal,
            }
            for source, targets, equal in INHIBITIONS
        ],
        "receivers": receivers,
    }


def _receiver(name: str, chosen: list[Receiver], *, resolved: bool) -> Json:
    integrations: dict[str, list[Json]] = {}
    for one in chosen:
        key, make = _KINDS[one.kind]
        config = {**make(one, f"{CREDENTIALS}/{one.name}"), "send_resolved": resolved}
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
        "severity": '{{ if eq .CommonLabels.severity "page" }}critical{{ else }}warning{{ end }}',
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
