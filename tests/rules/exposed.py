"""Names and types that real binaries expose, recorded so that rules can be checked without them.

A file holds a name and its type a line. The tests that run a binary compare; after a new version

    RECORD=1 make test SUITE=lab      # Prometheus, Alertmanager, Envoy
    RECORD=1 make test SUITE=mesh     # istiod

write the files anew: what is gone from them and read by a rule fails in `make test SUITE=rules`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

HERE = Path(__file__).parent
PROMETHEUS = "prometheus-3.16.0-metrics.txt"
ALERTMANAGER = "alertmanager-0.34.2-metrics.txt"
ENVOY = "envoy-1.40.0-metrics.txt"
ISTIOD = "istiod-1.31-metrics.txt"


def exposed(file: str) -> set[str]:
    """Return the names in a recorded file, and what a histogram has for one."""
    types = dict(line.split() for line in (HERE / file).read_text(encoding="utf-8").splitlines())
    return set(types) | {f"{name}_bucket" for name in types if types[name] == "histogram"}


def missing(file: str, page: str, names: str) -> set[str]:
    """Compare a recorded file with a /metrics page; return the lines of it that are not there.

    Args:
        names: those of the page that are of interest, as a regular expression.
    """
    types = re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE)
    lines = {f"{name} {kind}" for name, kind in types if re.fullmatch(names, name)}
    if os.environ.get("RECORD"):
        text = "".join(f"{line}\n" for line in sorted(lines))
        (HERE / file).write_text(text, encoding="utf-8")
    return set((HERE / file).read_text(encoding="utf-8").splitlines()) - lines
