"""Values that are written as text: a check by pattern, and their title in the JSON schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from annotated_types import GroupedMetadata
from pydantic import AfterValidator, WithJsonSchema


def titled(title: str) -> WithJsonSchema:
    """Describe a value that is written as text, in an operator's words."""
    return WithJsonSchema({"type": "string", "title": title})


@dataclass(frozen=True)
class Text(GroupedMetadata):
    """Refuse text that does not match as a whole."""

    title: str
    pattern: str
    refusal: str
    """"reason; remedy"."""

    def __iter__(self) -> Iterator[Any]:
        return iter((AfterValidator(self.check), titled(self.title)))

    def check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text, re.DOTALL):
            raise ValueError(self.refusal)
        return text


def text(value: object, example: str) -> str:
    """Return a value that must be text.

    Raises:
        ValueError: YAML made something else of it.
    """
    if isinstance(value, str):
        return value
    raise ValueError(f"is not text; write it like {example}")
