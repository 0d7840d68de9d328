"""A wrong value for monitoring is refused by its key before anything is deployed."""

from __future__ import annotations

import json

import pytest
import yaml

from render.__main__ import main as render
from tests.program.conftest import ENCRYPTED, OPERATOR, RECEIVERS

RECEIVER = RECEIVERS["alertmanager"]


def rule(**changes):
    alert = {
        "alert": "ShopsSilent",
        "expr": "absent(up{job='sidecars'})",
        "labels": {"severity": "warning"},
    }
    return yaml.safe_dump({"groups": [{"name": "shops", "rules": [{**alert, **changes}]}]})


# What the stack says, the text of its own rule file, and how the one finding begins.
WRONG = {
    "a credential is missing": (
        {"alertmanager": RECEIVER},
        "",
        "alertmanagerSecrets.oncall: is missing",
    ),
    "a credential has no receiver": (
        {"alertmanagerSecrets": {"on-call": ENCRYPTED}},
        "",
        "alertmanagerSecrets.on-call: belongs to none of alertmanager.receivers",
    ),
    "a credential stands in clear": (
        {"alertmanager": RECEIVER, "alertmanagerSecrets": {"oncall": "hunter2"}},
        "",
        "alertmanagerSecrets.oncall: is in clear text",
    ),
    "a route names no receiver": (
        {
            "alertmanager": {**RECEIVER, "warning": ["team"]},
            "alertmanagerSecrets": {"oncall": ENCRYPTED},
        },
        "",
        "alertmanager.warning[0]: 'team' is none of alertmanager.receivers",
    ),
    "a volume is smaller than what is kept": (
        {"prometheus": {"retentionSize": "60Gi"}},
        "",
        "prometheus.retentionSize: 60Gi is not below storage (50Gi)",
    ),
    "a volume of a Prometheus that is not ours": (
        {"prometheus": {**OPERATOR, "storage": "50Gi"}, "alertmanager": {}},
        "",
        "prometheus.storage: has no effect with mode: operator",
    ),
    "a share of more than all": (
        {"alerts": {"failureShare": "150%"}},
        "",
        "alerts.failureShare: '150%' is all or nothing",
    ),
    "a limit that no histogram reaches": (
        {"alerts": {"setupMilliseconds": 60_000}},
        "",
        "alerts.setupMilliseconds: 60000 is not below the highest of telemetry.buckets",
    ),
    "a severity that no route knows": (
        {},
        rule(labels={"severity": "page"}),
        "alerts.ruleFiles[0]: shops.yml: alert 'ShopsSilent' has severity 'page'",
    ),
    "a rule file that is no YAML": (
        {},
        "groups: [",
        "alerts.ruleFiles[0]: shops.yml: is not YAML in line",
    ),
    "a rule whose PromQL does not parse": (
        {},
        rule(expr="sum("),
        "alerts.ruleFiles[0]: shops.yml: is refused by promtool (",
    ),
    "an alert of ours": (
        {},
        rule(alert="ProxyVendorSilent"),
        "alerts.ruleFiles[0]: shops.yml: 'ProxyVendorSilent' is the name of a shipped rule",
    ),
    "an alert of ours, where it is left out": (
        {"prometheus": OPERATOR, "alertmanager": {}},
        rule(alert="PrometheusDown"),
        "alerts.ruleFiles[0]: shops.yml: 'PrometheusDown' is the name of a shipped rule",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_is_refused_by_key_and_nothing_is_rendered(
    edited, own_rules, tmp_path, monkeypatch, what
):
    """One line that names the key, and no manifest for anybody to apply."""
    values, rules, finding = WRONG[what]
    alerts = {"alerts": own_rules(rules)} if rules else {}
    path = edited("prod", lambda keys: keys.update(values, **alerts))
    monkeypatch.setenv("STACK_FILE", str(path))
    out = tmp_path / "out"
    assert render(["--stack", "prod", "--out", str(out)]) == 1
    report = json.loads((out / "render.json").read_text())
    (found,) = report["findings"]
    assert found.startswith(finding)
    assert "; " in found
    assert [path.name for path in out.iterdir()] == ["render.json"]
