"""Plans are JSON objects that become frozen dataclasses: each key is a field with a check.

A finding is one line: the path of the key, its value, the reason and the fix.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

EVERY_ADDRESS = "*"
# What stands between a user and an address; an unknown key, or a variable's name that is none, is
# often a password in the wrong place.
PASSWORD = re.compile(r'([^\s":/@]+):(?!//)[^\s"]+@')
SECRET_KEY = re.compile(r"user|pass|secret|token|credential|login|auth|proxy|url", re.IGNORECASE)
# One word, an address or a path: anything else may be a login or a token, and is not printed.
HARMLESS = re.compile(r"(?=.{0,60}$)[\w./%*+{}-]*(:[0-9]{1,5})?|[0-9A-Fa-f:]{2,39}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MOST_CHARACTERS = 400
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,199}")
Json = dict[str, object]
T = TypeVar("T")
Check = Callable[[Any], Any]


class PlanError(Exception):
    """Every finding in a plan, without the password of an address like `me:password@10.1.0.10`."""

    def __init__(self, findings: list[str]) -> None:
        self.findings = [_printable(PASSWORD.sub(r"\1:***@", finding)) for finding in findings]
        super().__init__("\n".join(self.findings))


class SecretValueError(ValueError):
    """A value that may be a secret: the finding must not hold it."""


def _printable(finding: str) -> str:
    """Escape what would move a terminal's cursor."""
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in finding)


def finding(path: str, value: object, reason: str) -> str:
    """Return one line about a value, which is cut where it is long."""
    text = json.dumps(without_secrets(value))
    text = text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
    return f"{path}: {text} {reason}"


def without_secrets(value: object) -> object:
    """Return a JSON value with the length of each text that may be a secret in its place."""
    if isinstance(value, dict):
        return {without_secrets(name): without_secrets(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(each) for each in value]
    if isinstance(value, str) and not HARMLESS.fullmatch(value):
        return f"text of {len(value)} characters"
    return value


def key(check: Check, default: object = dataclasses.MISSING) -> Any:
    """Declare a field that is read from the JSON key of its name; without a default it must be
    there. Null is as good as no key where the default is None.
    """
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata={"check": check})
    return dataclasses.field(default_factory=lambda: default, metadata={"check": check})


def keys_of(kind: type) -> tuple[str, ...]:
    return tuple(each.name for each in dataclasses.fields(kind) if "check" in each.metadata)


def read(kind: type[T], raw: object) -> T:
    """Make a `kind`, whose fields are keys, of a JSON object.

    Raises:
        PlanError: with every finding.
    """
    known = keys_of(kind)
    if not isinstance(raw, dict):
        raise PlanError([finding("", raw, f"is not an object: give {{{', '.join(known)}}}")])
    findings = [_unknown(name, raw[name], known) for name in raw.keys() - set(known)]
    values: Json = {}
    for each in dataclasses.fields(cast(Any, kind)):
        if each.name not in known:
            continue
        optional = each.default_factory is not dataclasses.MISSING
        if each.name not in raw:
            if not optional:
                findings.append(f"{each.name}: is missing: add it")
            continue
        value = raw[each.name]
        if value is None and optional and cast(Any, each.default_factory)() is None:
            continue
        try:
            values[each.name] = each.metadata["check"](value)
        except PlanError as error:
            findings += [under(each.name, one) for one in error.findings]
        except SecretValueError as reason:
            findings.append(f"{each.name}: (its value is not shown) {reason}")
        except ValueError as reason:
            findings.append(finding(each.name, value, str(reason)))
    if findings:
        raise PlanError(sorted(findings))
    return kind(**values)


def under(path: str, line: str) -> str:
    """Return a finding of a nested object with the path of that object before it."""
    return path + line if line.startswith((":", "[")) else f"{path}.{line}"


def _unknown(name: str, value: object, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1) or [f"one of {', '.join(known)}"]
    reason = f"is an unknown key: use {near[0]}"
    path = str(without_secrets(name))
    if SECRET_KEY.search(name):
        return f"{path}: (its value is not shown) {reason}"
    return finding(path, value, reason)


# Checks of one value: each returns it as the program uses it, or raises ValueError.


def nested(kind: type[T]) -> Callable[[object], T]:
    return lambda value: read(kind, value)


def several(kind: type[T], fix: str, *, least: int = 0) -> Callable[[object], tuple[T, ...]]:
    """A check for a list of objects."""

    def check(value: object) -> tuple[T, ...]:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError(f"is not a list of objects: {fix}")
        found, findings = [], []
        for index, entry in enumerate(value):
            try:
                found.append(read(kind, entry))
            except PlanError as error:
                findings += [under(f"[{index}]", line) for line in error.findings]
        if findings:
            raise PlanError(findings)
        return tuple(found)

    return check


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


def text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is not a text: give a non-empty string")
    if not encodable(value):
        raise ValueError("is no text in UTF-8: write it anew")
    return value


def encodable(value: str) -> bool:
    """Whether UTF-8 has it: not half a character out of JSON, or of a variable's odd bytes."""
    return not any("\ud800" <= each <= "\udfff" for each in value)


def variable(value: object) -> str:
    """A check for the name of an environment variable; anything else may be its content."""
    if not isinstance(value, str) or not VARIABLE.fullmatch(value):
        raise SecretValueError("is no name of a variable: give the name, not what it holds")
    return value


def plain_name(value: object) -> str:
    """A check for what may stand in a label and in a host name as it is."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("is not a name: give letters, digits, hyphens and dots")
    return value


def ip_address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(text(value)))
    except ValueError:
        raise ValueError("is not an IP address: give one such as 10.1.0.10") from None


def address_or_all(value: object) -> str:
    """A check for where to listen; "*" is every address of both families, "::" is IPv6 alone."""
    return EVERY_ADDRESS if value == EVERY_ADDRESS else ip_address(value)


def host_to_bind(where: str) -> str | None:
    """Return an address as asyncio takes it: None is every one."""
    return None if where == EVERY_ADDRESS else where


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


def mapping(value: object) -> Json:
    if not isinstance(value, dict):
        raise ValueError('is not an object: give {"name": ...}')
    return value


def shares(known: Sequence[str]) -> Callable[[object], Mapping[str, float]]:
    """A check for {"name": share}: names out of `known`, shares 0 to 1, together at most 1."""

    def check(value: object) -> Mapping[str, float]:
        if not isinstance(value, dict):
            raise ValueError('is not an object: give {"' + known[0] + '": 0.1}')
        for each, share in value.items():
            if each not in known:
                raise ValueError(f"names {without_secrets(each)}: use {', '.join(known)}")
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise ValueError(f"gives {each} {json.dumps(share)}: a share is from 0 to 1")
        if sum(value.values()) > 1 + 1e-9:
            raise ValueError(f"sums to {sum(value.values()):g}: shares are at most 1 together")
        return {each: float(share) for each, share in value.items()}

    return check
