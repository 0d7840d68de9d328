"""Every rule and alert: read by promtool, named by rule, fed by what is really scraped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backups.report import METRIC as OF_BACKUPS
from components.attribution.outcome import SOCKS, proxy_outcome
from components.attribution.standalone import STAT_SCOPE
from components.attribution.stats import SCRAPED_METRICS
from components.prometheus.config import (
    CADVISOR_METRICS,
    GRAFANA_METRICS,
    KUBELET_METRICS,
    LEDGER_METRICS,
    MONEY_METRICS,
)
from components.prometheus.native_histograms import native_histogram_rules
from components.prometheus.rules import RULES, rules_of
from money.results import DELIVERED, RESULT_OF, RESULTS
from simulation.crawler.books import Books
from simulation.crawler.metrics import metrics_page
from tests.programs import run_to_end
from tests.rules.exposed import ALERTMANAGER, ENVOY, ISTIOD, PROMETHEUS, exposed
from tests.rules.mutants import EQUIVALENT, TESTS, file_of, mutants_of, survivors, tried
from tests.rules.promql import (
    FILES,
    RUNBOOKS,
    alerts,
    limits,
    metric_names,
    read_test,
    records,
    rules,
    run_tests,
)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


OF_EVERY_SCRAPE = {"up", "scrape_duration_seconds", "scrape_samples_post_metric_relabeling"}
PROMETHEUS_OWN = OF_EVERY_SCRAPE | exposed(PROMETHEUS)

# The lab's stand-in for istio.stats is a part of Envoy itself, with a prefix.
SIDECARS = {name.removeprefix(f"envoy_{STAT_SCOPE}_") for name in exposed(ENVOY)}

MODULE = (ROOT / "wasm/filter/src/metrics.rs").read_text(encoding="utf-8")

OTHERS = {
    *re.findall(r"istio_proxy_\w+", MODULE),
    *exposed(ALERTMANAGER),
    *exposed(ISTIOD),
    *re.findall(r"^# TYPE (\w+)", metrics_page(Books(), 0, 0.0), re.MULTILINE),
    *GRAFANA_METRICS,
    *CADVISOR_METRICS,
    *KUBELET_METRICS,
    OF_BACKUPS,
    *LEDGER_METRICS,
    *MONEY_METRICS,
}
"""Those with a list are no binary here: their sources stand where they are scraped."""

LEVELS = {
    "cluster": set(),
    "integration": {"integration"},
    "job": {"job"},
    "job_pod": {"job", "pod"},
    "persistentvolumeclaim": {"persistentvolumeclaim"},
    "pod": {"pod"},
    "proxy_host": {"proxy_host"},
    "proxy_vendor": {"proxy_vendor"},
    "proxy_vendor_le": {"proxy_vendor", "le"},
    "proxy_vendor_outcome": {"proxy_vendor", "proxy_outcome"},
    "proxy_vendor_pool": {"proxy_vendor", "proxy_pool"},
    "proxy_vendor_pool_outcome": {"proxy_vendor", "proxy_pool", "proxy_outcome"},
    "proxy_vendor_result": {"proxy_vendor", "proxy_result"},
    "proxy_target": {"proxy_target"},
    "proxy_vendor_target": {"proxy_vendor", "proxy_target"},
    "proxy_vendor_visibility": {"proxy_vendor", "proxy_visibility"},
    "team": {"team"},
    "team_proxy_vendor_pool_target": {"team", "proxy_vendor", "proxy_pool", "proxy_target"},
    "team_proxy_vendor_pool_outcome_target": {
        *("team", "proxy_vendor", "proxy_pool", "proxy_outcome", "proxy_target"),
    },
    "team_proxy_vendor_pool_result_target": {
        *("team", "proxy_vendor", "proxy_pool", "proxy_result", "proxy_target"),
    },
    "workload_proxy_vendor": {"source_workload", "source_workload_namespace", "proxy_vendor"},
    "workload_proxy_vendor_outcome": {
        *("source_workload", "source_workload_namespace", "proxy_vendor", "proxy_outcome"),
    },
    "team_proxy_vendor": {"team", "proxy_vendor"},
    "workload_team_proxy_vendor_pool_visibility_outcome_target": {
        *("source_workload", "source_workload_namespace", "team", "proxy_vendor", "proxy_pool"),
        *("proxy_visibility", "proxy_outcome", "proxy_target"),
    },
    "workload_team_proxy_vendor_pool_visibility_result_target": {
        *("source_workload", "source_workload_namespace", "team", "proxy_vendor", "proxy_pool"),
        *("proxy_visibility", "proxy_result", "proxy_target"),
    },
    "team_proxy_vendor_pool_visibility_outcome_target": {
        *("team", "proxy_vendor", "proxy_pool"),
        *("proxy_visibility", "proxy_outcome", "proxy_target"),
    },
    "team_proxy_vendor_pool_visibility_result_target": {
        *("team", "proxy_vendor", "proxy_pool"),
        *("proxy_visibility", "proxy_result", "proxy_target"),
    },
}
DERIVED = {
    *("request_failures", "request_failures_per_requests", "request_failures_per_budget"),
    *("request_successes_per_requests", "istio_requests_per_requests", "wire_bytes"),
    "proxy_bytes",
    *("requests_blocked", "requests_blocked_per_requests", "connect_failures_per_connections"),
    "connections_refused",
    *("outside_bytes_per_bytes", "outside_connections_per_connections"),
    *("uncounted_bytes_per_bytes", "opaque_connections_per_connections"),
    *("crawler_requests", "crawler_unexpected", "crawler_in_flight"),
    *("sidecar_cpu", "sidecar_memory", "sidecar_cpu_per_limit", "sidecar_memory_per_limit"),
    *("prometheus_storage_bytes", "prometheus_rule_duration_per_interval"),
    *("kubelet_volume_stats_used_per_capacity", "grafana_datasource_request_failures"),
    *("cost", "cost_of_failures", "cost_per_success"),
    *("prometheus_samples_appended", "sidecars_over_budget", "recorded_hour"),
}
"""Middle parts that are no metric's name: what they count is in the rule's comment."""

# Of requests, where an outcome may occur once on a pod, and of their bytes.
EXACT = (
    "(max_over_time(COUNTER[5m]) unless COUNTER offset 5m) / 5m"
    " and on (cluster, job, instance, pod, team, source_workload)"
    ' (up{job="sidecars"} offset 5m == 1'
    ' or min_over_time(envoy_server_uptime{job="sidecars"}[5m]) < 5m'
    ' unless resets(envoy_server_uptime{job="sidecars"}[5m]) > 0)'
    " or ( last_over_time(COUNTER[5m]) - COUNTER offset 5m"
    " and min_over_time(COUNTER[5m]) >= COUNTER offset 5m"
    " unless resets(COUNTER[5m]) > 0 ) / 5m"
    " or rate(COUNTER[5m]) )"
)

FAILURES = {
    *("connect_failed", "timeout", "reset", "auth_failed", "quota_exhausted"),
    *("rate_limited", "blocked", "vendor_error"),
}
NO_FAILURES = {
    *("success", "rejected", "client_cancelled", "auth_challenge", "target_error"),
    *("policy", "bad_answer"),
}


def test_bytes_of_failures_are_not_called_delivered() -> None:
    """Each outcome has a result; what the failure rate counts is refused or failed."""
    assert RESULT_OF.keys() == FAILURES | NO_FAILURES
    undelivered = {outcome for outcome, result in RESULT_OF.items() if result != DELIVERED}
    assert undelivered == FAILURES | {"policy"}
    assert {*RESULT_OF.values()} == {*RESULTS} - {""}


def test_promtool_reads_every_rule_file(promtool: Path, tmp_path: Path) -> None:
    """No file is shipped that Prometheus would refuse, nor one its linter complains about."""
    for name, file in FILES.items():
        (tmp_path / name).write_text(json.dumps(file))
    files = [*sorted(RULES.glob("*.yml")), *sorted(tmp_path.iterdir())]
    run_to_end(promtool, "check", "rules", "--lint=all", "--lint-fatal", *files)


@pytest.mark.parametrize("file", sorted(HERE.glob("*.test.yml")), ids=lambda file: file.name)
def test_rules_give_the_expected_values(promtool: Path, file: Path) -> None:
    """Invented series in, recorded values and alerts out, as the test file says."""
    document = read_test(file)
    chosen = {name: FILES[name] for name in document["rule_files"]}
    run_tests(promtool, document, chosen)


def test_every_record_has_a_test() -> None:
    """A rule nobody ever evaluated is not shipped."""
    tested = "".join(file.read_text(encoding="utf-8") for file in HERE.glob("*.test.yml"))
    assert {rule["record"] for rule in records() if rule["record"] not in tested} == set()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_fires_and_stays_silent_as_expected(promtool: Path, alert: dict[str, str]) -> None:
    """As mutants are tried, with the records alone that it rests on: all of them take a minute."""
    done = tried(promtool, alert)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_test_for_each_alert() -> None:
    """One of an alert that is gone would go unnoticed."""
    files = {file.name.removesuffix(".test.yml") for file in TESTS.iterdir()}
    assert files == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_is_tested_firing_and_silent(alert: dict[str, str]) -> None:
    """An alert that cannot fire, or cannot be quiet, is worse than none; the words are tested."""
    name = alert["alert"]
    text = file_of(name).read_text(encoding="utf-8")
    assert re.search(rf"alertname: {name}\n\s+eval_time: .*\n\s+exp_alerts:", text)
    assert re.search(rf"{{alertname: {name}, eval_time: \w+}}", text) or name == "Watchdog"
    assert text.count("exp_labels:") == text.count("exp_annotations:")


def test_a_changed_alert_fails_its_test(promtool: Path) -> None:
    """One change of each alert, caught; `make mutate` tries all of them, in minutes."""
    chosen = []
    for rule in alerts():
        mutants = [m for m in mutants_of(rule) if (m.alert, m.change) not in EQUIVALENT]
        chosen.append(next((m for m in mutants if m.kind == "comparison"), mutants[0]))
    assert len(chosen) == len(alerts())
    assert survivors(promtool, chosen) == []


def test_few_alerts_wake_somebody() -> None:
    """Eight at most; more and nobody reads them."""
    assert sum(alert["labels"]["severity"] == "critical" for alert in alerts()) <= 8


@pytest.mark.parametrize("rule", records(), ids=lambda rule: rule["record"])
def test_a_records_name_tells_its_labels_metric_and_operation(rule: dict[str, str]) -> None:
    """`level:metric:operation`: whoever reads a name in a query knows what labels it has."""
    level, metric, operation = rule["record"].split(":")
    assert level in LEVELS
    assert re.fullmatch(
        r"(ratio_)?rate5m|burnrate(5m|30m|1h|6h|7d)|sum|count|max|p50|p90|p95|sum1h|ratio",
        operation,
    )
    raw = {name.removesuffix("_total") for name in (*SCRAPED_METRICS, *PROMETHEUS_OWN, *OTHERS)}
    bases = raw | {name.removesuffix("_bucket") for name in raw}
    assert metric in bases | DERIVED

    expr = rule["expr"]
    # The outermost aggregation says which labels are left; a rule without one keeps its input's.
    # `cluster` is no part of a level, since every series has it.
    outermost = re.match(
        r"(?:histogram_quantile\(\s*[\d.]+,\s*)?(?:sum|max|count)(?: by \(([^)]*)\))?\s*\(", expr
    )
    if outermost:
        left = {label.strip() for label in (outermost.group(1) or "").split(",")} - {""}
        if expr.startswith("histogram_quantile"):
            left -= {"le"}
        assert "cluster" in left
        # Nor is `currency`, which every cost has.
        assert left - {"cluster", "currency"} == LEVELS[level]
    else:
        inputs = {name.split(":")[0] for name in metric_names(expr) - limits()} or {level}
        assert level in inputs or inputs == {f"{level}_le"}
        # What else is read has no label of its own to add.
        assert all(LEVELS[name] <= LEVELS[level] | {"le"} for name in inputs)


def test_sums_are_of_rates() -> None:
    """A rate of a sum reads every pod that ends as a counter reset of all the others."""
    for rule in rules():
        assert not re.search(r"rate\s*\(\s*+(?!\w+[{\[])", rule["expr"]), rule
        assert not re.search(r"rate\s*\([^)]*:[^)]*\)", rule["expr"]), rule


def test_requests_are_read_exactly_and_the_rest_as_rates() -> None:
    """rate() would miss an outcome that occurs once on a pod, and a series' first bytes."""
    counters = {name for name in SCRAPED_METRICS if name.endswith(("_total", "_fail", "_timeout"))}
    read = set()
    for rule in records():
        for name in metric_names(rule["expr"]) & counters:
            read.add(name)
            level = rule["record"].split(":")[0]
            label = "proxy_host" if level == "proxy_host" else "proxy_vendor"
            series = f'{name}{{job="sidecars", {label}!=""}}'
            exact = name == "istio_requests_total" or name.startswith("istio_proxy_re")
            if level == "workload_proxy_vendor":  # of the connections that sidecars refuse
                refused = f'rate({name}{{job="sidecars", cluster_name="BlackHoleCluster"}}[5m])'
                assert refused in rule["expr"]
                continue
            form = EXACT.replace("COUNTER", series) if exact else f"rate({series}[5m]))"
            expr = " ".join(rule["expr"].split())
            assert re.sub(r"^sum by \([^)]*\) \(\s?", "", expr) == form, rule["record"]
    assert read == counters


def test_every_selector_of_raw_series_names_its_job() -> None:
    """Another job of the operator's Prometheus may have the same names: every rate would double."""
    for rule in (*rules(), *rules_of(native_histogram_rules([50]))):
        for name in metric_names(rule["expr"]):
            if ":" not in name:
                selectors = re.findall(rf"(?<![\w:]){name}(?![\w:])(\{{[^}}]*\}})?", rule["expr"])
                assert all(re.search(r'\bjob=~?"', text) for text in selectors), rule


def test_rules_read_only_what_binaries_expose_or_is_recorded_before() -> None:
    """A misspelt metric, or one of an older version, is an alert without a voice."""
    known = {*SIDECARS, *PROMETHEUS_OWN, *OTHERS, *limits()}
    known |= {rule["record"] for rule in records()}
    read = {name for rule in rules() for name in metric_names(rule["expr"])}
    assert read - known == set()


def test_failures_are_the_outcomes_a_vendor_can_be_blamed_for() -> None:
    """The failure rule names each blamable outcome, and the program can emit no other."""
    lists = [re.findall(r'proxy_outcome=~"([^"]*)"', rule["expr"]) for rule in records()]
    blamed = [set(text.split("|")) for texts in lists for text in texts]
    assert blamed == [FAILURES] * 4  # by outcome, by workload, by pool and by target
    emitted = set(re.findall(r"[?:] \(?'(\w+)'(?! in )", proxy_outcome(10)))
    assert emitted | {row.outcome for row in SOCKS} == FAILURES | NO_FAILURES


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_tells_what_to_do(alert: dict[str, dict[str, str]]) -> None:
    """The person on call gets a sentence, a number with causes, and a page that says what to do."""
    name, notes = str(alert["alert"]), alert["annotations"]
    severities = {"info"} if name == "Watchdog" else {"critical", "warning"}
    # A template may choose one.
    assert set(re.findall(r"critical|warning|info", alert["labels"]["severity"])) & severities
    assert alert["labels"]["product"] == "proxy-observability"
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["summary"].endswith(".")
    assert "\n" not in notes["summary"]
    assert "{{" in notes["summary"] + notes["description"] or name == "Watchdog", "no number"
    assert " or " in notes["description"], "two causes, please"
    assert notes["runbook_url"] == f"{RUNBOOKS}{name}.md"
