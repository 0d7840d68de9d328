"""A wrong value is refused in the words of the table, and each constraint has a row in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from settings import loading
from settings.loading import SettingsError, parse_settings
from settings.messages import location_of
from settings.schema import keys, path_of
from settings.stack import StackSettings
from tests.settings.table import BASES, changed, findings_of, rows

SETTINGS = Path(loading.__file__).parent
# Each has tests/settings/test_<its name>.
ELSEWHERE = ("presets.py", "range_files.py", "warnings.py", "which.py")
# Calls with a refusal, and which argument it is.
REFUSALS = {"ValueError": 0, "Problem": 1, "Text": 2}
# What the JSON schema says of a value, and how pydantic calls its refusal.
CONSTRAINTS = {
    "title": "value_error",  # a check of our own
    "enum": "literal_error",
    "exclusiveMinimum": "greater_than",
    "minimum": "greater_than_equal",
    "maximum": "less_than_equal",
    "minItems": "too_short",
    "maxItems": "too_long",
}


@pytest.mark.parametrize("base", BASES)
def test_what_the_table_changes_is_good(base):
    """Else a row would show another mistake than its own."""
    assert findings_of(base, {}) == ()


@pytest.mark.parametrize("row", rows(), ids=str)
def test_a_wrong_value_is_refused_in_these_words(row):
    """A finding is one line and ends in what to do; a changed word is one someone must want."""
    path = list(row.changes)[-1]
    found = findings_of(row.base, row.changes)
    assert tuple(one.removeprefix(f"{path}: ") for one in found) == row.said
    for finding in found:
        assert finding.isprintable()
        where, _, what = finding.partition(": ")
        assert where
        assert "; " in what, finding
        for foreign in ("Input", "pydantic", "Value error", "is not accepted", "hunter2"):
            assert foreign not in finding


def test_every_constraint_of_a_key_has_a_row():
    """A constraint nobody saw refuse anything may have been lost, or speak gibberish."""
    seen = set()
    for row in rows():
        try:
            StackSettings.model_validate(
                changed(row.base, row.changes), by_alias=True, by_name=False
            )
        except ValidationError as error:
            seen |= {(path_of(location_of(one)), one["type"]) for one in error.errors()}
    # A key with "const" decides which model reads its section, and has a refusal of its own.
    plain = [key for key in keys().values() if "const" not in key.schema]
    wanted = {found for key in plain for found in constraints(key.path, key.schema)}
    wanted |= {(key.path, "missing") for key in plain if key.required}
    # As istio.sidecar, as vendors[].hosts, and as vendors[].billing.
    again = (".resources.", "destinations[].hosts", "vendors[].billing[]", "products[].billing")
    missing = {one for one in wanted - seen if not any(part in one[0] for part in again)}
    assert sorted(missing) == []


def constraints(path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((path, kind) for word, kind in CONSTRAINTS.items() if word in schema)
    for member in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        yield from constraints(path, member)
    if "items" in schema:
        yield from constraints(f"{path}[]", schema["items"])
    if isinstance(values := schema.get("additionalProperties"), dict):
        yield from constraints(f"{path}.*", values)


def test_every_sentence_has_a_row():
    """Each refusal in settings/, of a value or of what keys say together, is in the table."""
    words = "\n".join(line for row in rows() for line in row.said)
    missing = [
        f"{path.name}:{node.lineno} {longest}"
        for path in [*SETTINGS.glob("*.py"), *SETTINGS.glob("values/*.py")]
        if path.name not in ELSEWHERE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in REFUSALS
        for longest in [longest_text(node)]
        if longest not in words
    ]
    assert missing == []


def longest_text(call: ast.Call) -> str:
    said = call.args[REFUSALS[ast.unparse(call.func)] :][:1]
    texts = [
        part.value
        for argument in said
        for part in ast.walk(argument)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    return max(texts, key=len, default="")


def test_mistakes_of_single_keys_are_told_first_and_all_at_once():
    """What keys say together is not known before each is good; one round for each."""
    stack = changed(
        "small",
        {
            "vendors[0].name": "vendor-b",  # twice, with the next
            "vendors[1].cidrs": ["10.2.0.0/33"],
            "cluster": "Dev",
            "istio": {"cni": "no", "versoin": "1.31.4"},
        },
    )
    with pytest.raises(SettingsError) as refused:
        parse_settings(stack)
    assert [finding.partition(": ")[0] for finding in refused.value.findings] == [
        "cluster",
        "vendors[1].cidrs[0]",
        "istio.cni",
        "istio.versoin",
    ]
    with pytest.raises(SettingsError, match="is also vendors"):
        parse_settings(changed("small", {"vendors[0].name": "vendor-b"}))


def test_required_keys_have_an_example():
    """An example is what "is missing" suggests."""
    for key in keys().values():
        assert key.schema.get("examples") or not key.required, key.path
