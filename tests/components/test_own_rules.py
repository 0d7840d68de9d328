"""Rule files of the stack's own are refused before Prometheus would refuse everything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from components.prometheus.own_rules import own_rule_files
from settings.loading import ROOT, SettingsError

GOOD = """\
groups:
  - name: shops
    rules:
      - record: shops:istio_requests:rate5m
        expr: sum(rate(istio_requests_total{proxy_target="shops"}[5m]))
      - alert: ShopsSilent
        expr: shops:istio_requests:rate5m == 0
        labels: {severity: ticket}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    (tmp_path / "my").mkdir()
    return tmp_path


def refused(project: Path, text: str | bytes) -> tuple[str, ...]:
    data = text if isinstance(text, bytes) else text.encode()
    (project / "my" / "shops.yml").write_bytes(data)
    with pytest.raises(SettingsError) as error:
        own_rule_files(["my/shops.yml"], project)
    return error.value.findings


def test_a_good_file_gets_a_name_of_its_own(project):
    """Whatever it is called, it takes no place of a shipped one."""
    (project / "my" / "recording.yml").write_text(GOOD)
    assert own_rule_files(["my/recording.yml"], project) == {"own-0-recording.yml": GOOD}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("ShopsSilent", "PrometheusDown"), "'PrometheusDown' is a name of ours; give it another"),
        (
            ("record: shops:istio_requests:rate5m", "record: proxy_vendor:istio_requests:rate5m"),
            "'proxy_vendor:istio_requests:rate5m' is a name of ours; give it another",
        ),
        (
            ("record: shops:istio_requests:rate5m", "record: proxy_vendor:slo:ratio"),
            "'proxy_vendor:slo:ratio' is a name of ours; give it another",
        ),
        (("name: shops", "name: vendors"), "group 'vendors' is one of ours; give it another"),
        (("ticket", "critical"), "severity 'critical', which no route knows; write one of page,"),
        (("{severity: ticket}", "{}"), "severity None, which no route knows; write one of page,"),
        (("[5m]", "[5x]"), "is refused by promtool ("),
        (("groups:", "groups: ["), "is not YAML in line "),
        (("groups:", "rules:"), "has no groups; write them"),
        (("    rules:", "    rule:"), "has a group without rules; write name and rules"),
        (("- alert:", "- alerts:"), "has a rule that is neither record nor alert; name it"),
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
    """Missing, a link out, another encoding: each told as what it is."""
    (project / "my" / "out.yml").symlink_to("/etc/hostname")
    with pytest.raises(SettingsError) as error:
        own_rule_files(["my/none.yml", "my/out.yml"], project)
    assert [finding.partition(": ")[2] for finding in error.value.findings] == [
        "my/none.yml: is no file; write the path from the project's root",
        "my/out.yml: is a link out of the project; put the file itself there",
    ]
    (finding,) = refused(project, "groups: []  # für".encode("latin-1"))
    assert finding.endswith("is not UTF-8 text; save it as UTF-8")
