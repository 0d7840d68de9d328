"""Objects against the OpenAPI schema of their CRD, stricter than an API server is by default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

# Of an object itself, which no CRD describes.
OF_EVERY_OBJECT = ("apiVersion", "kind", "metadata")

_TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


def faults_of_object(crd: Json, value: Json) -> list[str]:
    """Return what is wrong with an object: a field nobody knows is dropped without a word."""
    (version,) = [
        one
        for one in crd["spec"]["versions"]
        if f"{crd['spec']['group']}/{one['name']}" == value["apiVersion"]
    ]
    schema = version["schema"]["openAPIV3Schema"]
    own = {key: item for key, item in value.items() if key not in OF_EVERY_OBJECT}
    wrong = [] if crd["spec"]["names"]["kind"] == value["kind"] else ["kind"]
    required = set(schema.get("required", ())) - {*OF_EVERY_OBJECT}
    return [*wrong, *_faults(schema, own, "", required)]


def _faults(schema: Json, value: Any, at: str, required: set[str] | None) -> Iterator[str]:
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or isinstance(value, bool):
            yield f"{at}: {value!r} is neither a number nor text"
        return
    wanted = _TYPES[schema["type"]]
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        yield f"{at}: {value!r} is no {schema['type']}"
    elif isinstance(value, dict):
        yield from _faults_of_mapping(schema, value, at, required)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{at}: too few"
        for index, item in enumerate(value):
            yield from _faults(schema["items"], item, f"{at}[{index}]", None)
    elif isinstance(value, str):
        if len(value) < schema.get("minLength", 0) or not re.search(
            # Go's flags stand behind the anchor, too.
            re.sub(r"^\^\(\?i\)", "(?i)^", schema.get("pattern", "")),
            value,
        ):
            yield f"{at}: {value!r} has not the form {schema.get('pattern')}"
    elif isinstance(value, int) and value < schema.get("minimum", value):
        yield f"{at}: {value} is too little"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"


def _faults_of_mapping(
    schema: Json, value: Json, at: str, required: set[str] | None
) -> Iterator[str]:
    needed = set(schema.get("required", ())) if required is None else required
    yield from (f"{at}.{key}: is missing" for key in sorted(needed - value.keys()))
    for key, item in value.items():
        inner = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
        if inner is None:
            yield f"{at}.{key}: is no field"
        elif inner is not True:
            yield from _faults(inner, item, f"{at}.{key}", None)
