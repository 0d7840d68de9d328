from __future__ import annotations

import json
import re
from typing import Any

import pytest

from components.alertmanager.component import arguments
from components.alertmanager.config import (
    CREDENTIALS,
    INHIBITIONS,
    NOBODY,
    START_DELAY,
    alertmanager_config,
)
from components.file_text import yaml_text
from settings.alertmanager import Alertmanager
from settings.loading import settings_of_config
from settings.stack import StackSettings
from tests.programs import run_to_end
from tests.rules.promql import alerts
from tools.find import find

KINDS: list[dict[str, Any]] = [
    {"name": "oncall", "kind": "pagerduty"},
    {"name": "team", "kind": "slack", "channel": "#proxies"},
    {
        "name": "mail",
        "kind": "email",
        "to": "team@example.com",
        "sender": "alerts@example.com",
        "smarthost": "smtp.example.com:587",
    },
    {"name": "deadman", "kind": "webhook"},
]
CREDENTIAL = {
    "oncall": "0123456789abcdef0123456789abcdef",
    "team": "https://hooks.example.com/services/T0/B0/hunter2",
    "mail": "hunter2",
    "deadman": "https://watch.example.com/hunter2",
}


def stack(**alertmanager: Any) -> StackSettings:
    """Settings as the engine hands them over, credentials in clear."""
    names = {receiver["name"] for receiver in alertmanager.get("receivers", ())}
    values = {
        "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
        "alertmanager": alertmanager,
        "alertmanagerSecrets": {name: CREDENTIAL[name] for name in sorted(names)},
    }
    config = {f"proxy-observability:{key}": json.dumps(value) for key, value in values.items()}
    encrypted = ["proxy-observability:alertmanagerSecrets"]
    return settings_of_config({"proxy-observability:cluster": "prod", **config}, encrypted)


OURS = "product=proxy-observability"
ALL = stack(
    receivers=KINDS, critical=["oncall", "team"], warning=["team", "mail"], heartbeat=["deadman"]
).alertmanager


@pytest.fixture
def amtool(tmp_path):
    program = find("amtool")

    def run(alertmanager: Alertmanager, *command: str) -> str:
        file = tmp_path / "alertmanager.yml"
        file.write_text(yaml_text(alertmanager_config(alertmanager)))
        arguments = [part.replace("FILE", str(file)) for part in command]
        return run_to_end(program, *arguments).stdout.strip()

    return run


@pytest.mark.parametrize(
    "alertmanager",
    [
        ALL,
        Alertmanager(),
        *(stack(receivers=[kind], critical=[kind["name"]]).alertmanager for kind in KINDS),
        stack(receivers=KINDS[3:], heartbeat=["deadman"]).alertmanager,
    ],
    ids=["all", "nobody", *(kind["kind"] for kind in KINDS), "heartbeat"],
)
def test_alertmanager_takes_its_configuration(amtool, alertmanager):
    """amtool is the judge: fields, templates, matchers, time units."""
    assert "SUCCESS" in amtool(alertmanager, "check-config", "FILE")


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=ProxyVendorFailing", "severity=critical", "proxy_vendor=a", OURS), "critical"),
        (("alertname=PrometheusDown", "severity=critical", OURS), "critical"),
        (("alertname=ProxyVendorSlow", "severity=warning", "proxy_vendor=a", OURS), "warning"),
        (("alertname=GrafanaDown", "severity=warning", OURS), "warning"),
        (("alertname=Odd", "severity=odd", OURS), "warning"),
        (("alertname=Odd", OURS), "warning"),
        (("alertname=Odd", "severity=info", OURS), NOBODY),
        (("alertname=Watchdog", "severity=info", OURS), "heartbeat"),
        (("alertname=KubePodCrashLooping", "severity=critical"), NOBODY),
        (("alertname=Watchdog", "severity=none"), NOBODY),
        (("alertname=Theirs", "severity=critical", "product=theirs"), NOBODY),
    ],
)
def test_an_alert_goes_to_the_receiver_of_its_severity(amtool, labels, receiver):
    """An unknown severity is a warning; another team's alerts come to no receiver of this stack."""
    assert amtool(ALL, "config", "routes", "test", "--config.file=FILE", *labels) == receiver


def test_critical_alerts_without_a_receiver_are_warnings(amtool):
    """Critical alerts must reach somebody; warnings without a receiver wake nobody."""
    route = ("config", "routes", "test", "--config.file=FILE", OURS)
    only_warnings = stack(receivers=KINDS[1:2], warning=["team"]).alertmanager
    assert alertmanager_config(only_warnings)["receivers"][1]["slack_configs"]
    assert amtool(only_warnings, *route, "severity=critical") == "critical"
    only_critical = stack(receivers=KINDS[:1], critical=["oncall"]).alertmanager
    assert amtool(only_critical, *route, "severity=warning") == NOBODY


def test_credentials_are_files_of_their_own():
    """A ConfigMap is read by whoever may look at pods."""
    text = yaml_text(alertmanager_config(ALL))
    for name, credential in CREDENTIAL.items():
        assert credential not in text
        assert f"{CREDENTIALS}/{name}" in text


def test_silenced_alerts_exist():
    """An alert that was renamed would be delivered twice again, unnoticed."""
    known = {alert["alert"] for alert in alerts()}
    named = [
        re.findall(r'alertname="(\w+)"', source) + targets for source, targets, _ in INHIBITIONS
    ]
    assert {name for names in named for name in names} <= known
    for names in named:
        assert names[0] not in names[1:]  # it would silence itself


def test_what_silences_an_alert_is_delivered_itself():
    """A critical alert may not vanish behind one that reaches nobody."""
    severity = {alert["alert"]: alert["labels"]["severity"] for alert in alerts()}
    for source, targets, _ in INHIBITIONS:
        (name,) = re.findall(r'alertname="(\w+)"', source)
        assert severity[name] in ("critical", "warning"), targets


def test_one_alone_listens_for_nobody():
    """With gossip on, a single replica would wait for peers at each start."""
    assert "--cluster.listen-address=" in arguments(Alertmanager())
    assert not any("cluster.peer" in argument for argument in arguments(Alertmanager()))
    assert "--data.retention=120h" in arguments(Alertmanager())
    assert f"--dispatch.start-delay={START_DELAY}" in arguments(Alertmanager(replicas=3))
