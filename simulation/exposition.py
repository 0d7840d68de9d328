"""Metrics as Prometheus scrapes them."""

from __future__ import annotations

from collections.abc import Sequence

Samples = Sequence[tuple[str, float]]  # labels with their braces, or nothing; and a value
Family = tuple[str, str, str, Samples]  # name, kind, meaning
Families = Sequence[Family]


def start_time_family(seconds: float) -> Family:
    """By it a scraper tells a new process from one whose counters stand still."""
    meaning = "Start of the process, in seconds since 1970."
    return "process_start_time_seconds", "gauge", meaning, [("", seconds)]


def exposition(families: Families) -> str:
    """The text format of Prometheus."""
    lines: list[str] = []
    for family, kind, meaning, samples in families:
        lines += [f"# HELP {family} {meaning}", f"# TYPE {family} {kind}"]
        lines += [f"{family}{labels} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"
