"""`make test` reports exactly what happened, and leaves no process behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import binaries
from tests import suites as module
from tests.binaries import debian
from tests.lab.conftest import until
from tests.mesh import networks, versions
from tests.ports import BLOCK, CLAIMS, free_block, free_ports
from tests.suites import ON_DEMAND, TESTS, Outcome, default_suites, main, run, suites
from wasm import build

MIXED = """
import os, pathlib, pytest

@pytest.fixture(scope="module")
def own():
    with pathlib.Path({seen!r}).open("a") as file:
        file.write(f"{{__name__}} {{os.environ.get('PYTEST_XDIST_WORKER')}}\\n")

@pytest.fixture
def broken():
    raise RuntimeError("set-up")

@pytest.mark.parametrize("n", range(3))
def test_passes(own, n): pass
def test_fails(own): assert 1 == 2, "shown in the output"
def test_skips(own): pytest.skip("no such program")
def test_has_no_set_up(own, broken): pass
"""


def sums(outcome) -> tuple[int, int, int]:
    return outcome.passed, outcome.failed, outcome.skipped


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CI", raising=False)
    nothing_above = f"--rootdir={tmp_path} --confcutdir={tmp_path}"
    # Importing these plug-ins would be half the time of every run here.
    monkeypatch.setenv("PYTEST_ADDOPTS", f"-p no:hypothesispytest -p no:anyio {nothing_above}")


def test_sums_are_exact_on_several_workers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The output of failed tests is readable, and a file with its fixtures stays on one worker."""
    seen = tmp_path / "seen"
    for name in "abc":
        (tmp_path / f"test_{name}.py").write_text(MIXED.format(seen=str(seen)))
    assert sums(run([tmp_path], 2)) == (9, 6, 3)
    output = capfd.readouterr().out
    assert "shown in the output" in output
    assert "FAILED" in output
    assert "test_a.py::test_fails" in output
    assert "slowest 3 durations" in output
    files = seen.read_text().splitlines()
    assert sorted(line.split()[0] for line in files) == ["test_a", "test_b", "test_c"]
    assert len({line.split()[1] for line in files}) == 2


def test_in_ci_a_skipped_test_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CI can install every program, so a missing one is an error."""
    monkeypatch.setenv("CI", "true")
    (tmp_path / "test_a.py").write_text(
        "import pytest\ndef test_a(): pytest.skip('none')\ndef test_b(): pass\n"
    )
    assert sums(run([tmp_path])) == (1, 1, 0)


def test_a_suite_without_tests_has_failed(tmp_path: Path) -> None:
    """A wrong path must not read as success."""
    assert sums(run([tmp_path], 2)) == (0, 1, 0)


def test_a_worker_that_dies_is_a_failure(tmp_path: Path) -> None:
    """Memory ran out, or a library crashed: one failure, whatever else passed."""
    (tmp_path / "test_a.py").write_text(
        "import os, signal\ndef test_a(): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "test_b.py").write_text("def test_b(): pass\n")
    outcome = run([tmp_path], 2)
    assert (outcome.failed, outcome.skipped) == (1, 0)


WAITS = """
import os, pathlib, pytest, subprocess, time

@pytest.fixture
def child():
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as child:
        yield child
        child.kill()

def test_waits(child):
    pathlib.Path({folder!r}, f"{{os.getpid()}}.{{child.pid}}").touch()
    time.sleep(600)
"""


def test_ctrl_c_ends_workers_and_what_their_tests_started(tmp_path: Path) -> None:
    """The terminal signals the process group; fixtures end the processes that left the group."""
    for name in "ab":
        (tmp_path / f"test_{name}.py").write_text(WAITS.format(folder=str(tmp_path)))
    script = (
        # A shell starts `make test &` with SIGINT ignored, which every child inherits.
        "import pathlib, signal\nfrom tests.suites import run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"try: run([pathlib.Path({str(tmp_path)!r})], 2)\n"
        "except KeyboardInterrupt: print('stopped')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=TESTS.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as suites:
        until(lambda: len(list(tmp_path.glob("*.*[0-9]"))) == 2)
        os.killpg(suites.pid, signal.SIGINT)
        output, _ = suites.communicate(timeout=60)
    assert output.endswith("stopped\n"), output
    started = [int(pid) for file in tmp_path.glob("*.*[0-9]") for pid in file.name.split(".")]
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))


def test_a_block_of_ports_is_claimed_before_it_is_used() -> None:
    """Workers, and two runs at once, never choose the same block."""
    blocks = [free_block() for _ in range(CLAIMS)]
    assert len(set(blocks)) == CLAIMS
    assert min(blocks) >= 10_000
    assert max(blocks) + BLOCK <= 32_768
    for base in blocks:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", base + BLOCK - 1))


def test_free_ports_are_all_different() -> None:
    """Even on different addresses, since logs and counters name only the port."""
    addresses = ["127.0.0.1", "127.44.5.6", "::1", "127.0.0.1"]
    ports = free_ports(addresses)
    assert len(set(ports)) == len(addresses)
    for address, port in zip(addresses, ports, strict=True):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        socket.create_server((address, port), family=family).close()


@pytest.mark.parametrize(
    ("environment", "left_out"),
    [
        ({}, set(ON_DEMAND)),
        ({"FULL": "1"}, set()),
        ({"CI": "true"}, set()),
        ({"CI": "0"}, set(ON_DEMAND)),
    ],
)
def test_ci_and_full_run_every_suite(environment: dict[str, str], left_out: set[str]) -> None:
    """A run on a developer's machine leaves out the suites that take minutes."""
    assert set(suites()) - set(default_suites(environment)) == left_out


def test_a_mesh_that_cannot_run_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of every suite leaves it out and prints why; SUITE=mesh fails."""
    ran: list[str] = []
    one = Outcome(passed=1, failed=0, skipped=0, seconds=0.0)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(debian.Machine, "install", lambda *_: None)
    monkeypatch.setattr(networks, "why_not", lambda: "no root here")
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    monkeypatch.setattr(build, "why_not", lambda: None)
    monkeypatch.setattr(versions, "obtain", lambda: ran.append("builds"))
    monkeypatch.setattr(binaries, "find", lambda _: ran.append("builds"))
    monkeypatch.setattr(module, "run", lambda folders, _: ran.append(folders[-1].name) or one)
    assert main([]) == 0
    assert {"builds", "mesh", "api"}.isdisjoint(ran)
    output = capsys.readouterr().out.splitlines()
    left_out = "mesh (no root here), api (no root here), engine (no pulumi on PATH)"
    assert output[-2] == f"not run: {left_out}"
    assert output[-1] == "6 passed, 0 failed, 0 skipped"
    assert main(["--suite", "mesh"]) == 2
    assert "mesh: cannot run: no root here" in capsys.readouterr().err


def test_make_help_names_every_suite() -> None:
    """`make help` shows which values SUITE takes."""
    makefile = (TESTS.parent / "Makefile").read_text()
    (shown,) = re.findall(r"SUITE=(\S+)$", makefile, re.MULTILINE)
    assert shown == "|".join(suites())
