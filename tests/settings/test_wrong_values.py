"""A wrong value is refused in the words of the table, and each constraint has a row in it."""

from __future__ import annotations

import ast
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from settings import cross_checks, loading
from settings.loading import SettingsError, parse_settings
from settings.messages import location_of
from settings.schema import keys, path_of
from settings.stack import StackSettings
from tests.settings.constraints import constraints
from tests.settings.table import BASES, changed, findings_of, rows

SETTINGS = Path(loading.__file__).parent
# Calls with a refusal, and which argument it is.
REFUSALS = {"ValueError": 0, "Problem": 1, "matching": 1}
# By a key: how many of its item are too many. Written out they would bury the table.
TOO_MANY = {
    "vendors[0].ports": 21,
    "vendors[0].httpPorts": 51,
    "targets": 51,
    "targets[0].hosts": 1001,
}


@pytest.mark.parametrize("base", BASES)
def test_what_the_table_changes_is_good(base):
    """Else a row would show another mistake than its own."""
    assert findings_of(base, {}) == ()


@pytest.mark.parametrize("row", rows(), ids=str)
def test_a_wrong_value_is_refused_in_these_words(row):
    """An operator reads the whole message: a changed word is a change someone must want."""
    path = list(row.changes)[-1]
    found = findings_of(row.base, row.changes)
    assert tuple(one.removeprefix(f"{path}: ") for one in found) == row.said


@pytest.mark.parametrize("row", rows(), ids=str)
def test_a_finding_is_one_line_and_ends_in_what_to_do(row):
    """CI shows a finding a line; a reason without a remedy leaves the operator guessing."""
    for finding in findings_of(row.base, row.changes):
        assert finding.isprintable()
        where, _, what = finding.partition(": ")
        assert where
        assert "; " in what, finding
        for foreign in ("Input", "pydantic", "Value error", "is not accepted", "hunter2"):
            assert foreign not in finding


@pytest.mark.parametrize(("path", "count"), TOO_MANY.items())
def test_a_list_that_is_too_long_is_refused(path, count):
    """A generated list of thousands would make objects that no cluster takes."""
    (finding,) = findings_of("complete", {path: many(path, count)})
    assert finding.startswith(f"{path}: ")
    assert finding.endswith(f" has {count} items; write at most {count - 1}")


def many(path: str, count: int) -> list[object]:
    holder = {"": BASES["complete"], "vendors[0]": BASES["complete"]["vendors"][0]}
    holder["targets[0]"] = BASES["complete"]["targets"][0]
    section, _, key = path.rpartition(".")
    return [holder[section][key][0]] * count


def test_every_constraint_of_a_key_has_a_row():
    """A constraint nobody saw refuse anything may have been lost, or speak gibberish."""
    stacks = [changed(row.base, row.changes) for row in rows()]
    stacks += [changed("complete", {path: many(path, n)}) for path, n in TOO_MANY.items()]
    seen = set()
    for stack in stacks:
        try:
            StackSettings.model_validate(stack, by_alias=True, by_name=False)
        except ValidationError as error:
            for detail in error.errors():
                path = path_of(location_of(detail))
                seen.add((path, detail["type"]))
                if detail["type"] == "value_error":
                    frames = traceback.extract_tb(detail["ctx"]["error"].__traceback__)
                    seen |= {(path, frame.name) for frame in frames}
    assert sorted(constraints() - seen) == []


def test_every_sentence_has_a_row():
    """Each refusal in settings/, of a value or of what keys say together, is in the table."""
    words = "\n".join(line for row in rows() for line in row.said)
    missing = [
        f"{path.name}:{node.lineno} {longest}"
        for path in [*SETTINGS.glob("*.py"), *SETTINGS.glob("values/*.py")]
        if path.name not in ("range_files.py", "which.py")  # tests/settings/test_<its name>
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


def test_every_check_across_sections_has_a_row(monkeypatch):
    """Without the check some row would pass, or say less."""
    wanted = [(row, findings_of(row.base, row.changes)) for row in rows() if row.base == "small"]
    idle = []
    for check in cross_checks.CHECKS:
        others = tuple(one for one in cross_checks.CHECKS if one is not check)
        monkeypatch.setattr(loading, "CHECKS", others)
        if all(findings_of(row.base, row.changes) == said for row, said in wanted):
            idle.append(check.__name__)
    assert idle == []


def test_every_check_is_run():
    """A check that is written but not listed would refuse nothing."""
    written = {
        node.name
        for node in ast.parse(Path(cross_checks.__file__).read_text()).body
        if isinstance(node, ast.FunctionDef)
        and node.returns is not None
        and ast.unparse(node.returns) == "Iterator[Problem]"
    }
    assert written == {check.__name__ for check in cross_checks.CHECKS}


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
