"""Every key a stack file may hold, read off the models.

A key's path is written as in an error, with the index left out and `*` for a name that the stack
chose: `vendors[].cidrs[].pool`, `loadGenerator.endpoints.*.weight`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from settings.masking import masked
from settings.model import StackSettings
from settings.values import AddressRange, RangeInPool, Section

Location = tuple[int | str, ...]
"""Where in a stack file: ("vendors", 1, "cidrs", 0)."""


@dataclass(frozen=True, kw_only=True)
class Key:
    path: str
    name: str  # as in YAML
    section: type[Section]  # the model it is a field of
    field: FieldInfo


def keys_of(section: type[Section], within: str = "") -> Iterator[Key]:
    """Every key of a section and of the sections inside it, in the models' order."""
    for field in section.model_fields.values():
        name = str(field.alias)
        path = f"{within}.{name}" if within else name
        yield Key(path=path, name=name, section=section, field=field)
        for brackets, inner in sections_in(field.annotation):
            yield from keys_of(inner, path + brackets)


def sections_in(annotation: Any, brackets: str = "") -> Iterator[tuple[str, type[Section]]]:
    """The sections that a value of this type may be, or be a list ("[]") or mapping (".*") of."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield brackets, annotation
    elif annotation is AddressRange:  # the one value that is text or a section
        yield brackets, RangeInPool
    elif origin is tuple:
        yield from sections_in(arguments[0], f"{brackets}[]")
    elif origin is dict:
        yield from sections_in(arguments[1], f"{brackets}.*")
    elif origin is Annotated:
        yield from sections_in(arguments[0], brackets)
    elif origin in (Union, UnionType):
        for member in arguments:
            yield from sections_in(member, brackets)


KEYS: dict[str, Key] = {key.path: key for key in keys_of(StackSettings)}
MAPPINGS = {path for path, key in KEYS.items() if get_origin(key.field.annotation) is dict}


def key_at(location: Location) -> Key | None:
    """The key a location is about; None for an item of a list, or what no model knows."""
    return KEYS.get(path_of(location))


def names_at(location: Location) -> tuple[str, ...]:
    """The keys that may stand in the section at a location; none where no section is."""
    within = path_of(location)
    prefix = f"{within}." if within else ""
    return tuple(key.name for path, key in KEYS.items() if path == prefix + key.name)


def path_of(location: Location) -> str:
    """A location without its indices and chosen names: `vendors[].cidrs[]`."""
    parts: list[str] = []
    for part in location:
        if isinstance(part, int):
            parts.append("[]")
        else:
            parts.append("*" if text_of(tuple(parts)) in MAPPINGS else part)
    return text_of(tuple(parts))


def text_of(location: Location) -> str:
    """A location as an operator reads it: `vendors[1].cidrs[0]`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part == "[]":
            text += part
        else:
            # A key no stack should have stays on one line, and is no path by accident.
            name = part if re.fullmatch(r"[\w/-]{1,60}|\*", part) else repr(masked(part)[:60])
            text += f".{name}" if text else name
    return text
