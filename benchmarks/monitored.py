"""A real Prometheus with the shipped scrape and every rule, over emulated sidecars."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.emulated_sidecars import Crowd
from components.prometheus.config import StaticTargets, prometheus_config
from components.prometheus.stack_rules import stack_rules
from lab import loopback
from lab.processes import Children, LabError, children, require_free
from lab.prometheus import RULES
from lab.system import wait_until_ready
from settings.loading import parse_settings
from tools.find import NotFoundError, find

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
SIDECARS_PORT, PROMETHEUS_PORT = 21_601, 21_602
SCRAPE_SECONDS = 15
VENDORS = tuple(f"vendor-{letter}" for letter in "abcde")


@dataclass(frozen=True, kw_only=True)
class Monitored:
    """Prometheus and what it scrapes; both answer."""

    prometheus_pid: int
    sidecars_pid: int
    family: Children

    def value(self, expression: str) -> float:
        """Return the only value of an expression, 0 for none."""
        found = self.query(expression)
        return found[0][1] if found else 0.0

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        found = loopback.query(f"http://127.0.0.1:{PROMETHEUS_PORT}", expression)
        return [(one["metric"], float(one["value"][1])) for one in found]

    def history(self, record: str) -> list[tuple[Mapping[str, str], list[tuple[float, float]]]]:
        """Return all samples of a record: (seconds, value)."""
        found = loopback.query(f"http://127.0.0.1:{PROMETHEUS_PORT}", f"{record}[1d]")
        return [
            (one["metric"], [(time, float(value)) for time, value in one["values"]])
            for one in found
        ]

    def missed_evaluations(self) -> int:
        """Return how often rules were not evaluated because they still were."""
        return int(self.value("sum(prometheus_rule_group_iterations_missed_total)"))

    def ledger(self) -> Json:
        answer: Json = loopback.get_json(f"http://127.0.0.1:{SIDECARS_PORT}/ledger")
        return answer

    def stop_births(self) -> None:
        loopback.get_text(f"http://127.0.0.1:{SIDECARS_PORT}/stop")

    def wait(self, seconds: float) -> None:
        """Let time pass; a child that dies ends it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.family.check()
            time.sleep(min(0.5, max(0.0, end - time.monotonic())))


def files(vendors: Sequence[str], *, ours: bool) -> dict[str, str]:
    """Return Prometheus' files by name; with `ours` false, of one that scrapes all Istio has."""
    config = prometheus_config(
        cluster="bench",
        scrape_interval_seconds=SCRAPE_SECONDS,
        crawler_namespaces=["crawlers"],
        monitoring_namespace="monitoring",
        istio_namespace="istio-system",
        targets=StaticTargets(sidecars=(), prometheus=(f"127.0.0.1:{PROMETHEUS_PORT}",)),
        rule_files=("rules/*.yml",),
    )
    sidecars = next(job for job in config["scrape_configs"] if job["job_name"] == "sidecars")
    del sidecars["static_configs"], sidecars["metrics_path"]
    sidecars["http_sd_configs"] = [
        {"url": f"http://127.0.0.1:{SIDECARS_PORT}/targets", "refresh_interval": "1s"}
    ]
    if not ours:
        keep = {"action": "keep", "source_labels": ["__name__"], "regex": "istio_.+"}
        sidecars["metric_relabel_configs"] = [keep]
    stack = {
        "cluster": "bench",
        "vendors": [
            {"name": vendor, "cidrs": [f"10.{number}.0.0/16"]}
            for number, vendor in enumerate(vendors, 1)
        ],
    }
    rules = {file.name: file.read_text() for file in sorted(RULES.glob("*.yml"))}
    rules |= {name: json.dumps(one) for name, one in stack_rules(parse_settings(stack)).items()}
    if not ours:
        rules = {"istio.yml": json.dumps(ISTIO_RULES)}
    return {
        "prometheus.yml": json.dumps(config, indent=1),
        **{f"rules/{name}": text for name, text in rules.items()},
    }


# The least that answers the same questions from Istio's own statistics.
ISTIO_RULES = {
    "groups": [
        {
            "name": "istio",
            "rules": [
                {
                    "record": f"{level}:istio_requests:rate5m",
                    "expr": f"sum by ({labels}) (rate(istio_requests_total[5m]))",
                }
                for level, labels in (
                    ("vendor", "destination_service"),
                    ("vendor_code", "destination_service, response_code"),
                    ("workload_vendor", "source_workload, destination_service"),
                )
            ]
            + [
                {
                    "record": f"vendor:istio_{name}_bucket:rate5m",
                    "expr": f"sum by (destination_service, le) (rate(istio_{name}_bucket[5m]))",
                }
                for name in ("request_duration_milliseconds", "request_bytes", "response_bytes")
            ],
        }
    ]
}


@contextlib.contextmanager
def monitored(crowds: Sequence[Crowd], *, ours: bool = True) -> Iterator[Monitored]:
    """Run both for the length of the block.

    Raises:
        LabError: a port is taken, a program is missing, or one of them died.
    """
    require_free([("127.0.0.1", port) for port in (SIDECARS_PORT, PROMETHEUS_PORT)])
    try:
        prometheus = find("prometheus")
    except NotFoundError as error:
        raise LabError(str(error)) from None
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        vendors = sorted({vendor for crowd in crowds for vendor in crowd.vendors})
        for file, text in files(vendors, ours=ours).items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text)
        plan = folder / "crowds.json"
        plan.write_text(json.dumps([asdict(crowd) for crowd in crowds]))
        prometheus_pid = family.start(
            "prometheus",
            [
                *(str(prometheus), f"--config.file={folder / 'prometheus.yml'}"),
                f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}",
                *(f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"),
            ],
            log=folder / "prometheus.log",
            environment={"POD_NAME": "prometheus-0"},
        )
        wait_until_ready(family, "prometheus", f"http://127.0.0.1:{PROMETHEUS_PORT}/-/ready")
        sidecars_pid = family.start(
            "sidecars",
            [
                *(sys.executable, "-m", "benchmarks.emulated_sidecars"),
                *("--port", str(SIDECARS_PORT), "--plan", str(plan)),
            ],
            log=folder / "sidecars.log",
            environment={"PYTHONPATH": str(ROOT)},
        )
        wait_until_ready(family, "sidecars", f"http://127.0.0.1:{SIDECARS_PORT}/targets")
        yield Monitored(prometheus_pid=prometheus_pid, sidecars_pid=sidecars_pid, family=family)
