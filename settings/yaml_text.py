"""YAML as stack files use it: mappings, lists and plain values, nothing executed or guessed.

Pulumi's engine reads the same file with a YAML 1.2 reader. PyYAML's own rules are YAML 1.1,
where `no` is false and `010` is eight; these are the rules both agree on.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
MERGE = "tag:yaml.org,2002:merge"  # `<<: *common`


# Written out, aliases included: a few lines that refer to each other can stand for billions.
MOST_VALUES = 1_000_000


class NotYamlError(ValueError):
    """The text can't be read; `line` counts from 1, 0 where none is known."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


class _Reader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.duplicates: list[tuple[int, str]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            if key.value in seen:
                self.duplicates.append((key.start_mark.line + 1, key.value))
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Reader.yaml_implicit_resolvers = {}
_Reader.yaml_constructors = {
    tag: yaml.SafeLoader.yaml_constructors[tag]
    for tag in (
        None,
        *(f"tag:yaml.org,2002:{kind}" for kind in PLAIN),
    )
}
for kind, pattern, first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(0|[1-9][0-9]*)\.[0-9]+", list("-+0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Reader.add_implicit_resolver(
        f"tag:yaml.org,2002:{kind}", re.compile(rf"^(?:{pattern})$"), first
    )


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for once its aliases are written out."""
    if id(node) not in known:
        known[id(node)] = 1  # a node inside itself: told by `settings.loading`
        children: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_expanded(child, known) for child in children)
    return known[id(node)]


def read_yaml(text: str) -> tuple[object, tuple[tuple[int, str], ...]]:
    """The document, and every key that stands twice in one mapping as (line, key).

    Raises:
        NotYamlError: a syntax error, a tag such as !!python, or a nesting without end.
    """
    reader = None
    try:
        reader = _Reader(text)
        node = reader.get_single_node()
        if node is not None and _expanded(node, {}) > MOST_VALUES:
            raise ValueError
        document = None if node is None else reader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise NotYamlError(" ".join((error.problem or "it can't be read").split()), line) from None
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 0
        raise NotYamlError("a character that YAML does not allow", line) from None
    except (RecursionError, ValueError, TypeError):
        raise NotYamlError("a value that is nested too deep or too large") from None
    finally:
        if reader:
            reader.dispose()
    return document, tuple(reader.duplicates)
