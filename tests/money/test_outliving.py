"""Prometheus loses its data, and the ledger has every closed day and the last hour all the same.

Two real replicas of Prometheus with the shipped rules, over sums of the last hours that promtool
wrote, and a real ledger that federates them with its rendered configuration.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from books.prometheus import Prometheus, PrometheusError
from components.ledger.plan import FLAGS, day_rules, ledger_config
from components.prometheus.config import StaticTargets, prometheus_config
from components.prometheus.rules import server_rules
from lab.ledger_blocks import fill
from lab.processes import Children, children
from lab.system import wait_until_ready
from money.ledger import COVERAGE, RECEIVED, SENT, read_book
from money.quantities import Book, Part, Quantities
from settings.loading import parse_settings
from tests.lab.conftest import until
from tests.ports import free_block
from tests.programs import run_to_end
from tools.find import find

pytestmark = pytest.mark.long

SETTINGS = parse_settings(
    {
        "cluster": "lab",
        "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
        "ledger": {"enabled": True},
        "prometheus": {"replicas": 2},
    }
)
SECONDS = 120.0  # for a busy machine; 10 are usual
HOUR = 3600
PART = Part("vendor-a", "residential", "shop", "shops")
LATE = 8
"""From the evaluation of a sum to the full minute after it: groups have an offset of their own."""


@dataclass(frozen=True)
class Running:
    replicas: tuple[Prometheus, Prometheus]
    ledger: Prometheus
    wipe: Callable[[], None]
    """Lose the data of both replicas, which start anew."""


def counted(at: float) -> float:
    """How many bytes crawlers had sent by then; each minute has its own rate."""
    return 2e6 * at + 9e7 * math.sin(at / 700) + 4e7 * math.sin(at / 171)


def sums_of_the_last_hours(now: float, *, hole: tuple[float, float] | None = None) -> Iterator[str]:
    """Yield what the rules of sums.yml had recorded, in OpenMetrics; of a hole nothing."""
    labels = (
        'cluster="lab",source_workload="w",source_workload_namespace="crawlers",team="shop",'
        'proxy_vendor="vendor-a",proxy_pool="residential",proxy_visibility="http",'
        'proxy_result="delivered",proxy_target="shops"'
    )
    times = [at - LATE for at in range(int(now) // HOUR * HOUR - 3 * HOUR, int(now), 15)]
    recorded = [at for at in times if not (hole and hole[0] <= at < hole[1])]
    for at in recorded:
        yield f'cluster:sidecar_series:threshold{{cluster="lab"}} 300 {at}\n'
    for record in (SENT, RECEIVED):
        name = f"workload_{record.replace('sum1h', 'rate5m')}"
        for at in recorded:
            yield f"{name}{{{labels}}} {(counted(at) - counted(at - 300)) / 300!r} {at}\n"
    yield "# EOF\n"


def closed_days() -> Book:
    """Return a Book of the months that Prometheus has long forgotten: up to yesterday."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begin = today - timedelta(days=75)
    hours = [begin + timedelta(hours=number) for number in range(74 * 24)]
    return Book(
        hours={
            at: {PART: Quantities(bytes_sent={"delivered": 1e6 + number})}
            for number, at in enumerate(hours)
        },
        wire={at: {} for at in hours},
        coverage=dict.fromkeys(hours, 1.0),
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("outliving")
    base = free_block(["127.0.0.1"])
    names = ("prometheus-0", "prometheus-1", "ledger")
    at = {name: f"127.0.0.1:{base + number}" for number, name in enumerate(names)}
    targets = StaticTargets(sidecars=(), prometheus=(at["prometheus-0"],), ledger=(at["ledger"],))
    config = prometheus_config(SETTINGS, targets=targets, rule_files=("rules/*.yml",))
    rules = {name: yaml.safe_load(text) for name, text in server_rules(SETTINGS).items()}
    for file in rules.values():
        for group in file["groups"]:
            group["interval"] = "1s"
    now = time.time()
    # An hour that both replicas have but for what one of them missed.
    end = int(now - 300) // HOUR * HOUR
    holes = {"prometheus-0": (end - 2000.0, end - 1000.0), "prometheus-1": None}
    for name, hole in holes.items():
        _write(folder / name, config, rules)
        _fill_text(folder / name, sums_of_the_last_hours(now, hole=hole))
    sources = [at["prometheus-0"], at["prometheus-1"]]
    _write(
        folder / "ledger",
        {
            **ledger_config(SETTINGS, sources, scrape_interval="1s"),
            "rule_files": ["rules/*.yml"],
        },
        {"days.yml": day_rules()},
    )
    fill(folder / "ledger" / "data", closed_days(), "lab", days=True)
    with children() as family:
        for name in names:
            _start(family, folder / name, at[name], FLAGS if name == "ledger" else ())

        def wipe() -> None:
            restarts = []
            for name in holes:
                restarts.append(family.end(name, signal.SIGKILL))
                shutil.rmtree(folder / name / "data")
            for restart in restarts:
                restart()

        one, two, ledger = (Prometheus(f"http://{at[name]}", {}) for name in names)
        for name in names:
            wait_until_ready(family, name, f"http://{at[name]}/-/ready")
        yield Running((one, two), ledger, wipe)


def test_closed_days_and_the_last_hour_outlive_prometheus(running):
    """The one thing that the ledger is for."""
    until(lambda: len(running.ledger.query(COVERAGE)) == 2, SECONDS)
    kept = closed_days()
    begin, end = min(kept.hours), max(kept.hours) + timedelta(hours=1)
    before = read_book(running.ledger, begin, end, by_day=True)
    assert len(before.hours) == 74
    hour = last_hour(running.ledger)

    running.wipe()
    for replica in running.replicas:
        until(lambda replica=replica: answers(replica), SECONDS)
        assert replica.query(f"last_over_time({SENT}[5m])") == []
    assert read_book(running.ledger, begin, end, by_day=True) == before
    assert read_book(running.ledger, begin, end) == kept
    assert last_hour(running.ledger) == hour


def test_the_month_before_the_last_can_be_asked(running):
    """An invoice of September is disputed in November."""
    first = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begin = (first - timedelta(days=1)).replace(day=1)
    month_before = (begin - timedelta(days=1)).replace(day=1)
    known = {at: one for at, one in closed_days().hours.items() if month_before <= at < begin}
    read = read_book(running.ledger, month_before, begin)
    assert known
    assert read.hours == known


def test_an_hour_is_what_was_counted_in_it(running):
    """Of the replica that was there all the time; the other says how much of the hour it has."""
    sent, ends = last_hour(running.ledger)
    assert sent == pytest.approx(counted(ends - LATE) - counted(ends - HOUR - LATE))
    assert sent == pytest.approx(counted(ends) - counted(ends - HOUR), rel=0.005)


def test_prometheus_sees_how_old_the_ledger_is(running):
    query = 'last_over_time(ledger_recorded_hour_ratio{job="ledger"}[1h])'
    until(lambda: running.replicas[0].query(query), SECONDS)


def last_hour(ledger: Prometheus) -> tuple[float, int]:
    """Return the newest hour's bytes, and when that hour ended."""
    whole = f"max without (prometheus_replica) (last_over_time({SENT}[1h]))"
    (found,) = ledger.query(whole)
    (when,) = ledger.query(f"max(max_over_time(timestamp({SENT})[1h:1s]))")
    return float(found["value"][1]), int(float(when["value"][1]) - 300) // HOUR * HOUR


def answers(server: Prometheus) -> bool:
    try:
        return bool(server.query("cluster:sidecar_series:threshold"))
    except PrometheusError:
        return False


def _write(folder: Path, config: dict[str, Any], rules: dict[str, Any]) -> None:
    (folder / "rules").mkdir(parents=True)
    (folder / "prometheus.yml").write_text(json.dumps(config))
    for name, file in rules.items():
        (folder / "rules" / name).write_text(json.dumps(file))


def _fill_text(folder: Path, lines: Iterator[str]) -> None:
    (folder / "sums.om").write_text("".join(lines))
    command = (find("promtool"), "tsdb", "create-blocks-from", "openmetrics", "-q")
    run_to_end(*command, folder / "sums.om", folder / "data")


def _start(family: Children, folder: Path, address: str, flags: tuple[str, ...]) -> None:
    family.start(
        folder.name,
        [
            str(find("prometheus")),
            *("--config.file=prometheus.yml", "--storage.tsdb.path=data"),
            *(f"--web.listen-address={address}", *flags),
        ],
        log=folder / "log",
        folder=folder,
        environment={"POD_NAME": folder.name},
    )
