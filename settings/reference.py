"""Writes what repeats the models and the presets: `python -m settings.reference`.

These are docs/configuration.md, docs/stack.schema.json, and the pages of docs/vendors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from settings.loading import PROJECT, ROOT
from settings.messages import as_yaml
from settings.presets_pages import pages
from settings.schema import Key, definition_of, keys, stack_schema
from settings.stack import StackSettings

PAGE = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / "docs" / "stack.schema.json"

# The keys of these sections stand in other rows; the section's own row names them.
NOT_REPEATED = (
    *("vendors[].alerts", "destinations[].hosts[]", "resources", "istio.sidecar"),
    *("vendors[].billing[]", "products[].billing", "products[].billing[]"),
)

HEAD = Path(__file__).with_name("reference_head.md")


def page() -> str:
    parts = [HEAD.read_text(encoding="utf-8")]
    for name in (str(field.alias) for field in StackSettings.model_fields.values()):
        rows = ["key | value | meaning", "---|---|---"]
        rows += (row(key) for key in keys().values() if is_row_of(key.path, name))
        parts.append(f"## {name}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def is_row_of(path: str, section: str) -> bool:
    within = path.rpartition(".")[0]
    if any(f"{within}.".startswith(f"{one}.") or f".{one}" in within for one in NOT_REPEATED):
        return False
    return path == section or path.startswith((f"{section}.", f"{section}["))


def row(key: Key) -> str:
    return f"`{key.path}` | {type_of(key.schema)}{default_of(key)} | {key.description}"


def type_of(schema: Mapping[str, Any]) -> str:
    """The type in an operator's words."""
    if section := definition_of(schema):
        return "resources" if section["title"] == "Resources" else "section"
    if members := [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        return " or ".join(dict.fromkeys(type_of(member) for member in members))
    if "enum" in schema or "const" in schema:
        words = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{word}`" for word in dict.fromkeys(words))
    if title := schema.get("title"):
        return str(title)
    if items := schema.get("items"):
        return f"list of {type_of(items)}".replace("section", "sections")
    if isinstance(values := schema.get("additionalProperties"), dict) and values:
        return f"mapping to {type_of(values)}"
    plain = {"integer": "number", "number": "number", "object": "mapping"}
    return {"boolean": "`true`, `false`", **plain}[schema["type"]]


def default_of(key: Key) -> str:
    """The value a stack has that leaves the key out."""
    if key.required:
        return ", required"
    default = key.schema.get("default")
    if default in (None, [], {}):
        return ""
    if isinstance(default, dict):
        requests, limits = default["requests"], default["limits"]
        default = "; ".join(f"{requests[name]} to {limits[name]}" for name in ("cpu", "memory"))
    return f"; default `{as_yaml(default)}`"


def editor_schema() -> str:
    """The JSON schema of a stack file, for editors."""
    schema = dict(stack_schema())
    definitions = schema.pop("$defs")
    own = {f"{PROJECT}:{name}": value for name, value in schema.pop("properties").items()}
    names = "|".join(name.removeprefix(f"{PROJECT}:") for name in own)
    config = {
        "type": "object",
        "properties": own,
        "required": [f"{PROJECT}:{name}" for name in schema.pop("required")],
        # Keys of other programs, such as `kubernetes:context`, are left alone.
        "propertyNames": {"pattern": f"^(?!{PROJECT}:)|^{PROJECT}:({names})$"},
    }
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A stack file of proxy-observability: Pulumi.<stack>.yaml",
        "type": "object",
        "properties": {"config": config},
        "required": ["config"],
        "$defs": definitions,
    }
    return json.dumps(whole, indent=1) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="reference", description="Write what repeats the models.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    check = parser.parse_args(arguments).check
    status = 0
    for path, text in {PAGE: page(), SCHEMA: editor_schema(), **pages()}.items():
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
            print(f"{shown}: is stale; run python -m settings.reference", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
