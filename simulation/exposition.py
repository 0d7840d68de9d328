"""Counts as JSON rows, and as metrics that Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key", str, tuple[()], tuple[str, str], tuple[str, str, str])
Samples = Sequence[tuple[str, float]]  # labels with their braces, or nothing; and a value
Family = tuple[str, str, str, Samples]  # name, kind, meaning


def rows(names: Sequence[str], counts: Mapping[Key, int]) -> list[dict[str, object]]:
    """Return an object for each key, whose parts have these names; the count is the last."""
    return [
        {**dict(zip(names, _parts(key), strict=True)), "count": count}
        for key, count in sorted(counts.items())
    ]


WIRE_COLUMNS = ("connections", "bytes_sent", "bytes_received")


def wire_rows(names: Sequence[str], lines: Mapping[Key, Sequence[int]]) -> list[dict[str, object]]:
    """Return an object for each key, with its connections, bytes sent and bytes received."""
    columns, found = [*names, *WIRE_COLUMNS], list[dict[str, object]]()
    for key, line in sorted(lines.items()):
        found.append(dict(zip(columns, _parts(key) + tuple(line), strict=True)))
    return found


def labelled(names: Sequence[str], counts: Mapping[Key, float]) -> Samples:
    """Return a sample for each key, whose parts are the labels' values: none needs escaping."""
    return [
        (_braces(zip(names, _parts(key), strict=True)), count)
        for key, count in sorted(counts.items())
    ]


def _braces(labels: Iterable[tuple[str, str]]) -> str:
    found = ",".join(f'{name}="{value}"' for name, value in labels)
    return found and "{" + found + "}"


def _parts(key: Key) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key


def counter(name: str, meaning: str, names: Sequence[str], counts: Mapping[Key, float]) -> Family:
    """Return a counter with labels of these names; no names give a sample without labels."""
    return f"{name}_total", "counter", meaning, labelled(names, counts)


def gauge(name: str, meaning: str, value: float) -> Family:
    return name, "gauge", meaning, [("", value)]


def start_time_family(seconds: float) -> Family:
    """Return the metric by which Prometheus tells a new process from one that stands still."""
    meaning = "Start of the process, in seconds since 1970."
    return gauge("process_start_time_seconds", meaning, seconds)


def exposition(families: Sequence[Family]) -> str:
    """Return the text format of Prometheus."""
    lines: list[str] = []
    for family, kind, meaning, samples in families:
        lines += [f"# HELP {family} {meaning}", f"# TYPE {family} {kind}"]
        lines += [f"{family}{labels} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"
