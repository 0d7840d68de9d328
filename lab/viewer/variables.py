"""A board's variables as Grafana fills them into PromQL.

Escapes are those of Grafana's Prometheus data source, and more: whoever opens the page chooses
values, never the query. A value is always part of a string, an option of the board, or one word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

ALL = "$__all"
NAMED = re.compile(r"\$(?:(\w+)|\{(\w+)(?::(\w+))?\})")
LABEL_VALUES = re.compile(r"label_values\((?:(.+),\s*)?(\w+)\s*\)", re.DOTALL)

_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"' + r"|'(?:[^'\\\n]|\\.)*'")
_SPECIAL = re.compile(r"[\\$^*{}\[\]+?.()|]")
_WORD = re.compile(r"[\w:]*")


class UnknownVariableError(ValueError):
    """A query names a variable that the board does not have."""


@dataclass(frozen=True)
class Values:
    """What is chosen for one variable."""

    chosen: tuple[str, ...]
    is_list: bool
    """Whether the variable allows several: Grafana then treats a value as a regular expression."""
    is_raw: bool = False
    """Whether the board itself gives the text: an option, or what stands for all."""


def chosen(variable: Json, asked: Sequence[str]) -> Values:
    """Return a variable's value: what is asked for, else what the board says.

    Raises:
        ValueError: an option is asked for that the variable does not have.
    """
    name, kind = variable["name"], variable["type"]
    is_list = bool(variable.get("multi") or variable.get("includeAll"))
    wanted = tuple(asked) or _as_list(variable.get("current", {}).get("value", ""))
    if variable.get("includeAll") and (ALL in wanted or "All" in wanted or not any(wanted)):
        # Without its own text for it, "all" is a list of those that there are; the pages send it.
        return Values((variable.get("allValue") or ".*",), is_list, is_raw=True)
    if kind in ("custom", "constant", "interval"):
        known = options(variable)
        wanted = tuple(filter(None, wanted)) or known[:1]
        if strange := [one for one in wanted if one not in known]:
            raise ValueError(f"var-{name}: {strange[0][:60]!r} is no option of the board")
        return Values(wanted, is_list, is_raw=not is_list)
    return Values(wanted or ("",), is_list)


def options(variable: Json) -> tuple[str, ...]:
    """Return the values of a custom, constant or interval variable."""
    text = variable.get("query", "")
    parts = [part.strip() for part in re.split(r"(?<!\\),", text if isinstance(text, str) else "")]
    # "Label : value" shows another text.
    return tuple(part.rsplit(" : ", 1)[-1].strip() for part in parts if part)


def filled(expression: str, values: Mapping[str, Values], built_in: Mapping[str, str]) -> str:
    """Return PromQL without variables.

    Raises:
        UnknownVariableError: a name that is neither the board's nor Grafana's own.
        ValueError: a value outside a string is more than a word.
    """

    def fill(text: str, quote: str) -> str:
        def replaced(found: re.Match[str]) -> str:
            name, form = found[1] or found[2], found[3] or ""
            if name in built_in:
                return built_in[name]
            if name not in values:
                raise UnknownVariableError(f"${name} is no variable of the board")
            return _text_of(name, values[name], form, quote)

        return NAMED.sub(replaced, text)

    parts, position = [], 0
    for string in _STRING.finditer(expression):
        parts.append(fill(expression[position : string.start()], ""))
        parts.append(fill(string[0], string[0][0]))
        position = string.end()
    parts.append(fill(expression[position:], ""))
    return "".join(parts)


def _text_of(name: str, values: Values, form: str, quote: str) -> str:
    if values.is_raw:
        return "|".join(values.chosen)
    if not quote:
        if strange := [one for one in values.chosen if not _WORD.fullmatch(one)]:
            raise ValueError(f"var-{name}: {strange[0][:60]!r} is more than one word")
        return ",".join(values.chosen)
    if form in ("raw", "csv") or not values.is_list:
        return ",".join(_in_string(one, quote) for one in values.chosen)
    escaped = [_in_string(_SPECIAL.sub(r"\\\g<0>", one), quote) for one in values.chosen]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _in_string(value: str, quote: str) -> str:
    """Return the value so that a PromQL string in these quotes goes on after it."""
    return value.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")


def _as_list(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)
