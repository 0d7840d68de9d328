"""How files inside ConfigMaps are written: the same bytes for the same content."""

from __future__ import annotations

import json
from typing import Any

import yaml


class _Plain(yaml.SafeDumper):
    """Without anchors: two equal lists are written twice, as a person would."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_text(value: Any) -> str:
    """Write plain values as YAML, in the order they have."""
    return yaml.dump(value, Dumper=_Plain, sort_keys=False, width=1000, allow_unicode=True)


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
