"""The text of files in ConfigMaps and manifests: equal values give equal bytes.

People read manifests in reviews, as diffs. So a small mapping takes one line there, and what a
manifest says several times can stand in it once (`Repeated`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

import yaml

TEXT = "tag:yaml.org,2002:str"
PLAIN = re.compile(r"[\w/][\w./;-]*").fullmatch

ONE_LINE = 160
"""Characters of the longest mapping, or list of plain values, that takes one line."""


class Repeated(list[Any]):
    """A list that is written once, and named (YAML's `*id001`) where the same object stands again.

    All other values are written out wherever they stand.
    """


class _Dumper(yaml.CSafeDumper):  # in C: thousands of ranges take a second instead of five
    """Writes long text line by line."""

    def ignore_aliases(self, data: Any) -> bool:
        return not isinstance(data, Repeated)


class _CompactDumper(_Dumper):
    """Writes what fits on one line there."""

    def represent(self, data: Any) -> None:
        node = self.represent_data(data)
        _write_in_lines(node)
        self.serialize(node)

    def represent_mapping(
        self, tag: str, mapping: Any, flow_style: bool | None = None
    ) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = _columns(node) <= ONE_LINE
        if node.flow_style:
            _quote(part for pair in node.value for part in pair)
        return node

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        # Ranges, patches and rules take a line each, or more: a diff shows those that changed.
        plain = all(isinstance(item, yaml.ScalarNode) for item in node.value)
        node.flow_style = plain and _columns(node) <= ONE_LINE
        if node.flow_style:
            _quote(node.value)
        return node


def _columns(node: yaml.Node) -> float:
    """Return how long a node is on one line; infinite for text and collections of several."""
    if isinstance(node, yaml.ScalarNode):
        return math.inf if node.style == "|" else len(node.value) + 2
    parts = node.value
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in parts for part in pair]
    if any(isinstance(one, yaml.CollectionNode) and not one.flow_style for one in parts):
        return math.inf
    return sum(_columns(one) + 2 for one in parts)


def _quote(nodes: Iterable[yaml.Node]) -> None:
    """Quote texts with any character that means something between brackets to some parser.

    go-yaml, which Kubernetes and Prometheus read with, takes fewer of them than PyYAML writes.
    """
    for node in nodes:
        if isinstance(node, yaml.ScalarNode) and node.tag == TEXT and not PLAIN(node.value):
            node.style = "'"


def _write_in_lines(document: yaml.Node) -> None:
    """Give the document and its parts lines of their own.

    People look for `  name:` in manifests, and so do the commands in docs/rollout.md.
    """
    if isinstance(document, yaml.MappingNode):
        for part in (document, *(value for _, value in document.value)):
            if isinstance(part, yaml.MappingNode):
                part.flow_style = False


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(TEXT, text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Repeated, yaml.representer.SafeRepresenter.represent_list)


def yaml_text(value: Any, *, sort_keys: bool = False, compact: bool = False) -> str:
    """Write plain values as YAML; a diff of two such files shows changed lines alone.

    Args:
        compact: write small mappings and lists on one line.
    """
    dumper = _CompactDumper if compact else _Dumper
    return yaml.dump(value, Dumper=dumper, sort_keys=sort_keys, width=1000, allow_unicode=True)


def json_text(value: Any) -> str:
    """Write JSON with each small object and list on one line."""
    return _json(value, "\n", most=0) + "\n"


def _json(value: Any, line: str, most: int = ONE_LINE) -> str:
    """Return the text of a value; `line` is a line's end and the next one's indent."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= most or not value or not isinstance(value, dict | list):
        return text
    deeper = f"{line} "
    if isinstance(value, list):
        return f"[{deeper}{f',{deeper}'.join(_json(item, deeper) for item in value)}{line}]"
    items = (f"{json.dumps(key)}: {_json(item, deeper)}" for key, item in value.items())
    return f"{{{deeper}{f',{deeper}'.join(items)}{line}}}"
