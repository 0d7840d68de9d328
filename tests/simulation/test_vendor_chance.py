"""Faults by chance come in their shares, and are counted as a sidecar sees them."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from simulation.crawler.faults import FAULTS as CRAWLER_FAULTS
from simulation.proxy.answers import FAULTS as VENDOR_FAULTS
from tests.simulation.vendor_process import (
    Client,
    VendorProcess,
    for_all_tests,
    is_likely,
    vendor_process,
)

SILENT = {"reset": 0.15, "close": 0.1, "garbage": 0.1, "reset-inside": 0.15, "close-inside": 0.1}
BEHAVIOURS: dict[str, Any] = {
    "silent": {"faults": SILENT},
    "again": {"faults": SILENT},
    **{f"only-{fault}": {"faults": {fault: 1}} for fault in VENDOR_FAULTS},
}
REQUEST = b"GET http://site.sim.test/p/900 HTTP/1.1\r\nProxy-Authorization: Basic eDp5\r\n\r\n"
vendors = for_all_tests(BEHAVIOURS, slow_seconds=0.08)


def how_it_ended(client: Client) -> str:
    """Return the fault that the bytes and the end of the connection show."""
    said, end = b"", "close"
    try:
        while data := client.socket.recv(65536):
            said += data
            if len(said) > 900:
                return "success"
    except ConnectionResetError:
        end = "reset"
    if not said:
        return end
    return f"{end}-inside" if said.startswith(b"HTTP/1.1 200") else "garbage"


def silent_run(vendors: VendorProcess, name: str, count: int, at_once: int = 1) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(vendors.client(name)) for _ in range(at_once)]
            for client in clients:
                client.send(REQUEST)
            found += map(how_it_ended, clients)
    return found


def test_shares_of_faults_are_the_plans(vendors: VendorProcess) -> None:
    """300 connections, faults without an answer: chi-square at level 0.001, the seed is fixed."""
    seen = Counter(silent_run(vendors, "silent", 300, at_once=20))
    shares = {**SILENT, "success": 1 - sum(SILENT.values())}
    assert seen.keys() == shares.keys()
    assert is_likely([seen[key] for key in shares], [300 * share for share in shares.values()])
    assert vendors.counts("silent") == {
        ("http", "reset"): 300 - seen["success"] - seen["garbage"],
        ("http", "bad_answer"): seen["garbage"],
        ("http", "success"): seen["success"],
    }


def test_same_seed_draws_the_same(tmp_path: Path, vendors: VendorProcess) -> None:
    """A vendor of that name and seed fails at the very same requests; another name does not."""
    with vendor_process(tmp_path, {"again": BEHAVIOURS["again"]}) as second:
        theirs = silent_run(second, "again", 30)
    mine = silent_run(vendors, "again", 30)
    assert mine == theirs
    with vendor_process(tmp_path, {"again": BEHAVIOURS["again"]}, seed=18) as third:
        assert silent_run(third, "again", 30) != mine


@pytest.mark.parametrize("fault", VENDOR_FAULTS)
@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_fault_by_chance_is_the_fault_by_name(
    vendors: VendorProcess, fault: str, method: str
) -> None:
    """Each fault, drawn or asked for by host, does the same and is booked the same."""
    name, said = f"only-{fault}", []
    before = Counter(vendors.counts(name))
    vendors.change(name, faults={fault: 1})
    for host in ("site.sim.test", f"fault-{fault}.sim.test"):
        target = f"{host}:443" if method == "CONNECT" else f"http://{host}/p/900"
        with vendors.client(name) as client:
            client.send(
                f"{method} {target} HTTP/1.1\r\nProxy-Authorization: Basic eDp5\r\n\r\n".encode()
            )
            client.socket.settimeout(0.16 if fault == "stall" else 5)
            try:
                said.append(client.receive(9))
            except TimeoutError:
                said.append(b"stalled")
            except ConnectionResetError:
                said.append(b"reset")
        vendors.change(name, faults=None)
    # A target errs with 404 or 503, whoever asks for it.
    drawn, asked = (re.sub(rb"(404|503)$", b"4xx", each[:12]) for each in said)
    assert drawn == asked
    new = Counter(vendors.counts(name)) - before
    assert sum(new.values()) == 2
    assert len(new) == 1


def test_crawler_knows_every_fault() -> None:
    """The crawler can ask for every fault of a vendor, and has two more."""
    assert CRAWLER_FAULTS.keys() - {"dead", "rejected"} == set(VENDOR_FAULTS)
