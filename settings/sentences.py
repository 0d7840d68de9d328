"""What is told about a wrong value: one line with path, value, reason and fix."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from settings.keys import Location, key_at, names_at
from settings.masking import masked

LONGEST_VALUE = 60  # characters of a value that are shown
LONGEST_TEXT = 2000  # and how far they are looked through
SECRET_WORDS = re.compile(r"pass|secret|token|credential|apikey|api_key|private|secure", re.I)


class _Shown(reprlib.Repr):
    """A repr that stays small whatever the value, and keeps secrets to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxdict = 4
        self.maxstring = self.maxother = self.maxlong = 2 * LONGEST_VALUE

    def repr_str(self, x: str, level: int) -> str:
        # Cut first: the search is slow on long texts, and only the head is shown.
        return repr(masked(x[:LONGEST_TEXT]))

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        hidden = {key: "***" if SECRET_WORDS.search(str(key)) else x[key] for key in x}
        return super().repr_dict(hidden, level)


_SHOWN = _Shown()


def shown(value: object, location: Location = ()) -> str:
    """The value as an operator would recognise it, on one line of at most 60 characters."""
    if any(isinstance(part, str) and SECRET_WORDS.search(part) for part in location):
        return "***"
    text = str(value).lower() if isinstance(value, bool) else _SHOWN.repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def unknown_key(name: str, allowed: tuple[str, ...]) -> str:
    close = get_close_matches(name, allowed, n=1) or get_close_matches(
        name.lower().replace("_", ""), [key.lower() for key in allowed], n=1
    )
    if close:
        suggestion = next(key for key in allowed if key.lower() == close[0].lower())
        return f"unknown key; did you mean {suggestion!r}?"
    return f"unknown key; the keys here are {', '.join(allowed)}"


def suggested(sentence: str) -> str | None:
    match = re.search(r"did you mean '(\w+)'", sentence)
    return match[1] if match else None


def sentence_of(error: Mapping[str, Any], location: Location) -> str:
    """Our words for one of pydantic's errors, without the path."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return f"is missing; {example_of(location)}"
    if kind == "extra_forbidden":
        return unknown_key(str(location[-1]), names_at(location[:-1]))
    if value is None:
        return f"is empty; {example_of(location) or 'write a value, or remove it'}"
    return f"{shown(value, location)} {reason_of(kind, value, context)}"


def example_of(location: Location) -> str:
    """How a required key may be written; nothing for keys that may be left out."""
    key = key_at(location)
    if key is None or not key.field.is_required() or not key.field.examples:
        return ""
    return f"write it, like {key.name}: {as_yaml(key.field.examples[0])}"


def reason_of(kind: str, value: Any, context: Mapping[str, Any]) -> str:
    match kind:
        case "value_error":
            return str(context["error"])
        case "model_type" | "dict_type":
            return "is not a mapping; write 'key: value' lines under it"
        case "tuple_type":
            return "is not a list; write [a, b], or one '- item' a line"
        case "string_type":
            return "is not text; put it in quotes"
        case "int_type":
            return "is not a whole number; write digits only, without quotes"
        case "bool_type":
            return "is neither true nor false; write one of them, without quotes"
        case "greater_than_equal":
            return f"is too small; write {context['ge']} or more"
        case "less_than_equal":
            return f"is too large; write {context['le']} or less"
        case "too_short":
            return "is an empty list; write at least one item"
        case "too_long":
            return f"has {len(value)} items; write at most {context['max_length']}"
        case "literal_error":
            words = re.findall(r"'(\w+)'", context["expected"])
            close = get_close_matches(str(value), words, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            return f"is none of {', '.join(words)}{meant or '; write one of them'}"
    # A type of error that no model produces today; a test sees to it that none slips in.
    return "is not accepted; docs/configuration.md says what is"


def as_yaml(value: object) -> str:
    """A small value in YAML's one-line form, as one would type it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_yaml(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith("*"):
        return f'"{value}"'  # bare it would be an alias
    return str(value)
