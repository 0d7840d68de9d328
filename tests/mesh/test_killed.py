"""Tests that are killed outright leave nothing: no process, and a folder only until the next."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from settings.loading import ROOT
from tests.mesh.mesh import own_folder
from tests.mesh.networks import why_not

GONE_SECONDS = 10.0

RUN = """
import time
from lab.processes import children
from tests.mesh.kubelet import PROXY_USER
from tests.mesh.mesh import own_folder
from tests.mesh.networks import Network

deaf = ["sh", "-c", "trap '' TERM INT; while true; do sleep 1; done"]
with own_folder() as folder, children() as family:
    network = Network(family, "left", folder)
    log = folder / "log"
    started = [
        family.start("in it", network.command(deaf), log=log),
        family.start("as a sidecar", network.container(deaf, PROXY_USER), log=log),
        int(network.path.split("/")[2]),
    ]
    print(folder, *started, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module", autouse=True)
def _as_rendered() -> None:
    """No mesh is needed here."""
    if reason := why_not():
        pytest.skip(f"no namespaces on this machine: {reason}")


def _is_there(process: int) -> bool:
    """Whether it runs: what nobody has waited for has ended all the same."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    return "\nState:\tZ" not in status


def _program(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _descendants(process: int) -> list[int]:
    lists = Path(f"/proc/{process}/task").glob("*/children")
    own = [int(one) for file in lists for one in file.read_text().split()]
    return [*own, *(other for one in own for other in _descendants(one))]


def test_a_killed_run_leaves_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        path, *numbers = run.stdout.readline().split()
        processes = [int(one) for one in numbers]
        deadline = time.monotonic() + GONE_SECONDS
        while "sleep" not in map(_program, below := _descendants(processes[1])):
            assert time.monotonic() < deadline, "no sidecar was started"
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + GONE_SECONDS
    while still := [one for one in (*processes, *below) if _is_there(one)]:
        assert time.monotonic() < deadline, f"still there: {still}"
        time.sleep(0.02)
    with own_folder() as folder:
        while Path(path).exists():  # another worker may be at it
            assert time.monotonic() < deadline, f"still there: {path}"
            time.sleep(0.02)
        with own_folder():  # of a run beside it
            assert folder.is_dir()
    assert not folder.exists()
