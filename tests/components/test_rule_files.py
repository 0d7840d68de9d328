"""Which server records what: nothing is lost between a shard and where all meet, nothing twice."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.attribution.stats import SCRAPED_METRICS
from components.contents import rule_files
from components.prometheus.promql import metric_names
from components.prometheus.rule_files import (
    FEDERATED,
    LEVELS,
    OF_EVERY_TARGET,
    federated_records,
    for_shard,
    is_federated,
    rules_by_server,
    where_all_meet,
)
from components.prometheus.stack_rules import stack_rules
from components.texts import yaml_text
from settings.loading import SettingsError, parse_settings

VENDORS = [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]


def files_of(**telemetry: object) -> dict[str, str]:
    stack = {"cluster": "dev", "vendors": VENDORS, "telemetry": telemetry}
    made = stack_rules(parse_settings(stack))
    return {**rule_files(), **{name: yaml_text(file) for name, file in made.items()}}


FILES = files_of()
NATIVE = files_of(nativeHistograms=True, histogramSampling=10)


STEPS = {"workload_proxy_vendor_visibility_outcome_target:istio_requests:rate5m"}
"""What stays where sidecars are scraped: others are summed from it there."""


def rules(files: dict[str, str]) -> list[dict[str, Any]]:
    return [
        rule
        for text in files.values()
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
    ]


def names(files: dict[str, str]) -> set[str]:
    return {rule["record"] for rule in rules(files) if "record" in rule}


def reads(rule: dict[str, Any]) -> set[str]:
    return metric_names(rule["expr"])


def test_one_server_has_the_files_as_they_are():
    """Comments and all: who reads them in the cluster finds what the repository has."""
    alone = rules_by_server(FILES, shards=1, federates=False)
    assert alone.asked == FILES
    assert alone.shard == {}


@pytest.mark.parametrize("files", [FILES, NATIVE], ids=["classic", "native"])
def test_every_rule_is_somewhere(files: dict[str, str]):
    """A record that neither a shard nor the meeting server has would be an empty panel."""
    asked = where_all_meet(files, scrapes_sidecars=False)
    assert names(asked) == names(files) - STEPS
    assert names(for_shard(files)) >= STEPS
    alerts = [rule for rule in rules(files) if "alert" in rule]
    assert [rule for rule in rules(asked) if "alert" in rule] == alerts


def test_a_shard_records_sums_alone():
    """What may not be added up, an alert least of all, has no place on a part of the sidecars."""
    for rule in rules(for_shard(FILES)):
        if rule["expr"].startswith("vector("):
            continue
        assert rule["expr"].startswith(("sum", "count")), rule
        assert reads(rule) & {*SCRAPED_METRICS, *OF_EVERY_TARGET, *STEPS}
    assert not any("alert" in rule for rule in rules(for_shard(FILES)))


@pytest.mark.parametrize("files", [FILES, NATIVE], ids=["classic", "native"])
def test_a_shard_has_all_that_it_reads(files: dict[str, str]):
    """A limit or a record that is elsewhere would leave a rule without a value for ever."""
    shard = for_shard(files)
    read = {name for rule in rules(shard) for name in reads(rule) if ":" in name}
    assert read <= names(shard)


def test_the_meeting_server_reads_no_sidecar():
    """It has no series of theirs: the rule would yield nothing, or zeros beside the sums."""
    asked = where_all_meet(FILES, scrapes_sidecars=False)
    assert [rule for rule in rules(asked) if reads(rule) & {*SCRAPED_METRICS, *STEPS}] == []


def test_one_with_sidecars_of_its_own_keeps_their_rules():
    """It adds other clusters' records to its own, each with its label."""
    both = where_all_meet(FILES, scrapes_sidecars=True)
    assert {name: text for name, text in both.items() if name != "federated.yml"} == FILES


def test_what_is_added_up_is_what_is_recorded_at_the_source():
    """Derived records are taken where all meet; federated they would be there twice."""
    federated = set(federated_records(FILES))
    derived = {
        rule["record"]
        for rule in rules(FILES)
        if "record" in rule and all(is_federated(name) for name in reads(rule)) and reads(rule)
    }
    limits = {
        rule["record"]
        for rule in rules(FILES)
        if "record" in rule and rule["expr"].startswith("vector(")
    }
    assert federated | derived | limits == names(FILES) - STEPS
    assert federated & derived == set()
    assert names(for_shard(FILES)) - limits - STEPS <= federated


def test_every_federated_record_is_asked_for():
    """The question names levels; a record of another one would never arrive."""
    assert {name.split(":")[0] for name in federated_records(FILES)} <= set(LEVELS)


def test_a_vendors_failures_are_not_recorded_for_another_cluster():
    """Its zeros would be a second series beside the federated failures, of the same name."""
    for rule in rules(FILES):
        if "record" in rule and reads(rule) & set(SCRAPED_METRICS):
            for name in (name for name in reads(rule) if ":" in name):
                # Or joined by cluster, which what is scraped does not have.
                own = rf'{name}{{cluster=""|on \(cluster\) group_left \(\) {name}'
                assert re.search(own, rule["expr"]), rule


@pytest.mark.parametrize("sharded", [True, False])
def test_promtool_reads_the_rules_of_every_server(tmp_path: Path, promtool: Path, sharded: bool):
    """They are made, not written: nobody sees a mistake before Prometheus does."""
    made = rules_by_server(FILES, shards=2 if sharded else 1, federates=True)
    for server, files in {"asked": made.asked, "shard": made.shard}.items():
        if not files:
            continue
        folder = tmp_path / server
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        done = subprocess.run(
            [promtool, "check", "rules", *sorted(folder.iterdir())], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


OWN = """\
groups:
  - name: shops
    rules:
      - alert: ShopsSilent
        expr: sum(rate(istio_requests_total{proxy_target="shops"}[5m])) == 0
        labels: {severity: ticket}
      - record: shops:istio_requests:rate5m
        expr: sum(proxy_vendor_target:istio_requests:rate5m{proxy_target="shops"})
"""


def test_a_rule_of_the_stack_that_reads_sidecars_is_refused_with_shards():
    """It would read nothing where alerts are, and a part of it on a shard: never the truth."""
    files = {**FILES, "own-3-shops.yml": OWN}
    with pytest.raises(SettingsError) as refused:
        rules_by_server(files, shards=2, federates=False)
    assert refused.value.findings == (
        "alerts.ruleFiles[3]: 'ShopsSilent' reads istio_requests_total, which this server "
        "does not have (prometheus.shards or role); read a record of rules/recording.yml instead",
    )
    assert rules_by_server(files, shards=1, federates=True).asked["own-3-shops.yml"] == OWN


@pytest.mark.parametrize(
    ("expression", "read"),
    [
        ('absent(up{job="sidecars"})', 'job="sidecars"'),
        ('sum({__name__=~"istio_req.*"}) == 0', "__name__"),
        ('sum({"istio_requests_total"}) == 0', '{"istio_requests_total"'),
    ],
)
def test_a_rule_of_the_stack_that_may_read_sidecars_is_refused_with_shards(expression, read):
    """Where alerts are there is no such job and no such name: it would fire for ever, or never."""
    text = OWN.replace('sum(rate(istio_requests_total{proxy_target="shops"}[5m])) == 0', expression)
    with pytest.raises(SettingsError) as refused:
        rules_by_server({**FILES, "own-0-shops.yml": text}, shards=2, federates=False)
    (finding,) = refused.value.findings
    assert finding.startswith(f"alerts.ruleFiles[0]: 'ShopsSilent' reads {read}, which this server")


def test_rules_of_the_stack_stay_where_people_ask():
    """Nobody federates their names; on a shard they would see a part."""
    text = OWN.replace("istio_requests_total", "proxy_vendor_target:istio_requests:rate5m")
    made = rules_by_server({**FILES, "own-0-shops.yml": text}, shards=2, federates=False)
    assert made.asked["own-0-shops.yml"] == text
    assert "shops" not in yaml_text(made.shard)
    assert not any("shops" in name for name in made.federated)


MEETING_TEST = {
    "rule_files": ["federated.yml", "recording.yml", "vendor_alerts.yml"],
    "evaluation_interval": "1m",
    "group_eval_order": [
        "federated",
        "proxy_vendor_sums",
        "proxy_vendor_connections",
        "cluster_sums",
        "proxy_vendor_long_windows",
        "proxy_vendor_ratios_and_quantiles",
    ],
}


def test_shards_add_up_and_clusters_do_not(tmp_path: Path, promtool: Path):
    """3 and 5 of two shards are 8; the same vendor's 2 in another cluster stay 2, with ratios."""
    for name, text in where_all_meet(FILES, scrapes_sidecars=False).items():
        (tmp_path / name).write_text(text)

    def series(outcome: str, shard: str, value: int) -> list[dict[str, str]]:
        labels = f'{shard}, proxy_vendor="vendor-a"'
        return [
            {
                "series": f"{FEDERATED}proxy_vendor_outcome:istio_requests:rate5m"
                f'{{{labels}, proxy_outcome="{outcome}"}}',
                "values": f"{value}x20",
            }
        ]

    def sums(source: str, value: int) -> list[dict[str, str]]:
        name = f"{FEDERATED}proxy_vendor:istio_requests:rate5m"
        return [{"series": f'{name}{{{source}, proxy_vendor="vendor-a"}}', "values": f"{value}x20"}]

    def expect(expr: str, **by_cluster: float) -> dict[str, Any]:
        return {
            "expr": expr,
            "eval_time": "10m",
            "exp_samples": [
                {
                    "labels": "{"
                    + (f'cluster="{cluster}", ' if cluster != "own" else "")
                    + 'proxy_vendor="vendor-a"}',
                    "value": value,
                }
                for cluster, value in by_cluster.items()
            ],
        }

    test = {
        **MEETING_TEST,
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    *series("success", 'shard="0"', 3),
                    *series("success", 'shard="1"', 4),
                    *series("blocked", 'shard="1"', 1),
                    *series("blocked", 'cluster="eu"', 2),
                    *sums('shard="0"', 3),
                    *sums('shard="1"', 5),
                    *sums('cluster="eu"', 2),
                ],
                "promql_expr_test": [
                    expect("proxy_vendor:istio_requests:rate5m + 0", own=8, eu=2),
                    expect("proxy_vendor:request_failures:rate5m + 0", own=1, eu=2),
                    expect(
                        "proxy_vendor:request_failures_per_requests:ratio_rate5m + 0",
                        own=0.125,
                        eu=1,
                    ),
                    {
                        "expr": "cluster:istio_requests:rate5m + 0",
                        "eval_time": "10m",
                        "exp_samples": [
                            {"labels": "{}", "value": 8},
                            {"labels": '{cluster="eu"}', "value": 2},
                        ],
                    },
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml_text(test))
    done = subprocess.run(
        [promtool, "test", "rules", "--diff", "test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_where_no_crawlers_are_nothing_complains_of_their_mesh():
    """IstiodDown would page for ever; all else stays, records of the clusters first of all."""
    watching = rules_by_server(FILES, shards=1, federates=True, crawlers_here=False).asked
    meeting = where_all_meet(FILES, scrapes_sidecars=False)
    gone = [rule for rule in rules(meeting) if rule not in rules(watching)]
    assert [rule.get("alert") for rule in gone] == ["IstiodDown"]


def test_buckets_of_native_histograms_are_the_shards():
    """Read off a record that comes under other names when federated: there would be none."""
    buckets = "proxy_vendor_le:istio_proxy_setup_milliseconds_bucket:rate5m"
    shard = [rule for rule in rules(for_shard(NATIVE)) if rule["record"] == buckets]
    assert shard == [rule for rule in rules(NATIVE) if rule.get("record") == buckets]
    asked = where_all_meet(NATIVE, scrapes_sidecars=False)
    (added,) = [rule for rule in rules(asked) if rule.get("record") == buckets]
    assert added["expr"] == f"sum without (shard) ({FEDERATED}{buckets})"
    assert "native_histograms.yml" not in asked
