"""The text of files in ConfigMaps and manifests: equal values give equal bytes."""

from __future__ import annotations

import json
from typing import Any

import yaml


class _Dumper(yaml.CSafeDumper):  # in C: thousands of ranges take a second instead of five
    """Writes equal lists twice, without anchors, and long text line by line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def yaml_text(value: Any, *, sort_keys: bool = False) -> str:
    """Write plain values as YAML; a diff of two such files shows changed lines alone."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=sort_keys, width=1000, allow_unicode=True)


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
