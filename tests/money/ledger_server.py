"""A ledger that a test fills with a Book, and a real Prometheus that answers for it."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from books.prometheus import Prometheus
from money import ledger
from money.quantities import Book, Part
from tests.ports import free_block
from tools.find import find

HOUR = timedelta(hours=1)
SAMPLES = tuple(timedelta(minutes=minutes) for minutes in (70, 90, 110))
"""After an hour's beginning: its step lasts from minute 65 to minute 125."""

# Blocks of Prometheus begin at whole multiples of their length since 1970. promtool reads its whole
# input once for each, so that blocks of the usual 2 hours would take a day.
BLOCK = timedelta(hours=162)
READY_SECONDS = 120.0


def fill(data: Path, book: Book, cluster: str = "test", replicas: Sequence[str] = ("",)) -> None:
    """Write a Book's hours into Prometheus' data folder, as blocks."""
    hours = sorted(book.coverage.keys() | book.hours.keys() | book.wire.keys())
    blocks: dict[int, list[datetime]] = {}
    for hour in hours:
        blocks.setdefault(int((hour + HOUR).timestamp() // BLOCK.total_seconds()), []).append(hour)
    for chosen in blocks.values():
        text = data.parent / "hours.om"
        with text.open("w", encoding="utf-8") as file:
            for line in open_metrics(book, chosen, cluster, replicas):
                file.write(line)
            file.write("# EOF\n")
        length = f"--max-block-duration={BLOCK // HOUR}h"
        subprocess.run(
            [
                *(find("promtool"), "tsdb", "create-blocks-from", length),
                *("openmetrics", "-q", text, data),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        text.unlink()


def open_metrics(
    book: Book, hours: Sequence[datetime], cluster: str, replicas: Sequence[str]
) -> Iterator[str]:
    """Yield the lines of these hours, by metric, as OpenMetrics wants them."""
    found: dict[str, dict[str, list[tuple[datetime, float]]]] = {}
    for hour in hours:
        for name, labels, value in _samples(book, hour):
            for replica in replicas:
                own = {"cluster": cluster, **labels, "prometheus_replica": replica}
                text = ",".join(f'{key}="{value}"' for key, value in own.items() if value)
                found.setdefault(name, {}).setdefault(text, []).append((hour, value))
    for name, series in found.items():
        for text, values in series.items():
            for hour, value in values:
                for after in SAMPLES:
                    yield f"{name}{{{text}}} {value!r} {(hour + after).timestamp():.0f}\n"


def _samples(book: Book, hour: datetime) -> Iterator[tuple[str, dict[str, str], float]]:
    yield ledger.COVERAGE, {}, book.coverage.get(hour, 1.0)
    for part, quantities in book.hours.get(hour, {}).items():
        labels = _labels(part)
        for name, by_result in (
            (ledger.SENT, quantities.bytes_sent),
            (ledger.RECEIVED, quantities.bytes_received),
        ):
            for result, number in by_result.items():
                visibility = "http" if result else "opaque"
                yield (
                    name,
                    {**labels, "proxy_visibility": visibility, "proxy_result": result},
                    number,
                )
        for outcome, number in quantities.requests.items():
            tunnels = quantities.tunnels.get(outcome, 0.0)
            for visibility, count in (("tunnel", tunnels), ("http", number - tunnels)):
                if count:
                    more = {"proxy_visibility": visibility, "proxy_outcome": outcome}
                    yield ledger.REQUESTS, {**labels, **more}, count
    for vendor, wire in book.wire.get(hour, {}).items():
        labels = {"proxy_vendor": vendor}
        yield ledger.WIRE_SENT, labels, wire.bytes_sent
        yield ledger.WIRE_RECEIVED, labels, wire.bytes_received
        yield ledger.CONNECTIONS, labels, wire.connections


def _labels(part: Part) -> dict[str, str]:
    return {
        "proxy_vendor": part.vendor,
        "proxy_pool": part.product,
        "team": part.team,
        "proxy_target": part.target,
    }


@contextmanager
def serving(data: Path, *flags: str) -> Iterator[Prometheus]:
    """Run Prometheus on a data folder, without anything to scrape, and yield its API."""
    port = free_block(["127.0.0.1"])
    url = f"http://127.0.0.1:{port}"
    config = data.parent / "nothing.yml"
    config.write_text("{}")
    command = [
        *(find("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={data}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=10y", *flags),
    ]
    with (
        (data.parent / "prometheus.log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            _wait(url, process)
            yield Prometheus(url, {})
        finally:
            process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "Prometheus ended; see prometheus.log"
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("Prometheus is not ready")
