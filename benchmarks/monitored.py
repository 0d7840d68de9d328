"""A real Prometheus with the shipped scrape and every rule, above emulated sidecars."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.emulated_sidecars import Fleet
from components.attribution.standalone import STAT_SCOPE
from lab import loopback
from lab.ports import Ports
from lab.processes import Children, LabError, children, require_free
from lab.prometheus import lab_prometheus_files
from lab.system import wait_until_ready
from settings.loading import parse_settings
from tools.find import NotFoundError, find

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
PORTS = Ports(21_600)
SIDECARS_URL = f"http://127.0.0.1:{PORTS.envoy_admin}"
PROMETHEUS_URL = f"http://127.0.0.1:{PORTS.prometheus}"
SCRAPE_SECONDS = 15
VENDORS = tuple(f"vendor-{letter}" for letter in "abcde")


@dataclass(frozen=True, kw_only=True)
class Monitored:
    """A Prometheus that is ready, and its sidecars."""

    prometheus_pid: int
    family: Children

    def value(self, expression: str) -> float:
        """Return the only value of an expression, 0 if it has none."""
        found = loopback.query(PROMETHEUS_URL, expression)
        return float(found[0]["value"][1]) if found else 0.0

    def history(self, record: str) -> list[tuple[Mapping[str, str], list[tuple[float, float]]]]:
        """Return all samples of a record, as labels and (seconds, value) of each series."""
        return [
            (series["metric"], [(seconds, float(value)) for seconds, value in series["values"]])
            for series in loopback.query(PROMETHEUS_URL, f"{record}[1d]")
        ]

    def own_metric(self, name: str) -> float:
        """Return the sum of a metric of Prometheus' own that the shipped scrape drops."""
        lines = loopback.get_text(f"{PROMETHEUS_URL}/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))

    def totals(self) -> Json:
        answer: Json = loopback.get_json(f"{SIDECARS_URL}/totals")
        return answer

    def stop_sidecars(self) -> None:
        """Let the sidecars end without successors."""
        loopback.get_text(f"{SIDECARS_URL}/stop")

    def wait(self, seconds: float) -> None:
        """Wait; raise if a process ends meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.family.check()
            time.sleep(min(0.5, max(0.0, end - time.monotonic())))


def number_from(name: str, default: int) -> int:
    """Return a whole number from the environment: DURATION in seconds, or SIDECARS.

    Raises:
        LabError: the variable is set to something else.
    """
    text = os.environ.get(name) or str(default)
    if not re.fullmatch(r"\d{1,5}", text) or not int(text):
        raise LabError(f"{name}: {text!r} is no whole number above 0; write one, such as 600")
    return int(text)


def files(vendors: Sequence[str]) -> dict[str, str]:
    """Return Prometheus' files by name."""
    stack = {
        "cluster": "bench",
        # So that hours are kept, and Prometheus has the rules of money.
        "ledger": {"enabled": True},
        "vendors": [
            {"name": vendor, "cidrs": [f"10.{number}.0.0/16"]}
            for number, vendor in enumerate(vendors, 1)
        ],
    }
    found = lab_prometheus_files(parse_settings(stack), PORTS, factor=1)
    config = json.loads(found["prometheus.yml"])
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    sidecars = jobs["sidecars"]
    del sidecars["static_configs"], sidecars["metrics_path"]
    # The lab's own rule translates what upstream's Envoy exposes; it would cost CPU here.
    lab_only = f"envoy_{STAT_SCOPE}_(.+)"
    shipped = [r for r in sidecars["metric_relabel_configs"] if r.get("regex") != lab_only]
    sidecars["metric_relabel_configs"] = shipped
    labels = {"cluster": "bench", "team": "crawlers"}
    sidecars["relabel_configs"] = [
        {"target_label": name, "replacement": value} for name, value in labels.items()
    ]
    sidecars["http_sd_configs"] = [{"url": f"{SIDECARS_URL}/targets", "refresh_interval": "1s"}]
    config["scrape_configs"] = [sidecars, jobs["prometheus"]]
    return found | {"prometheus.yml": json.dumps(config, indent=1)}


def start_prometheus(
    family: Children, program: Path, folder: Path, texts: Mapping[str, str], port: int
) -> int:
    """Start a Prometheus with these files below `folder`; return its process once it is ready."""
    name = f"prometheus-{port}"
    own = folder / name
    for file, text in texts.items():
        (own / file).parent.mkdir(exist_ok=True, parents=True)
        (own / file).write_text(text)
    pid = family.start(
        name,
        [
            *(str(program), f"--config.file={own / 'prometheus.yml'}"),
            f"--web.listen-address=127.0.0.1:{port}",
            *(f"--storage.tsdb.path={own / 'data'}", "--log.level=warn"),
        ],
        log=folder / f"{name}.log",
        environment={"POD_NAME": "prometheus-0"},
    )
    wait_until_ready(family, name, f"http://127.0.0.1:{port}/-/ready")
    return pid


@contextlib.contextmanager
def monitored(
    fleets: Sequence[Fleet], texts: Mapping[str, str] | None = None
) -> Iterator[Monitored]:
    """Run Prometheus and the sidecars for the length of the block.

    Args:
        texts: Prometheus' files by name; None for those that are shipped.

    Raises:
        LabError: a port is taken, a program is missing, or a process ended.
    """
    require_free([("127.0.0.1", port) for port in (PORTS.envoy_admin, PORTS.prometheus)])
    try:
        prometheus = find("prometheus")
    except NotFoundError as error:
        raise LabError(str(error)) from None
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        vendors = sorted({vendor for fleet in fleets for vendor in fleet.vendors})
        plan = folder / "fleets.json"
        plan.write_text(json.dumps([asdict(fleet) for fleet in fleets]))
        pid = start_prometheus(
            family, prometheus, folder, texts or files(vendors), PORTS.prometheus
        )
        emulator = [sys.executable, "-m", "benchmarks.emulated_sidecars"]
        family.start(
            "sidecars",
            [*emulator, "--port", str(PORTS.envoy_admin), "--plan", str(plan)],
            log=folder / "sidecars.log",
            environment={"PYTHONPATH": str(ROOT)},
        )
        wait_until_ready(family, "sidecars", f"{SIDECARS_URL}/targets")
        yield Monitored(prometheus_pid=pid, family=family)
