"""Checks of a plan's JSON, one value at a time; every finding names key, value, reason and fix."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,199}")
Json = dict[str, object]
T = TypeVar("T")
U = TypeVar("U")


class PlanError(Exception):
    """Every finding in a plan, one line each: key, value, reason, fix."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


def whole(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"is out of range: give a whole number from {low} to {high}")
        return value

    return check


def number(low: float, high: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        if type(value) not in (int, float) or not low <= cast(float, value) <= high:
            raise ValueError(f"is out of range: give a number from {low:g} to {high:g}")
        return float(cast(float, value))

    return check


def or_null(check: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else check(value)


def text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is not a text: give a non-empty string")
    return value


def name(value: object) -> str:
    """What may stand in a label and in a host name as it is."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("is not a name: give letters, digits, hyphens and dots")
    return value


def address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(text(value)))
    except ValueError:
        raise ValueError("is not an IP address: give one such as 10.1.0.10") from None


def anything(value: object) -> object:
    return value


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false: give one of them")
    return value


def one_of(known: Sequence[str]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"is unknown: use {' or '.join(known)}")
        return value

    return check


def some_objects(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("is not a list of objects: give [{...}], or leave it out")
    return value


def objects(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ValueError("is not a list of objects: give at least one entry")
    return value


def mapping(value: object) -> Json:
    if not isinstance(value, dict):
        raise ValueError('is not an object: give {"name": ...}')
    return value


def shares(known: Sequence[str]) -> Callable[[object], dict[str, float]]:
    """A check for {"name": share}: names out of `known`, shares 0 to 1, together at most 1."""

    def check(value: object) -> dict[str, float]:
        if not isinstance(value, dict):
            raise ValueError('is not an object: give {"' + known[0] + '": 0.1}')
        for key, share in value.items():
            if key not in known:
                raise ValueError(f"names {key}: use {', '.join(known)}")
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise ValueError(f"gives {key} {json.dumps(share)}: a share is from 0 to 1")
        if sum(value.values()) > 1 + 1e-9:
            raise ValueError(f"sums to {sum(value.values()):g}: shares are at most 1 together")
        return {key: float(share) for key, share in value.items()}

    return check


class Section:
    """One JSON object of the plan; `take` reads a key and notes a finding where it is bad."""

    def __init__(self, raw: object, path: str, findings: list[str], known: Sequence[str]) -> None:
        self._path, self._findings = path, findings
        self._raw: Json = raw if isinstance(raw, dict) else {}
        if not isinstance(raw, dict):
            self.note("", raw, "is not an object: give {" + ", ".join(known) + "}")
        for key in self._raw.keys() - set(known):
            near = difflib.get_close_matches(key, known, 1)
            fix = near[0] if near else f"one of {', '.join(known)}"
            self.note(key, self._raw[key], f"is an unknown key: use {fix}")

    def note(self, key: str, value: object, reason: str) -> None:
        where = f"{self._path}.{key}".strip(".") or "plan"
        self._findings.append(f"{where}: {json.dumps(value)} {reason}")

    def given(self, key: str) -> object:
        return self._raw.get(key)

    def take(
        self, key: str, check: Callable[[object], U], default: T, *, required: bool = False
    ) -> T | U:
        if key not in self._raw:
            if required:
                self._findings.append(f"{self._path}.{key}: is missing: add it".lstrip("."))
            return default
        try:
            return check(self._raw[key])
        except ValueError as reason:
            self.note(key, self._raw[key], str(reason))
            return default
