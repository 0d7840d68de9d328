"""How a child's end is noticed, by the one that waits for it or for something else."""

from __future__ import annotations

import pytest

from lab.processes import LabError, children


def test_a_child_may_end_well_while_it_is_looked_at(tmp_path, monkeypatch):
    """The moment between two looks at it made a child that had succeeded a failed one."""
    with children() as family:
        family.start("short", ["true"], log=tmp_path / "log")
        (child,) = family._running
        child.process.wait()
        looks = iter([None])
        monkeypatch.setattr(child.process, "poll", lambda: next(looks, 0))
        family.wait_for_end("short")
        assert next(looks, "none left") == "none left"


def test_a_child_that_is_gone_is_named_before_what_was_asked_of_it_fails(tmp_path):
    """Of a Prometheus that ended, "Connection refused" would be all that is said."""

    def refused():
        raise ConnectionRefusedError("Connection refused")

    with children() as family:
        family.start("prometheus", ["sh", "-c", "echo no space; exit 1"], log=tmp_path / "log")
        family._running[0].process.wait()
        with pytest.raises(LabError, match=r"^prometheus ended by itself with code 1; .*no space"):
            family.wait(refused, 60)


def test_a_condition_is_asked_once_however_little_time_there_is():
    """What is true already is found, and what is not is returned as it is."""
    with children() as family:
        assert family.wait(lambda: "here", 0) == "here"
        assert family.wait(lambda: "", 0) == ""
