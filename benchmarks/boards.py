"""How long Prometheus takes for a panel over seven days, by records and by raw series.

Two Prometheus are filled with seven days at the usual interval: one with the records of 1,000
sidecars, one with the raw series of a few sidecars. The time of a raw query grows with its series,
so it is taken times 250; whether one server could still answer that is not asked. By records it
does not grow: no record has a label of a sidecar.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.emulated_sidecars import sidecar_series
from benchmarks.measure import Measure
from benchmarks.monitored import SCRAPE_SECONDS, VENDORS, files
from benchmarks.raw_queries import RECORD, NoRawQueryError, raw
from benchmarks.remote_write import Line, write
from components.attribution.groups import CLUSTER_PREFIX
from dashboards.boards import boards
from lab import loopback
from lab.ports import Ports
from lab.processes import LabError, children, require_free
from lab.system import wait_until_ready
from lab.viewer.questions import Questions
from lab.viewer.speed import measured
from settings.loading import parse_settings
from tools.find import NotFoundError, find

Json = dict[str, Any]
Times = Mapping[tuple[str, str], float]
"""Milliseconds by board and panel."""

DAYS = 7
SAMPLES = DAYS * 86_400 // SCRAPE_SECONDS
AT_ONCE = 120  # samples of a series in a request: half an hour, since the head takes an hour back
SIDECARS, RAW_SIDECARS = 1_000, 4
WORKLOADS = 8
"""How many workloads, and teams, the 1,000 sidecars have. Each raw sidecar is one of its own."""
GOAL = 1 / 50
ROUNDS = 3
SETTLE_SECONDS = 120.0
PORT = Ports(21_900).prometheus
SEED = 18


def against_raw() -> list[Measure]:
    """Measure every panel by records, and those whose records are of sidecars by raw series."""
    rules = _rules()
    models = _models()
    begin = int(time.time()) // SCRAPE_SECONDS * SCRAPE_SECONDS - DAYS * 86_400
    asked = {"from": [str(begin * 1000)], "to": [str((begin + DAYS * 86_400) * 1000)]}
    with receiving() as url:
        _fill(url, _raw_lines(), begin)
        on_raw = _times(url, _raw_models(models, rules), asked)
        records = _record_lines(url, models, rules, begin + DAYS * 86_400 - SCRAPE_SECONDS)
    with receiving() as url:
        _fill(url, records, begin)
        on_records = _times(url, models, asked)
    return [*_measures(on_records, on_raw)]


def _measures(on_records: Times, on_raw: Times) -> Iterator[Measure]:
    """Yield a row for each panel that has both, and the figures that are judged."""
    ratios = {}
    for panel, milliseconds in on_records.items():
        if panel not in on_raw:
            print(f"{': '.join(panel)}: {milliseconds:.1f} ms, no raw series", file=sys.stderr)
            continue
        times = SIDECARS // RAW_SIDECARS * on_raw[panel]
        ratios[panel] = milliseconds / times
        yield Measure(
            name=": ".join(panel),
            value=ratios[panel],
            note=f"1/{1 / ratios[panel]:.0f}: {milliseconds:.1f} ms ÷ {times / 1000:.1f} s "
            f"({on_raw[panel]:.1f} ms measured)",
        )
    for name, panel in (
        ("the slowest panel, records ÷ raw", max(ratios, key=lambda one: on_records[one])),
        ("the panel that gains least", max(ratios, key=lambda one: ratios[one])),
    ):
        yield Measure(
            name=name,
            value=ratios[panel],
            goal=GOAL,
            note=f"1/{1 / ratios[panel]:.0f}: {': '.join(panel)}, of {len(ratios)} panels",
        )
    slowest = max(on_records, key=lambda one: on_records[one])
    yield Measure(
        name="the slowest panel of all",
        value=on_records[slowest],
        unit="ms",
        note=f"{': '.join(slowest)}, of {len(on_records)}",
    )


def _rules() -> dict[str, str]:
    """Return the expression of each record."""
    found: dict[str, str] = {}
    for name, text in files(VENDORS).items():
        if name.startswith("rules/"):
            for group in json.loads(text)["groups"]:
                found |= {one["record"]: one["expr"] for one in group["rules"] if "record" in one}
    setup = "proxy_vendor_le:istio_proxy_setup_milliseconds_bucket:rate5m"
    found[setup] = found[setup].partition(" * on (cluster)")[0]  # the factor is 1
    found["proxy_vendor:destination:info"] = 'envoy_no_destination{job="sidecars"}'
    return found


def _models() -> dict[str, Json]:
    vendors = [{"name": name, "cidrs": [f"10.{n}.0.0/16"]} for n, name in enumerate(VENDORS, 1)]
    settings = parse_settings({"cluster": "bench", "vendors": vendors})
    return {one["uid"]: one for one in map(json.loads, boards(settings).values())}


def _raw_models(models: Mapping[str, Json], rules: Mapping[str, str]) -> dict[str, Json]:
    """Return the boards with those panels alone that have raw queries, and these."""
    found = {}
    for uid, model in models.items():
        kept = []
        for panel in model["panels"]:
            asked = panel.get("targets", [])
            with contextlib.suppress(NoRawQueryError):
                targets = [{**one, "expr": raw(one["expr"], rules)} for one in asked]
                if targets != asked:
                    kept.append({**panel, "targets": targets})
        found[uid] = {**model, "panels": kept}
    return found


def _raw_lines() -> list[Line]:
    """Return what is stored of the sidecars: each of a workload and a team of its own."""
    found = []
    for number in range(RAW_SIDECARS):
        own = {
            "job": "sidecars",
            "cluster": "bench",
            "namespace": "crawlers",
            "team": f"team-{number}",
            "pod": f"crawl-{number}",
            "instance": f"crawl-{number}:15090",
        }
        for one in sidecar_series(VENDORS, f"workload-{number}"):
            name, _, text = one.line.partition("{")
            labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
            if name.endswith(("_sum", "_count")):
                continue
            if where := labels.get("cluster_name"):
                labels["proxy_vendor"] = (
                    where.removeprefix(CLUSTER_PREFIX)
                    if where.startswith(CLUSTER_PREFIX)
                    else "outside"
                )
            growth = one.growth * SCRAPE_SECONDS * (1 + number / 10)
            found.append(Line(labels={"__name__": name, **labels, **own}, growth=growth))
    return found


def _record_lines(
    url: str, models: Mapping[str, Json], rules: Mapping[str, str], at: float
) -> list[Line]:
    """Return a line for each series of the records that panels read, by what the raw ones give."""
    chance = random.Random(SEED)
    expressions = [
        target["expr"]
        for model in models.values()
        for panel in model["panels"]
        for target in panel.get("targets", ())
    ]
    names = sorted({found[1] for text in expressions for found in RECORD.finditer(text)})
    lines = []
    for name in names:
        for labels, value in _series_of(url, name, rules, at):
            for copy in range(WORKLOADS // RAW_SIDECARS):
                own = {key: text for key, text in labels.items() if key != "__name__"}
                for key in ("source_workload", "team"):
                    if key in own:
                        own[key] += f"-{copy}"
                wave = tuple(value * chance.uniform(0.8, 1.2) for _ in range(97))
                lines.append(Line(labels={"__name__": name, **own}, wave=wave))
                if not {"source_workload", "team"} & own.keys():
                    break
    return lines


def _series_of(
    url: str, name: str, rules: Mapping[str, str], at: float
) -> list[tuple[dict[str, str], float]]:
    try:
        answer = loopback.query(url, raw(name, rules), at)
        if answer:
            return [(one["metric"], float(one["value"][1])) for one in answer]
    except NoRawQueryError:
        pass
    level = name.partition(":")[0]
    if level == "proxy_vendor":
        return [({"cluster": "bench", "proxy_vendor": one}, 1.0) for one in VENDORS]
    of: Mapping[str, str] = {"cluster": {}, "job": {"job": "sidecars"}}.get(level, {level: "one"})
    return [({"cluster": "bench", **of}, 1.0)]


def _fill(url: str, lines: Sequence[Line], begin: int) -> None:
    started = time.monotonic()
    write(url, lines, begin, SCRAPE_SECONDS, SAMPLES, AT_ONCE)
    _settle(url)
    seconds = time.monotonic() - started
    print(f"{len(lines):,} series of {DAYS} days: {seconds:.0f} s to write", file=sys.stderr)


def _settle(url: str) -> None:
    """Wait until Prometheus has written its blocks and compacts nothing."""
    deadline, last, since = time.monotonic() + SETTLE_SECONDS, "", time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < 10:
        text = loopback.get_text(f"{url}/metrics")
        found = re.findall(r"^prometheus_tsdb_(?:compactions_total|head_chunks) .*", text, re.M)
        if str(found) != last:
            last, since = str(found), time.monotonic()
        time.sleep(1.0)


def _times(url: str, models: Mapping[str, Json], asked: Mapping[str, Sequence[str]]) -> Times:
    """Return the milliseconds of each panel that shows something.

    Raises:
        LabError: Prometheus refuses a query.
    """
    questions = Questions(boards=models, prometheus_url=url, scrape_seconds=float(SCRAPE_SECONDS))
    rounds = [measured(questions, asked) for _ in range(ROUNDS)]
    if wrong := [row for row in rounds[0] if row.error]:
        raise LabError(f"{wrong[0].board}: {wrong[0].error}")
    return {
        (row.board, row.panel): statistics.median(one[n].milliseconds for one in rounds)
        for n, row in enumerate(rounds[0])
        if row.series
    }


@contextlib.contextmanager
def receiving(port: int = PORT) -> Iterator[str]:
    """Run a Prometheus that scrapes nothing, and takes what is written to it."""
    require_free([("127.0.0.1", port)])
    try:
        program = find("prometheus")
    except NotFoundError as error:
        raise LabError(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="boards-") as name, children() as family:
        config = Path(name) / "prometheus.yml"
        config.write_text("{}")
        family.start(
            "prometheus",
            [
                *(str(program), f"--config.file={config}", "--log.level=warn"),
                f"--web.listen-address=127.0.0.1:{port}",
                "--web.enable-remote-write-receiver",
                *(
                    f"--storage.tsdb.path={Path(name) / 'data'}",
                    "--storage.tsdb.retention.time=30d",
                ),
            ],
            log=Path(name) / "prometheus.log",
        )
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(family, "prometheus", f"{url}/-/ready")
        yield url
