"""How files inside ConfigMaps are written: the same bytes for the same content."""

from __future__ import annotations

import json
from typing import Any

import yaml


class _Plain(yaml.SafeDumper):
    """Without anchors: two equal lists are written twice, as a person would."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Blocks(_Plain):
    pass


_Blocks.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def yaml_text(value: Any) -> str:
    """Write plain values as YAML, in the order they have."""
    return yaml.dump(value, Dumper=_Plain, sort_keys=False, width=1000, allow_unicode=True)


def yaml_blocks(value: Any) -> str:
    """As `yaml_text`, with text of several lines line by line, as in rules/."""
    return yaml.dump(value, Dumper=_Blocks, sort_keys=False, width=1000, allow_unicode=True)


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
