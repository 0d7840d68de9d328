"""`make dashboards` writes what a Grafana of others can import."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dashboards.__main__ import main
from dashboards.boards import boards
from settings.loading import ROOT, load_stack_file


def test_the_boards_of_a_stack_are_written(tmp_path: Path) -> None:
    """The same files that this program's Grafana loads, in a folder without anything else."""
    assert main(["--stack", "prod", "--out", str(tmp_path)]) == 0
    written = {
        path.name: path.read_text(encoding="utf-8")
        for path in (tmp_path / "dashboards" / "Proxy vendors").iterdir()
    }
    assert written == boards(load_stack_file(ROOT / "Pulumi.prod.yaml"))
    report = json.loads((tmp_path / "dashboards.json").read_text(encoding="utf-8"))
    assert report["status"] == 0
    assert {Path(name).name for name in report["files"]} == set(written)


def test_a_wrong_stack_writes_no_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 for a wrong value, 2 for a stack that there is not."""
    file = tmp_path / "Pulumi.wrong.yaml"
    file.write_text("config:\n  proxy-observability:cluster: Wrong\n", encoding="utf-8")
    monkeypatch.setenv("STACK_FILE", str(file))
    assert main(["--stack", "wrong", "--out", str(tmp_path / "out")]) == 1
    assert "cluster: 'Wrong'" in capsys.readouterr().err
    monkeypatch.delenv("STACK_FILE")
    assert main(["--stack", "nobody", "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out" / "dashboards").exists()
