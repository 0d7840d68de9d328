"""`make mutate` says so when an alert's test fails as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules import mutants

ALERT = "StorageFilling"


@pytest.mark.parametrize(
    ("written", "wrong", "words"),
    [
        ("severity: warning", "severity: critical", ["its test fails as it is", "warning"]),
        (
            "values: 100000000000x870",
            "values: 0x60",
            ["the values of kubelet_volume_stats_capacity_bytes{", "write '0x60' in quotes"],
        ),
    ],
)
def test_a_test_that_fails_on_the_alert_itself_catches_nothing(
    promtool: Path,
    written: str,
    wrong: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It fails on every mutant too, which read as "all caught"."""
    text = mutants.file_of(ALERT).read_text(encoding="utf-8")
    assert written in text
    (tmp_path / f"{ALERT}.test.yml").write_text(text.replace(written, wrong, 1), encoding="utf-8")
    monkeypatch.setattr(mutants, "TESTS", tmp_path)
    assert mutants.main(["--only", ALERT]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{ALERT}: ")
    assert all(word in err for word in words)
