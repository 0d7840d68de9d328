"""Writes docs/configuration.md and docs/stack.schema.json: `python -m settings.reference`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from settings.loading import PROJECT, ROOT
from settings.messages import as_yaml
from settings.schema import Key, definition_of, keys, stack_schema
from settings.stack import StackSettings

PAGE = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / "docs" / "stack.schema.json"

# The keys of these sections stand in other rows; the section's own row names them.
NOT_REPEATED = ("vendors[].alerts", "resources", "istio.sidecar")

INTRO = """\
# Configuration

<!-- Written by `python -m settings.reference` from the models in settings/; edit there. -->

A stack is one file, `Pulumi.<stack>.yaml`. Every key below stands under `config:` with the
project's name in front; only `cluster` and `vendors` are required:

```yaml
# yaml-language-server: $schema=docs/stack.schema.json
config:
  proxy-observability:cluster: prod
  proxy-observability:vendors:
    - name: vendor-a
      cidrs: [10.1.0.0/16]
```

The first line gives an editor with a YAML language server every key, value and description.
Unknown keys and values of another type are refused, all at once, before anything is deployed:

```
vendors[1].cidrs[0]: '10.2.0.0/33' is not a CIDR block; prefix length is at most 32
```

A vendor with thousands of ranges has them in a file, named by `vendors[].cidrsFile`; Pulumi cannot
hand more than 128 KiB of configuration, some 6,500 ranges, to a program:

```
# ranges/vendor-a.txt
10.1.0.0/16
10.1.8.0/24 residential   # with its pool
```

How values are written:

- duration: whole numbers with units, `30s`, `10m`, `1h30m`, `7d`.
- size: a number and its unit; `GB` (or `G`) is 10^9 bytes, `Gi` is 2^30.
- CPU and memory: as in Kubernetes, `100m` or `"2"` (in quotes), `256M` or `256Mi`.
- resources: `{requests: {cpu, memory}, limits: {cpu, memory}}`, all four; the table shows
  requests and limits of CPU, then of memory.
- percentage: `95%` or `99.5%`, more than 0 % and less than 100 %.
- path: from the project's root, without `..`.
- CIDR block: `10.1.0.0/16`, `2001:db8::/32`, or one address.
- port or range: `3128`, or `10000-10999` with both ends in it.
- host: in lower case, without a port; `*.shop.example` is every host below it, not itself.
- DNS label: 1 to 63 of `a-z`, `0-9` and `-`, first and last no `-`.
"""


def page() -> str:
    parts = [INTRO]
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
    if values := schema.get("additionalProperties"):
        return f"mapping to {type_of(values)}"
    return {"boolean": "`true`, `false`", "integer": "number"}[schema["type"]]


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
    for path, text in ((PAGE, page()), (SCHEMA, editor_schema())):
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"docs/{path.name}: is stale; run python -m settings.reference", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
