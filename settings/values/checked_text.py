"""Values that are written as text: a check by pattern, and their title in the JSON schema."""

from __future__ import annotations

import re

from pydantic import AfterValidator, WithJsonSchema


def matching(pattern: str, refusal: str) -> AfterValidator:
    """Refuse text that does not match as a whole, with "reason; remedy"."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(refusal)
        return text

    return AfterValidator(check)


def titled(title: str) -> WithJsonSchema:
    """Describe a value that is written as text, in an operator's words."""
    return WithJsonSchema({"type": "string", "title": title})


def number_titled(title: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "number", "title": title})


def text(value: object, example: str) -> str:
    """Return a value that must be text.

    Raises:
        ValueError: YAML made something else of it.
    """
    if isinstance(value, str):
        return value
    raise ValueError(f"is not text; write it like {example}")
