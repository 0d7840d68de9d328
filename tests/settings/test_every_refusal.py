"""Nothing the checks refuse goes without a wrong file that shows the refusal."""

from __future__ import annotations

import ast
from pathlib import Path

from settings import cross_checks, loading
from settings.cross_checks import CHECKS
from settings.loading import SettingsError
from settings.schema import keys
from tests.settings.test_wrong_files import WRONG


def test_every_check_across_keys_has_a_wrong_file(monkeypatch):
    """Without the check some wrong file would pass, or say less."""
    monkeypatch.setattr(loading, "CHECKS", ())
    without = {path: told(path) for path in WRONG}
    idle = []
    for check in CHECKS:
        monkeypatch.setattr(loading, "CHECKS", (check,))
        if not any(told(path) != without[path] for path in WRONG):
            idle.append(check.__name__)
    assert idle == []


def told(path: Path) -> str:
    try:
        loading.load_stack_file(path)
    except SettingsError as error:
        return str(error)
    return ""


def test_every_check_is_run():
    """A check that is written but not listed would refuse nothing."""
    written = {
        node.name
        for node in ast.parse(Path(cross_checks.__file__).read_text()).body
        if isinstance(node, ast.FunctionDef)
        and node.returns is not None
        and ast.unparse(node.returns) == "Iterator[Problem]"
    }
    assert written == {check.__name__ for check in CHECKS}


def test_required_keys_have_an_example():
    """An example is what "is missing" suggests."""
    for key in keys().values():
        assert key.schema.get("examples") or not key.required, key.path
