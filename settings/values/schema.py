"""How a value appears in the JSON schema of a stack file, and so on the reference page."""

from __future__ import annotations

from pydantic import WithJsonSchema


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
