"""Everything that the models of a stack file can refuse, read off their annotations."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import AfterValidator, Discriminator
from pydantic.functional_validators import PlainValidator

from settings.section import Resources, Section
from settings.stack import StackSettings

BOUNDS = {
    annotated_types.Ge: "greater_than_equal",
    annotated_types.Le: "less_than_equal",
    annotated_types.MinLen: "too_short",
    annotated_types.MaxLen: "too_long",
}
HARMLESS = ("Strict", "WithJsonSchema", "Tag")


def constraints() -> set[tuple[str, str]]:
    """Return (path, pydantic's type of error or the name of our function); types are left out."""
    return set(of_section("", StackSettings))


def of_section(path: str, section: type[Section]) -> Iterator[tuple[str, str]]:
    if section is Resources and path != "istio.sidecar":
        return  # one model: seen once is enough
    for field in section.model_fields.values():
        at = f"{path}.{field.alias}".lstrip(".")
        if field.is_required() and len(get_args(field.annotation)) != 1:  # no kind of a union
            yield at, "missing"
        yield from of_type(at, field.annotation, field.metadata)


def of_type(path: str, annotation: Any, metadata: Any = ()) -> Iterator[tuple[str, str]]:
    for item in [part for one in metadata for part in getattr(one, "metadata", None) or [one]]:
        if type(item) in BOUNDS:
            yield path, BOUNDS[type(item)]
        elif isinstance(item, AfterValidator | PlainValidator):
            yield path, getattr(item.func, "__name__", "")
            if (long_form := getattr(item, "json_schema_input_type", Any)) is not Any:
                yield from of_type(path, long_form)
        elif isinstance(item, Discriminator):
            yield path, item.custom_error_type or ""
        else:
            kind = type(item).__name__
            assert kind in HARMLESS, f"{path}: a constraint this test does not know: {item}"
    if any(isinstance(item, PlainValidator) for item in metadata):
        return  # it reads any value itself, of whatever type
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from of_type(path, arguments[0], arguments[1:])
    elif origin is Literal and len(arguments) > 1:
        yield path, "literal_error"
    elif origin is tuple:
        yield from of_type(f"{path}[]", arguments[0])
    elif origin is dict:
        for inner in arguments:
            yield from of_type(f"{path}.*", inner)
    elif origin in (Union, UnionType):
        for member in arguments:
            if member is not NoneType:
                yield from of_type(path, member)
    elif isinstance(annotation, type) and issubclass(annotation, Section):
        yield from of_section(path, annotation)
