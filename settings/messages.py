"""What an operator reads about a wrong value: one line with path, value, reason and remedy."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import ValidationError

from settings.masking import quoted, quoted_address, without_quotes
from settings.schema import key_at, keys, names_at, path_of
from settings.section import Location, Problem, SectionError

LONGEST_VALUE = 60  # characters of a value that are printed
SECRET_WORDS = re.compile(r"pass|pwd|secret|token|credential|apikey|api_key|private|secure", re.I)


class _Printed(reprlib.Repr):
    """A repr that stays small whatever the value, and prints no secret."""

    def __init__(self, quote: Callable[[str], str]) -> None:
        super().__init__()
        self.quote = quote
        self.maxlevel = 3
        self.maxlist = self.maxdict = 4
        self.maxstring = self.maxother = self.maxlong = 2 * LONGEST_VALUE

    def repr_str(self, x: str, level: int) -> str:
        return self.quote(x)

    def repr_bytes(self, x: bytes, level: int) -> str:
        return f"{len(x)} bytes"  # YAML decodes what follows `!!binary`

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        hidden = {key: "***" if SECRET_WORDS.search(str(key)) else x[key] for key in x}
        return super().repr_dict(hidden, level)


_PRINTED = _Printed(quoted)
_PRINTED_ADDRESS = _Printed(quoted_address)
# Where lists that vendors hand out are pasted.
KEYS_OF_ADDRESSES = {"cidrs", "range", "hosts", "endpoint", "endpoints", "address"}
KEYS_OF_ADDRESSES |= {"virtualAddress", "ports", "httpPorts"}


def of_addresses(value: object, location: Location) -> bool:
    """Whether the value stands where an address, a host or a list of them is wanted."""
    if location[-2:-1] == ("endpoints",):
        return value != location[-1]  # else it is a key
    if location[-3:-2] == ("hosts",) and location[-1] == "name":
        return True
    if isinstance(value, str) and location[:-1] in (("vendors",), ("destinations",)):
        return True  # a list pasted in place of the mappings
    last = next((part for part in reversed(location) if isinstance(part, str)), "")
    return last in KEYS_OF_ADDRESSES


def printed(value: object, location: Location = ()) -> str:
    """The value as an operator would recognise it, on one line of at most 60 characters."""
    if any(isinstance(part, str) and SECRET_WORDS.search(part) for part in location):
        return "***"
    form = _PRINTED_ADDRESS if of_addresses(value, location) else _PRINTED
    text = str(value).lower() if isinstance(value, bool) else form.repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def problems_of(error: ValidationError) -> Iterator[Problem]:
    """Each mistake of a stack file once, in the order of the models' keys."""
    problems: list[tuple[str, Problem]] = []
    for detail in error.errors(include_url=False):
        kind, location = detail["type"], location_of(detail)
        # Pydantic reports a list whose items are all wrong as empty too.
        if kind == "too_short" and detail["input"]:
            continue
        # Under an encrypted section pydantic misses keys; that it is encrypted is enough.
        if kind == "missing" and encrypted(detail["input"]):
            continue
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, SectionError):
            problems += [
                (kind, Problem((*location, *problem.at), problem.text))
                for problem in cause.problems
            ]
        else:
            problems.append((kind, problem_of(detail, location)))
    misspelt = {
        (*problem.at[:-1], meant[1])
        for _, problem in problems
        if (meant := re.search(r"did you mean '(\w+)'", problem.text))
    }
    for kind, problem in problems:
        # A misspelt key is one mistake, though the right one is missing for it.
        if kind != "missing" or problem.at not in misspelt:
            yield problem


def location_of(detail: Mapping[str, Any]) -> Location:
    """Pydantic's location without the tags of unions, and without the mark of a mapping's key."""
    loc = detail["loc"]
    if loc[-1] == "[key]" and detail["type"] != "extra_forbidden":
        loc = loc[:-1]
    return tuple(part for part in loc if not tag_in(part))


def tag_in(part: int | str) -> str:
    return part[1:-1] if isinstance(part, str) and re.fullmatch(r"<[a-z]+>", part) else ""


def encrypted(value: object) -> bool:
    return isinstance(value, Mapping) and list(value) == ["secure"]


def problem_of(detail: Mapping[str, Any], location: Location) -> Problem:
    """Our words for one of pydantic's errors."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in ("kind", "mode"):  # which model reads the section depends on this key
        return problem_of_kind(kind, value, detail["msg"], location)
    if kind == "extra_forbidden" and location[-1] == "secure":
        location, value = location[:-1], {"secure": value}
    if encrypted(value):
        return Problem(
            location,
            "is encrypted; no key but alertmanagerSecrets.NAME is secret, write the value in clear",
        )
    if kind == "missing":
        return Problem(location, f"is missing; {example_of(location)}")
    if kind == "extra_forbidden":
        return Problem(location, unknown_key(location, detail["loc"]))
    if value is None:
        return Problem(
            location, f"is empty; {example_of(location) or 'write a value, or remove it'}"
        )
    return Problem(
        location, f"{printed(value, location)} {reason_of(kind, value, location, context)}"
    )


def problem_of_kind(key: str, value: Any, words: str, location: Location) -> Problem:
    if not isinstance(value, Mapping):
        text = f"{printed(value, location)} {REASONS['model_type']}"
        return Problem(location, "is empty; write a value, or remove it" if value is None else text)
    at = (*location, key)
    if key not in value:
        return Problem(at, f"is missing; write one of {words}")
    return Problem(at, f"{printed(value[key])} is none of {words}; write one of them")


def unknown_key(location: Location, loc: Location) -> str:
    name, allowed = str(location[-1]), names_at(location[:-1])
    tag = next((tag for part in reversed(loc) if (tag := tag_in(part))), "")
    if tag and path_of(location) in keys():  # known to a section of another kind
        key = "mode" if tag in ("server", "operator") else "kind"
        return f"has no effect with {key}: {tag}; remove it, or correct {key}"
    close = get_close_matches(name, allowed, n=1) or get_close_matches(
        name.lower().replace("_", ""), [key.lower() for key in allowed], n=1
    )
    if close:
        meant = next(key for key in allowed if key.lower() == close[0].lower())
        return f"unknown key; did you mean {meant!r}?"
    return f"unknown key; the keys here are {', '.join(allowed)}"


def example_of(location: Location) -> str:
    """How a required key may be written; nothing for keys that may be left out."""
    key = key_at(location)
    if key is None or not key.required or not key.schema.get("examples"):
        return ""
    return f"write it, like {key.name}: {as_yaml(key.schema['examples'][0])}"


# What is said of a value by pydantic's type of error, with its context filled in.
REASONS = {
    "value_error": "{error}",
    "model_type": "is not a mapping; write 'key: value' lines under it",
    "dict_type": "is not a mapping; write 'key: value' lines under it",
    "tuple_type": "is not a list; write [a, b], or one '- item' a line",
    "string_type": "is not text; put it in quotes",
    "int_type": "is not a whole number; write digits only, without quotes",
    "float_type": "is not a number; write digits, like 2 or 0.5",
    "finite_number": "is not a number; write digits, like 2 or 0.5",
    "bool_type": "is neither true nor false; write one of them, without quotes",
    "greater_than": "is too small; write more than {gt:.10g}",
    "greater_than_equal": "is too small; write {ge:.10g} or more",
    "less_than_equal": "is too large; write {le:.10g} or less",
    "too_short": "is an empty list; write at least one item",
    "too_long": "has {actual_length} items; write at most {max_length}",
}
# A type of error that no model produces today; a test sees to it that none slips in.
OTHER_REASON = "is not accepted; write what docs/configuration.md describes"


def reason_of(kind: str, value: Any, location: Location, context: Mapping[str, Any]) -> str:
    if kind != "literal_error":
        return REASONS.get(kind, OTHER_REASON).format(**context)
    key = key_at(location)
    words = key.schema.get("enum") if key else None
    words = words or re.findall(r"'(\w+)'", context["expected"])
    close = get_close_matches(str(value), words, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else "; write one of them"
    return f"is none of {', '.join(words)}{meant}"


def yaml_mistake(error: Exception) -> tuple[int | None, str]:
    """Return the line that YAML cannot be read at, where it is known, and why."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be read"
    return mark and mark.line + 1, without_quotes(" ".join(problem.split()))


def as_yaml(value: object) -> str:
    """A small value in YAML's one-line form, as one would type it."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf)
    return text.removesuffix("...\n").strip()
