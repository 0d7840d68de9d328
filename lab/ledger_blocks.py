"""A Book's hours as blocks of Prometheus: a ledger that begins with a past."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from money import ledger
from money.quantities import Book, Part
from tools.find import find

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SAMPLES = tuple(timedelta(minutes=minutes) for minutes in (70, 85, 100, 115))
"""After an hour's beginning: its step lasts from minute 65 to minute 125."""
DAY_SAMPLES = tuple(timedelta(hours=hours) for hours in (28, 34, 40, 46))
"""After a day's beginning: its step lasts from hour 26 to hour 50."""

# Blocks of Prometheus begin at whole multiples of their length since 1970. promtool reads its whole
# input once for each, so that blocks of the usual 2 hours would take a day.
BLOCK_SECONDS = 162 * 3600


def fill(
    data: Path,
    book: Book,
    cluster: str = "test",
    replicas: Sequence[str] = ("",),
    *,
    days: bool = False,
) -> None:
    """Write a Book's hours into Prometheus' data folder, as blocks.

    Args:
        days: whether to write the days too, as the ledger records them; the Book begins with one.
    """
    hours = sorted(book.coverage)
    blocks: dict[int, Samples] = defaultdict(lambda: defaultdict(list))
    for hour in hours:
        for name, labels, value in _sums(book, hour):
            for replica in replicas:
                own = {**labels, "cluster": cluster, "prometheus_replica": replica}
                _add(blocks, _series(name, own), hour, SAMPLES, value)
    # A day is one of which every hour may be known.
    for number in range((hours[-1] + HOUR - hours[0]) // DAY if days else 0):
        day = hours[0] + number * DAY
        for series, value in _day_sums(book, day, cluster).items():
            _add(blocks, series, day, DAY_SAMPLES, value)
    for samples in blocks.values():
        _write_block(data, samples)


Samples = dict[str, list[str]]
"""The times and values of each series, as OpenMetrics wants them."""


def _add(
    blocks: dict[int, Samples],
    series: str,
    begin: datetime,
    after: Sequence[timedelta],
    value: float,
) -> None:
    for moment in after:
        at = round((begin + moment).timestamp())
        blocks[at // BLOCK_SECONDS][series].append(f"{value!r} {at}\n")


def _write_block(data: Path, samples: Samples) -> None:
    text = data.parent / "hours.om"
    with text.open("w", encoding="utf-8") as file:
        for series in sorted(samples):  # all of a metric together
            for sample in samples[series]:
                file.write(f"{series} {sample}")
        file.write("# EOF\n")
    length = f"--max-block-duration={BLOCK_SECONDS // 3600}h"
    command = [str(find("promtool")), "tsdb", "create-blocks-from", length, "openmetrics", "-q"]
    subprocess.run([*command, text, data], check=True, stdout=subprocess.DEVNULL)
    text.unlink()


def _day_sums(book: Book, day: datetime, cluster: str) -> dict[str, float]:
    """Return the sums of a day's hours under the names of days, by series."""
    sums: dict[str, float] = defaultdict(float)
    for number in range(24):
        hour = day + number * HOUR
        for name, labels, value in _sums(book, hour) if hour in book.coverage else ():
            series = _series(ledger.day_record(name), {**labels, "cluster": cluster})
            sums[series] += value / 24 if name == ledger.COVERAGE else value
    return sums


def _series(name: str, labels: Mapping[str, str]) -> str:
    matchers = ",".join(f'{key}="{text}"' for key, text in labels.items() if text)
    return f"{name}{{{matchers}}}"


def _sums(book: Book, hour: datetime) -> Iterator[tuple[str, dict[str, str], float]]:
    yield ledger.COVERAGE, {}, book.coverage[hour]
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


def _labels(part: Part) -> dict[str, str]:
    return {
        "proxy_vendor": part.vendor,
        "proxy_pool": part.product,
        "team": part.team,
        "proxy_target": part.target,
    }
