"""Metrics in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

KIND = "text/plain; version=0.0.4; charset=utf-8"
LONGEST_LABEL = 200
"""Characters. Names in a stack file have at most 63; what is longer comes from somewhere else."""


class Sample(NamedTuple):
    labels: Mapping[str, str]
    value: float | Decimal


class Family(NamedTuple):
    name: str
    meaning: str
    samples: Sequence[Sample]
    kind: str = "gauge"


def text_of(families: Iterable[Family]) -> str:
    """Write families; one without samples is left out."""
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines += [
                f"# HELP {family.name} {family.meaning}",
                f"# TYPE {family.name} {family.kind}",
                *(f"{family.name}{_braces(labels)} {float(n)}" for labels, n in family.samples),
            ]
    return "".join(f"{line}\n" for line in lines)


def _braces(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items() if value)
    return pairs and "{" + pairs + "}"


def _escaped(value: str) -> str:
    """Escape a value that the ledger gave: JSON can hold what neither a line nor UTF-8 can."""
    cut = value[:LONGEST_LABEL].encode("utf-8", "replace").decode("utf-8")
    return cut.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
