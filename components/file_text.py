"""The text of files in ConfigMaps and manifests: equal values give equal bytes.

People read manifests in reviews, as diffs. So a small mapping takes one line there, and what a
manifest says several times can stand in it once (`Repeated`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable
from typing import Any

import yaml

TEXT = "tag:yaml.org,2002:str"
PLAIN = re.compile(r"[\w/][\w./;-]*").fullmatch

ONE_LINE = 160
"""Characters of the longest mapping, list of plain values, or list of one that takes one line."""
SHORT = 80
"""The same for a list of several mappings. Two ranges of a filter chain are longer."""


class Repeated(dict[str, Any]):
    """A mapping that is written once, and named (YAML's `*id001`) where the same object is again.

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
        # Here their names alone will stand.
        written = [self.represented_objects.get(id(value)) for value in mapping.values()]
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = _columns(node, named=[id(one) for one in written if one]) <= ONE_LINE
        if node.flow_style:
            _quote(part for pair in node.value for part in pair)
        return node

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        # Ranges, patches and rules take a line each, or more: a diff shows those that changed.
        plain = all(isinstance(item, yaml.ScalarNode) for item in node.value)
        most = ONE_LINE if plain or len(node.value) == 1 else SHORT
        node.flow_style = _columns(node) <= most
        if node.flow_style:
            _quote(node.value)
        return node


def _columns(node: yaml.CollectionNode, named: Collection[int] = ()) -> float:
    """Return how long a collection is on one line; infinite with parts that take several.

    Args:
        named: ids of those parts of which a name stands here.
    """

    def width(part: Any) -> float:
        if id(part) in named:
            return len("*id001")
        if isinstance(part, yaml.ScalarNode):
            return math.inf if part.style == "|" else len(part.value) + 2 * _needs_quotes(part)
        return _columns(part) if part.flow_style else math.inf

    if isinstance(node, yaml.MappingNode):
        parts = [width(key) + len(": ") + width(value) for key, value in node.value]
    else:
        parts = [width(item) for item in node.value]
    return sum(parts) + len(", ") * len(parts)  # the last has a bracket on either side instead


def _quote(nodes: Iterable[yaml.Node]) -> None:
    """Quote texts with any character that means something between brackets to some parser.

    go-yaml, which Kubernetes and Prometheus read with, takes fewer of them than PyYAML writes.
    """
    for node in nodes:
        if isinstance(node, yaml.ScalarNode) and _needs_quotes(node):
            node.style = "'"


def _needs_quotes(node: yaml.ScalarNode) -> bool:
    return node.tag == TEXT and not PLAIN(node.value)


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
_Dumper.add_representer(Repeated, yaml.representer.SafeRepresenter.represent_dict)


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
