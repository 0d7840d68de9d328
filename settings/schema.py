"""The JSON schema of a stack's keys, as pydantic writes it from the models, and a list of the keys.

A key's path is written as in an error, with the index left out and `*` for a name that the stack
chose: `vendors[].cidrs[].pool`, `loadGenerator.endpoints.*.weight`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from settings.section import Location, Section, path_text
from settings.stack import StackSettings
from settings.values.addresses import PortRange
from settings.values.quantities import format_bytes, format_duration, format_share

WRITTEN = {"duration": format_duration, "size": format_bytes, "percentage": format_share}


class StackSchema(GenerateJsonSchema):
    """Pydantic's schema, with defaults as an operator writes them."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        return value  # in the models' order

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # titles say how a value is written

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])  # a key is left out, and never null

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        if written.get("default") is None:
            written.pop("default", None)
        elif "default" in written and (write := WRITTEN.get(written.get("title", ""))):
            written["default"] = write(written["default"])
        return written

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        written = super().dict_schema(schema)
        if "additionalProperties" in written:  # pydantic drops the title of the values
            written["additionalProperties"] = self.generate_inner(schema["values_schema"])
        return written

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Section):
            return dft.model_dump(by_alias=True, exclude_defaults=True)
        if isinstance(dft, tuple):
            return [self.encode_default(item) for item in dft]
        if isinstance(dft, PortRange):
            return dft.first if dft.first == dft.last else str(dft)
        return super().encode_default(dft)


@dataclass(frozen=True, kw_only=True)
class Key:
    path: str
    name: str  # as in YAML
    required: bool
    schema: Mapping[str, Any]

    @property
    def description(self) -> str:
        # Pydantic leaves a section's out where the model's own docstring is the same.
        return str({**definition_of(self.schema), **self.schema}["description"])


@cache
def stack_schema() -> dict[str, Any]:
    written = StackSettings.model_json_schema(by_alias=True, schema_generator=StackSchema)
    return {key: unwrapped(key, value) for key, value in written.items()}


def unwrapped(key: str, value: Any) -> Any:
    """Return a part of the schema with each description on one line."""
    if isinstance(value, dict):
        return {name: unwrapped(name, item) for name, item in value.items()}
    return " ".join(value.split()) if key == "description" and isinstance(value, str) else value


@cache
def keys() -> dict[str, Key]:
    """Every key by its path, in the models' order."""
    found: dict[str, Key] = {}
    for key in keys_of(stack_schema(), ""):
        first = found.setdefault(key.path, key)
        if "const" in key.schema and first is not key:  # one of several models, by this key
            words = [*first.schema.get("enum", [first.schema["const"]]), key.schema["const"]]
            found[key.path] = replace(first, schema={**first.schema, "enum": words})
    return found


def keys_of(section: Mapping[str, Any], within: str) -> Iterator[Key]:
    for name, schema in section["properties"].items():
        path = f"{within}.{name}" if within else name
        yield Key(path=path, name=name, required=name in section.get("required", ()), schema=schema)
        for brackets, inner in sections_in(schema):
            yield from keys_of(inner, path + brackets)


def sections_in(
    schema: Mapping[str, Any], brackets: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The sections that a value may be, or be a list ("[]") or mapping (".*") of."""
    if "properties" in definition_of(schema):
        yield brackets, definition_of(schema)
        return
    for member in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        yield from sections_in(member, brackets)
    if "items" in schema:
        yield from sections_in(schema["items"], f"{brackets}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from sections_in(schema["additionalProperties"], f"{brackets}.*")


def definition_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section that a schema refers to, empty if it refers to none."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = stack_schema()["$defs"][name] if name else {}
    return found


def key_at(location: Location) -> Key | None:
    """The key a location is about; None for an item of a list, or what no model knows."""
    return keys().get(path_of(location))


def names_at(location: Location) -> tuple[str, ...]:
    """The keys that may stand in the section at a location, of whatever kind it is."""
    within = path_of(location)
    prefix = f"{within}." if within else ""
    return tuple(key.name for path, key in keys().items() if path == prefix + key.name)


def path_of(location: Location) -> str:
    """A location without its indices and chosen names: `vendors[].cidrs[]`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += "[]"
        elif path in keys() and "additionalProperties" in keys()[path].schema:
            path += ".*"
        else:
            path += f".{part}" if path else path_text((part,))
    return path
