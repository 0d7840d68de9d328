"""Rule files of the stack's own are refused before Prometheus would refuse everything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from components.file_text import yaml_text
from components.prometheus import own_rules
from components.prometheus.operator_objects import prometheus_rules
from components.prometheus.own_rules import own_rule_files
from settings.loading import SettingsError, parse_settings

GOOD = """\
groups:
  - name: shops
    rules:
      - record: shops:istio_requests:rate5m
        expr: sum(rate(istio_requests_total{proxy_target="shops"}[5m]))
      - alert: ShopsSilent
        expr: shops:istio_requests:rate5m == 0
        labels: {severity: warning}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "my").mkdir()
    return tmp_path


def read(project: Path, *names: str) -> Any:
    vendors = [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]
    # Its Prometheus has no alerts on the stack's own; their names are taken all the same.
    operator = {"mode": "operator", "url": "http://prometheus.example", "operatorLabels": {}}
    alerts = {"ruleFiles": [*names]}
    stack = {"cluster": "dev", "vendors": vendors, "prometheus": operator, "alerts": alerts}
    return own_rule_files(parse_settings(stack), project)


def refused(project: Path, text: str | bytes) -> tuple[str, ...]:
    data = text if isinstance(text, bytes) else text.encode()
    (project / "my" / "shops.yml").write_bytes(data)
    with pytest.raises(SettingsError) as error:
        read(project, "my/shops.yml")
    return error.value.findings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("ShopsSilent", "PrometheusDown"),
            "'PrometheusDown' is the name of a shipped rule; give it another",
        ),
        (
            ("record: shops:istio_requests:rate5m", "record: proxy_vendor:istio_requests:rate5m"),
            "'proxy_vendor:istio_requests:rate5m' is the name of a shipped rule; give it another",
        ),
        (
            ("record: shops:istio_requests:rate5m", "record: proxy_vendor:slo:ratio"),
            "'proxy_vendor:slo:ratio' is the name of a shipped rule; give it another",
        ),
        (("name: shops", "name: vendors"), "group 'vendors' is shipped; give it another"),
        (("warning", "page"), "severity 'page', which no route knows; write one of critical,"),
        (("{severity: warning}", "{}"), "severity None, which no route knows; write one of"),
        (("[5m]", "[5x]"), "is refused by promtool (5:15: group"),
        (("- alert:", "- alerts:"), "is refused by promtool (line 6: field alerts not found"),
        (("groups:", "groups: ["), "is not YAML in line 2 (expected the"),
        (("groups:", "groups: *hunter2"), "is not YAML in line 1 (found undefined alias …)"),
        (("groups:", "kind: PrometheusRule\nspec:"), "write what is under its spec"),
        *(
            (("name: shops", f"name: shops\n    limit: {limit}"), "a limit that is not digits")
            for limit in ("0x10", "1e3", "5.0", "010")
        ),
    ],
)
def test_a_bad_file_is_refused_by_name(project, change, words):
    """The finding names the key, the file, the fault and the fix, on one line."""
    (finding,) = refused(project, GOOD.replace(*change))
    assert finding.startswith("alerts.ruleFiles[0]: my/shops.yml: ")
    assert words in finding
    assert finding.isprintable()
    assert "; " in finding


@pytest.mark.parametrize(
    "change",
    [
        ("groups:", "rules:"),
        ("    rules:", "    rule:"),
        ("- alert:", "- alerts:"),
        ("alert: ShopsSilent", "alert: [A]"),
        ("name: shops", "name: [g]"),
        ("{severity: warning}", "[severity]"),
        ("{severity: warning}", "{severity: warning, team: [a]}"),
        ("shops:istio_requests:rate5m == 0", ""),
        ("expr: shops:istio_requests:rate5m == 0", "for: 5m"),
        ("name: shops", "name: shops\n    limit: abc"),
        ("name: shops", "name: shops\n    limit: [1]"),
    ],
)
@pytest.mark.parametrize("with_promtool", [True, False])
def test_a_malformed_rule_is_a_finding(project, monkeypatch, change, with_promtool):
    """A traceback names no file, and promtool is not installed everywhere."""
    if not with_promtool:
        monkeypatch.setattr(own_rules, "promtool_here", lambda: None)
    (finding,) = refused(project, GOOD.replace(*change))
    assert finding.startswith("alerts.ruleFiles[0]: my/shops.yml: ")
    assert finding.isprintable()


@pytest.mark.parametrize("name", ["shops.yaml", "my shops.rules", "gültig.yml", "shops"])
def test_prometheus_loads_a_file_whatever_its_name(project, name):
    """Its configuration names *.yml, and a ConfigMap refuses other letters in a key."""
    (project / "my" / name).write_text(GOOD)
    (own_name,) = read(project, f"my/{name}")
    assert re.fullmatch(r"own-0-[A-Za-z0-9._-]+\.yml", own_name)


def test_values_are_text_and_empty_labels_are_none(project):
    """As Prometheus reads them; the operator refuses a label that is null."""
    labels = "{severity: warning, tier: 010, team: ~, area: '', zone:}"
    text = GOOD.replace("{severity: warning}", labels).replace(
        "name: shops", "name: s\n    limit: 9"
    )
    (project / "my" / "shops.yml").write_text(text)
    (file,) = read(project, "my/shops.yml").values()
    (spec,) = [one.spec for one in prometheus_rules({"own-0-shops.yml": yaml_text(file)}, 15)]
    (group,) = spec["groups"]
    assert group["limit"] == 9
    product = {"product": "proxy-observability"}
    assert group["rules"][1]["labels"] == {"severity": "warning", "tier": "010", **product}


def test_a_groups_labels_are_those_of_its_alerts(project):
    """Prometheus 3 adds them to each."""
    text = GOOD.replace("    rules:", "    labels: {severity: critical}\n    rules:")
    (project / "my" / "shops.yml").write_text(text.replace("labels: {severity: warning}", ""))
    assert read(project, "my/shops.yml")
    (finding,) = refused(
        project, text.replace("critical", "page").replace("labels: {severity: warning}", "")
    )
    assert "severity 'page'" in finding


def test_a_file_that_cannot_be_read(project):
    """Missing, a link out, another encoding: each has a message of its own."""
    (project / "my" / "out.yml").symlink_to("/etc/hostname")
    with pytest.raises(SettingsError) as error:
        read(project, "my/none.yml", "my/out.yml")
    assert [finding.partition(": ")[2] for finding in error.value.findings] == [
        "my/none.yml: is no file; write the path from the project's root",
        "my/out.yml: is a link out of the project; put the file itself there",
    ]
    (finding,) = refused(project, "groups: []  # für".encode("latin-1"))
    assert finding.endswith("is not UTF-8 text; save it as UTF-8")
