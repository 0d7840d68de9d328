"""A target's JSON report is whole, or the target fails."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from tools.reports import write_report

TARGETS = {
    "audit": ("books.__main__", "audit.json"),
    "audit of the lab": ("lab.audit", "audit.json"),
    "demo": ("lab.demo", "demo.json"),
    "demo-check": ("lab.demo_check", "demo-check.json"),
    "test": ("tests.suites", "test.json"),
    "mutate": ("tests.rules.mutants", "mutate.json"),
    "check": ("tests.linters", "check.json"),
    "bench": ("benchmarks.__main__", "bench.json"),
}


def complaint(module: str, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a target with an OUT that cannot be written; return the line it prints."""
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(["--out", str(out)])
    assert ended.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""  # it did not begin its work
    [line] = errors.splitlines()
    return line


@pytest.mark.parametrize("target", TARGETS)
def test_out_that_cannot_be_written_ends_a_target_before_its_work(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The target prints one line and ends with 2, before a quarter of an hour of work."""
    module, name = TARGETS[target]
    (tmp_path / "file").write_text("")
    line = complaint(module, tmp_path / "file" / "out", capsys)
    assert line.startswith("OUT: cannot be written: [Errno 20] Not a directory: ")
    assert line.endswith("; name a folder that you may write to")
    (tmp_path / "out" / name).mkdir(parents=True)
    line = complaint(module, tmp_path / "out", capsys)
    assert f"{name} is a folder" in line


def test_a_report_is_whole_or_the_target_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report's status is the exit code, unless the report cannot be written."""
    file = tmp_path / "new" / "report.json"
    assert write_report(file, {"status": 1}) == 1
    assert json.loads(file.read_text()) == {"status": 1}
    assert [each.name for each in file.parent.iterdir()] == ["report.json"]
    (tmp_path / "file").write_text("")
    assert write_report(tmp_path / "file" / "report.json", {"status": 0}) == 2
    assert capsys.readouterr().err.startswith("OUT: cannot be written: ")
