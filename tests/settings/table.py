"""Reads wrong_values.txt: what is changed in a good stack, and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from settings.loading import SettingsError, parse_settings

TABLE = Path(__file__).parent / "wrong_values.txt"
LEFT_OUT = "(left out)"
TIMES = re.compile(r"\(the first, ([0-9]+) times\)")

COMPLETE = (Path(__file__).parent / "complete_stack.yaml").read_text()

SMALL = """
cluster: dev
vendors: [{name: vendor-a, cidrs: [10.1.0.0/16]}, {name: vendor-b, cidrs: [10.2.0.0/16]}]
"""

OPERATOR = """
prometheus:
  mode: operator
  url: http://prometheus.observability.svc:9090
  operatorLabels: {release: stack}
  loginSecret: prometheus-login
"""

BASES: dict[str, dict[str, Any]] = {
    "complete": yaml.safe_load(COMPLETE),
    "operator": yaml.safe_load(COMPLETE) | yaml.safe_load(OPERATOR),
    "small": yaml.safe_load(SMALL),
}


class Row(NamedTuple):
    base: str
    changes: dict[str, Any]
    said: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.base}: {yaml.safe_dump(self.changes, default_flow_style=True, width=10000)}"


def rows() -> list[Row]:
    found = []
    _, *sections = re.split(r"^== (\w+):.*\n", TABLE.read_text(), flags=re.MULTILINE)
    for base, blocks in zip(sections[::2], sections[1::2], strict=True):
        for block in blocks.strip().split("\n\n"):
            change, *said = re.split(r"^→ ", block, flags=re.MULTILINE)
            found.append(Row(base, yaml.safe_load(change), tuple(line.strip() for line in said)))
    return found


def changed(base: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stack with values put at paths such as `vendors[0].name`."""
    stack = deepcopy(BASES[base])
    for path, value in changes.items():
        parts = re.findall(r"'[^']*'|[^.\[\]']+", path)
        *way, last = (int(part) if part.isdecimal() else part.strip("'") for part in parts)
        holder: Any = stack
        for part in way:
            holder = holder[part]
        if value == LEFT_OUT:
            del holder[last]
        elif times := TIMES.fullmatch(str(value)):
            holder[last] = holder[last][:1] * int(times[1])
        else:
            holder[last] = value
    return stack


def findings_of(base: str, changes: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        parse_settings(changed(base, changes))
    except SettingsError as error:
        return error.findings
    return ()
