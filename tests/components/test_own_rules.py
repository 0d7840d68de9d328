"""Rule files of the stack's own are refused before Prometheus would refuse everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
        (("[5m]", "[5x]"), "is refused by promtool ("),
        (("groups:", "groups: ["), "is not YAML ("),
        (("groups:", "rules:"), "has no groups of rules, each"),
        (("    rules:", "    rule:"), "has no groups of rules, each"),
        (("- alert:", "- alerts:"), "has no groups of rules, each"),
    ],
)
def test_a_bad_file_is_refused_by_name(project, change, words):
    """The finding names the key, the file, the fault and the fix, on one line."""
    (finding,) = refused(project, GOOD.replace(*change))
    assert finding.startswith("alerts.ruleFiles[0]: my/shops.yml: ")
    assert words in finding
    assert finding.isprintable()
    assert "; " in finding


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
