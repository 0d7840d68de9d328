"""A running vendor's behaviour is changed whole or not at all, from the next request on."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulation.plans import keys_of
from simulation.proxy.answers import DIALECTS, FAULTS
from simulation.proxy.cli import main
from simulation.proxy.plan import Behaviour, Limits, Listen, Plan
from tests.simulation.vendor_process import RIGHT, VendorProcess, for_all_tests, vendor_process

PLANNED = {"credentials": {"crawler": "PASSWORD_A"}, "exits": {"count": 3}}
BEHAVIOURS: dict[str, Any] = {"a": PLANNED, "b": {}, "busy": {}, "lasting": {}, "flipped": {}}
vendors = for_all_tests(BEHAVIOURS)


def test_behaviour_is_shown_set_changed_and_reset(vendors: VendorProcess) -> None:
    """POST changes keys, null takes one away; DELETE is the plan's."""
    where = "/vendors/a"
    assert vendors.control("GET", where) == (200, PLANNED)
    assert vendors.one("a").status == 407
    blocked, late = {"faults": {"blocked": 1}}, {"latency_seconds": {"p50": 0.01, "p95": 0.02}}
    open_to_all = {"credentials": None, "exits": None}
    assert vendors.control("POST", where, {**open_to_all, **blocked}) == (200, blocked)
    assert vendors.one("a").status == 403
    assert vendors.control("POST", where, late)[1] == {**blocked, **late}
    assert vendors.control("POST", where, {"faults": None})[1] == late
    assert vendors.one("a").status == 200
    assert vendors.control("DELETE", where) == (200, PLANNED)
    assert vendors.one("a").status == 407
    assert vendors.one("a", user=RIGHT).status == 200


def test_control_endpoint_of_a_pod_answers_on_both_families(tmp_path: Path) -> None:
    """The kubelet and Prometheus come to a pod's first address, whatever family its vendor has."""
    with vendor_process(tmp_path, {"a": {}}, control_host="*") as found:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, found.control_port), timeout=1).close()


@pytest.mark.parametrize(
    ("body", "findings"),
    [
        (b"{", ["body: cannot be read as JSON: "]),
        (b"", ["body: cannot be read as JSON: "]),
        (b"\xff\xfe", ["body: cannot be read as JSON: "]),
        (b"[" * 50_000, ["body: cannot be read as JSON: "]),
        (b"9" * 5000, ["body: cannot be read as JSON: "]),
        ([], ["body: [] is not an object: give {credentials, exits, limits, "]),
        (
            {"fault": {}, "faults": {"reset": 0.7, "stall": 0.7}},
            ["fault: {} is an unknown key: use faults", "faults: {"],
        ),
        ({"faults": {"rest": 0.1}}, ['faults: {"rest": 0.1} names rest: use vendor-error, ']),
        ({"faults": {"reset": True}}, ['faults: {"reset": true} gives reset true: a share is']),
        ({"faults": []}, ["faults: [] is not an object"]),
        (
            {"limits": {"quota_bytes": -1, "rate": 1}},
            ["limits.quota_bytes: -1 is out of range", "limits.rate: 1 is an unknown key"],
        ),
        ({"limits": 5}, ["limits: 5 is not an object"]),
        (b'{"limits": {"requests_per_second": NaN}}', ["limits.requests_per_second: NaN is out"]),
        (b'{"limits": {"requests_per_second": 1e999}}', ["limits.requests_per_second: Infinity"]),
        ({"latency_seconds": -1}, ["latency_seconds: -1 is no latency: give seconds"]),
        ({"latency_seconds": {"p50": 2, "p95": 1}}, ["latency_seconds: {"]),
        ({"latency_seconds": {"p50": 0, "p95": 1}}, ["latency_seconds: {"]),
        ({"latency_seconds": {"p50": 1}}, ["latency_seconds: {"]),
        ({"latency_seconds": "fast"}, ['latency_seconds: "fast" is no latency']),
        ({"dialect": {"quota": "403"}}, ['dialect: {"quota": "403"} gives quota "403": use one']),
        (
            {"dialect": {"stall": "x"}},
            ['dialect: {"stall": "x"} names stall: use quota, policy, blocked'],
        ),
        ({"dialect": {"quota": []}}, ["dialect: "]),
        ({"exits": {}}, ["exits.count: is missing: add it"]),
        ({"exits": {"count": 0, "session_seconds": 0}}, ["exits.count: 0", "exits.session_sec"]),
        (
            {"credentials": {"me": "NO_SUCH_VARIABLE"}},
            ['credentials: {"me": "NO_SUCH_VARIABLE"} gives me "NO_SUCH_VARIABLE", no set'],
        ),
        ({"credentials": {"me": "PASSWORD_A", "a:b": "PASSWORD_A"}}, ["credentials: "]),
        ({"credentials": {}}, ["credentials: {} is empty"]),
    ],
)
def test_bad_change_changes_nothing(
    vendors: VendorProcess, body: object, findings: list[str]
) -> None:
    """A bad change is answered with every finding, and changes nothing."""
    before = vendors.control("GET", "/vendors/b")
    status, said = vendors.control("POST", "/vendors/b", body)
    assert status == 400
    assert len(said["findings"]) == len(findings)
    for found, start in zip(said["findings"], findings, strict=True):
        assert found.startswith(start)
    assert vendors.control("GET", "/vendors/b") == before
    assert vendors.one("b").status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/vendors/nobody", 404),
        ("POST", "/vendors/", 404),
        ("GET", "/", 404),
        ("PATCH", "/vendors/b", 405),
        ("GET", "/healthz", 200),
    ],
)
def test_other_requests_are_told_what_there_is(
    vendors: VendorProcess, method: str, path: str, status: int
) -> None:
    """Every path and method gets an answer."""
    assert vendors.control(method, path)[0] == status


@pytest.mark.parametrize(
    ("raw", "start"),
    [
        (b"POST /vendors/b HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"HTTP/1.1 413 "),
        (b"POST /vendors/b HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 400 "),
        (b"POST /vendors/b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\xff\xfe\r\n\r\n", b"HTTP/1.1 404 "),
        (b"\r\n\r\n", b"HTTP/1.1 404 "),
        (b"POST /vendors/b HTTP/1.1\r\nContent-Length: 20\r\n\r\n{", b""),
        (b"x" * 70_000, b""),
    ],
)
def test_control_endpoint_bears_anything(vendors: VendorProcess, raw: bytes, start: bytes) -> None:
    """Bad requests to the control endpoint get an answer or an end, and no traceback."""
    said = b""
    with socket.create_connection(("127.0.0.1", vendors.control_port), timeout=5) as sock:
        try:
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
            said = b"".join(iter(lambda: sock.recv(65536), b""))
        except ConnectionError:
            pass
    assert said.startswith(start)
    assert vendors.control("GET", "/vendors/b")[0] == 200


def test_request_being_served_goes_on_as_it_began(vendors: VendorProcess) -> None:
    """A late answer and a tunnel outlast a change; the next request meets it."""
    vendors.change("lasting", latency_seconds=0.3)
    with (
        vendors.client("lasting") as late,
        vendors.client("lasting") as tunnel,
    ):
        began = time.monotonic()
        late.send(b"GET http://site.sim.test/p/9 HTTP/1.1\r\n\r\n")
        assert tunnel.connect().status == 200
        vendors.change("lasting", latency_seconds=None, faults={"blocked": 1})
        assert late.answer().status == 200
        assert time.monotonic() - began >= 0.3
        tunnel.wrap()
        assert tunnel.ask("/p/7").status == 200
        assert [client.ask().status for client in (late, vendors.client("lasting"))] == [403, 403]


def test_change_under_load_keeps_the_books_exact(vendors: VendorProcess, tmp_path: Path) -> None:
    """Both books stay equal while the behaviour changes all the time."""
    stop = threading.Event()

    def flip() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            vendors.change("flipped", faults={"blocked": 1} if number % 2 else None)

    changing = threading.Thread(target=flip)
    changing.start()
    try:
        mine = vendors.crawl("flipped", count=300, concurrency=8)
    finally:
        stop.set()
        changing.join()
    rows = {(row["visibility"], row["outcome"]): row["count"] for row in mine["counts"]}
    assert rows == vendors.counts("flipped")
    assert {outcome for _, outcome in rows} == {"blocked", "success"}


def test_behaviour_of_a_plan_is_read_as_strictly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], free_plan: Callable[[Any], Path]
) -> None:
    """A plan's behaviours are checked before anything listens, and so are unknown vendors."""
    plan = free_plan({"a": {"limits": {"quota": 5}, "fault": {}}, "ghost": {}})
    assert main(["--plan", str(plan)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "vendor: vendors.a.fault: {} is an unknown key: use faults",
        "vendor: vendors.a.limits.quota: 5 is an unknown key: use quota_bytes",
        "vendor: vendors.ghost: is no vendor of listen: give it a place there",
    ]


@pytest.fixture
def free_plan(tmp_path: Path) -> Callable[[Any], Path]:
    def write(behaviours: Any) -> Path:
        path = tmp_path / "plan.json"
        place = {"vendor": "a", "address": "127.0.0.1", "port": 1}
        path.write_text(json.dumps({"listen": [place], "control_port": 1, "vendors": behaviours}))
        return path

    return write


def test_help_of_the_plan_names_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help-plan` names every key, fault and wording in 80 columns."""
    with pytest.raises(SystemExit) as end:
        main(["--help-plan"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert max(map(len, said.splitlines())) <= 80
    words = [word for words in DIALECTS.values() for word in words]
    keys = [name for kind in (Plan, Listen, Behaviour, Limits) for name in keys_of(kind)]
    assert [key for key in (*keys, *FAULTS, *words) if key not in said] == []
