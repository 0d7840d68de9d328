"""The JSON of a target, and a program that waits for it in vain."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path

import pytest

from tools.reports import write_report

TARGETS = {
    "audit": ("audit.__main__", "audit.json"),
    "audit of the lab": ("lab.audit", "audit.json"),
    "demo": ("lab.demo", "demo.json"),
    "demo-check": ("lab.check", "demo-check.json"),
    "test": ("tests.suites", "test.json"),
    "mutate": ("tests.rules.mutants", "mutate.json"),
    "check": ("tests.linters", "check.json"),
    "bench": ("benchmarks.__main__", "bench.json"),
}


def complaint(module: str, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a target with an OUT that cannot be; return the one line it leaves."""
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(["--out", str(out)])
    assert ended.value.code == 2
    assert time.monotonic() - began < 10  # none of its work was begun
    said, told = capsys.readouterr()
    assert said == ""
    [line] = told.splitlines()
    return line


@pytest.mark.parametrize("target", TARGETS)
def test_out_that_cannot_be_written_ends_a_target_before_its_work(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and code 2; after a quarter of an hour it would be too late, and 0 a lie."""
    module, name = TARGETS[target]
    (tmp_path / "file").write_text("")
    line = complaint(module, tmp_path / "file" / "out", capsys)
    assert line.startswith("OUT: cannot be written: [Errno 20] Not a directory: ")
    assert line.endswith("; name a folder that you may write to")
    (tmp_path / "out" / name).mkdir(parents=True)
    line = complaint(module, tmp_path / "out", capsys)
    assert f"{name} is a folder" in line


def test_report_is_whole_or_the_run_has_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is the exit code; a disk that refuses at the end is no success either."""
    file = tmp_path / "new" / "report.json"
    assert write_report(file, {"status": 1}) == 1
    assert json.loads(file.read_text()) == {"status": 1}
    assert [each.name for each in file.parent.iterdir()] == ["report.json"]
    (tmp_path / "file").write_text("")
    assert write_report(tmp_path / "file" / "report.json", {"status": 0}) == 2
    assert capsys.readouterr().err.startswith("OUT: cannot be written: ")
