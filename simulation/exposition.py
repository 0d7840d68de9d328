"""Counts as JSON rows, and as metrics that Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key", str, tuple[str, ...], tuple[str, str], tuple[str, str, str])
Samples = Sequence[tuple[str, float]]  # labels with their braces, or nothing; and a value
Family = tuple[str, str, str, Samples]  # name, kind, meaning


def rows(names: Sequence[str], counts: Mapping[Key, int]) -> list[dict[str, object]]:
    """Return an object for each key, whose parts have these names; the count is the last."""
    return [
        {**dict(zip(names, _parts(key), strict=True)), "count": count}
        for key, count in sorted(counts.items())
    ]


def labelled(names: Sequence[str], counts: Mapping[Key, float]) -> Samples:
    """Return a sample for each key, whose parts are the labels' values: none needs escaping."""
    return [
        ("{" + ",".join(f'{n}="{v}"' for n, v in zip(names, _parts(key), strict=True)) + "}", count)
        for key, count in sorted(counts.items())
    ]


def _parts(key: Key) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key


def start_time_family(seconds: float) -> Family:
    """Return the metric by which Prometheus tells a new process from one that stands still."""
    meaning = "Start of the process, in seconds since 1970."
    return "process_start_time_seconds", "gauge", meaning, [("", seconds)]


def exposition(families: Sequence[Family]) -> str:
    """Return the text format of Prometheus."""
    lines: list[str] = []
    for family, kind, meaning, samples in families:
        lines += [f"# HELP {family} {meaning}", f"# TYPE {family} {kind}"]
        lines += [f"{family}{labels} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"
