"""A board's variables as Grafana fills them into PromQL.

Escapes are those of Grafana's Prometheus data source, and more: whoever opens the page chooses
values, never the query. A value is always part of a string.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
Chosen = tuple[str, ...]
"""The values of one variable, of which any may be; none means all."""

ALL = "$__all"
NAMED = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
LABEL_VALUES = re.compile(r"label_values\((?:(.+),\s*)?(\w+)\s*\)", re.DOTALL)

_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"' + r"|'(?:[^'\\\n]|\\.)*'")
_SPECIAL = re.compile(r"[\\$^*{}\[\]+?.()|]")


def chosen(asked: Sequence[str]) -> Chosen:
    """Return what is asked for of a variable: all of its values where nothing is."""
    return () if ALL in asked else tuple(filter(None, asked))


def filled(expression: str, values: Mapping[str, Chosen]) -> str:
    """Return PromQL without variables.

    Raises:
        ValueError: a name is no variable of the board, or stands outside a string.
    """

    def in_string(string: re.Match[str]) -> str:
        return NAMED.sub(lambda found: _text_of(found, values, string[0][0]), string[0])

    if outside := NAMED.search(_STRING.sub("", expression)):
        raise ValueError(f"{outside[0]} stands outside a string")
    return _STRING.sub(in_string, expression)


def _text_of(found: re.Match[str], values: Mapping[str, Chosen], quote: str) -> str:
    name = found[1] or found[2]
    if name not in values:
        raise ValueError(f"${name} is no variable of the board")
    escaped = [_in_string(_SPECIAL.sub(r"\\\g<0>", one), quote) for one in values[name]]
    if not escaped:
        return ".*"
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _in_string(value: str, quote: str) -> str:
    """Return the value so that a PromQL string in these quotes goes on after it."""
    return value.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
