"""Whatever ends the lab: one clear line, the right exit code, no process and no port left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.loopback import get_json
from lab.system import ROOT
from tests.lab.conftest import WAIT_SECONDS, run_lab, until

pytestmark = pytest.mark.long


def listening(port: int) -> bool:
    """Whether any socket of this machine listens on the port, whatever the address."""
    wanted = f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(f[1].endswith(wanted) and f[3] == "0A" for f in (line.split() for line in lines))


def processes_of(base: int) -> dict[int, str]:
    """Return the command lines, by process, that mention the run's folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if f"demo-{base}/" in command or f"check-{base}/" in command:
                    found[int(entry.name)] = command
    return found


def nothing_left(ports) -> bool:
    offsets = (1, 2, 3, 28, 29, 90)
    return not processes_of(ports.base) and not any(listening(ports.base + n) for n in offsets)


STARTED, FIRST_ROW = "Ctrl-C ends it.", "vendor-a"


@pytest.fixture
def demo(ports, request):
    """A running demo that has printed a line: by default, that everything was started."""
    awaited = getattr(request, "param", STARTED)
    process = subprocess.Popen(
        [sys.executable, "-m", "lab.demo", "--port-base", str(ports.base)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(awaited):
            break
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("demo", "number"),
    [(FIRST_ROW, signal.SIGINT), (STARTED, signal.SIGTERM)],
    indirect=["demo"],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_ends_the_demo(demo, ports, number):
    """Ctrl-C and `kill` leave nothing behind and are no failure."""
    endpoints = ROOT / ".demo" / "endpoints.json"
    known = json.loads(endpoints.read_text())
    assert known["prometheus"] == f"http://127.0.0.1:{ports.prometheus}"
    assert get_json(f"{known['boards']}/api/boards")[0]["title"]
    assert known["vendors"]["vendor-a"] == [f"127.1.0.10:{ports.vendor}"]
    named = f"gw.vendor-k.test:{ports.moved(3171)}"
    assert known["names"][named] == f"127.241.0.3:{ports.moved(3171)}"
    assert known["vendors"]["vendor-k"] == [known["names"][named]]
    assert list(known["products"]["vendor-j"]) == ["residential", "isp", "datacenter", "mobile"]
    started = time.monotonic()
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=WAIT_SECONDS)
    print(f"ended after {time.monotonic() - started:.1f} s")
    assert demo.returncode == 0
    assert errors == f"stopped by {number.name}; every process and port is gone\n"
    assert nothing_left(ports)
    assert not endpoints.exists()


def test_a_killed_envoy_ends_the_demo_with_one_line(demo, ports):
    """The lab does not go on showing numbers of a mesh that is gone."""
    (envoy,) = (
        pid
        for pid, command in processes_of(ports.base).items()
        if Path(command.split(" ")[0]).name == "envoy"
    )
    os.kill(envoy, signal.SIGKILL)
    _, errors = demo.communicate(timeout=WAIT_SECONDS)
    assert demo.returncode == 2
    (line,) = errors.splitlines()
    assert line.startswith("envoy was ended by SIGKILL; ")
    assert nothing_left(ports)


def test_a_lab_killed_outright_takes_its_children_along(demo, ports):
    """`kill -9` cannot be caught: the kernel ends the children."""
    demo.kill()
    demo.wait()
    until(lambda: nothing_left(ports))


@pytest.mark.parametrize("module", ["demo", "demo_check"])
def test_a_port_in_use_is_named_before_anything_starts(module, ports):
    """The line names port, address and the way out; exit code 2."""
    with socket.socket() as holder:
        holder.bind(("127.1.0.10", ports.vendor))
        holder.listen()
        ended = run_lab(module, "--port-base", str(ports.base))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line == (
        f"port {ports.vendor} on 127.1.0.10 cannot be used (Address already in use): "
        "stop what uses it, or choose other ports with PORT_BASE=13100"
    )
    assert nothing_left(ports)


def test_a_missing_binary_is_one_line(ports, tmp_path):
    """No go, no network, no Prometheus: said in one line, and nothing was started."""
    (tmp_path / "python3").symlink_to(sys.executable)
    ended = run_lab(
        "demo_check",
        *("--port-base", str(ports.base)),
        PATH=str(tmp_path),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        HTTPS_PROXY="http://127.0.0.1:9",
    )
    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert "prometheus" in last
    assert "Traceback" not in ended.stderr
    assert nothing_left(ports)
