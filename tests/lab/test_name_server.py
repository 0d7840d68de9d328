"""The lab's DNS server, asked over real sockets."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from tests.ports import free_block
from tests.programs import run_to_end

NAME = "gw.vendor.test"
ADDRESSES = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "fd00::1"]


class Server:
    def __init__(self, folder: Path) -> None:
        self.port = free_block()
        self.zone, self.questions = folder / "zone.json", folder / "asked.txt"
        self.write({NAME: {"addresses": ADDRESSES, "ttl": 7}})
        command = [sys.executable, "-m", "lab.name_server", f"--listen=127.0.0.1:{self.port}"]
        command += [f"--zone={self.zone}", f"--questions={self.questions}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert "listens" in self.process.stdout.readline()

    def write(self, zone: object) -> None:
        self.zone.write_text(json.dumps(zone))

    def ask(self, name: str = NAME, type_: str = "A", *, tcp: bool = False) -> DNSRecord:
        question = DNSRecord.question(name, type_)
        return DNSRecord.parse(question.send("127.0.0.1", self.port, tcp=tcp, timeout=60))

    def addresses(self, name: str = NAME, type_: str = "A", *, tcp: bool = False) -> list[str]:
        return [str(one.rdata) for one in self.ask(name, type_, tcp=tcp).rr]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_it_answers_by_family(server: Server, tcp: bool) -> None:
    answer = server.ask(tcp=tcp)
    assert sorted(str(one.rdata) for one in answer.rr) == ADDRESSES[:3]
    assert {one.ttl for one in answer.rr} == {7}
    assert server.addresses(type_="AAAA", tcp=tcp) == ["fd00::1"]
    assert server.addresses(name="GW.Vendor.TEST.", tcp=tcp)


def test_answers_rotate(server: Server) -> None:
    assert len({server.addresses()[0] for _ in range(4)}) == 3


def test_a_change_of_the_file_counts_at_once(server: Server) -> None:
    server.write({NAME: {"addresses": ["10.2.0.1"]}})
    assert server.addresses() == ["10.2.0.1"]
    server.zone.write_text('{"gw.vend')  # half written
    assert server.addresses() == ["10.2.0.1"]


def test_trouble(server: Server) -> None:
    assert server.ask("other.test").header.rcode == RCODE.NXDOMAIN
    server.write({NAME: {"addresses": ADDRESSES, "answer": "nxdomain"}})
    assert server.ask().header.rcode == RCODE.NXDOMAIN
    server.write({NAME: {"addresses": ADDRESSES, "answer": "empty"}})
    answer = server.ask()
    assert (answer.header.rcode, answer.rr) == (RCODE.NOERROR, [])
    server.write({NAME: {"addresses": ADDRESSES, "answer": "silence"}})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.3)
        sock.sendto(DNSRecord.question(NAME).pack(), ("127.0.0.1", server.port))
        with pytest.raises(TimeoutError):
            sock.recv(512)
    server.write({NAME: {"addresses": ["10.2.0.1"]}})
    assert server.addresses() == ["10.2.0.1"]
    assert server.questions.read_text().splitlines() == [
        "A other.test nxdomain",
        f"A {NAME} nxdomain",
        f"A {NAME} empty",
        f"A {NAME} silence",
        f"A {NAME} addresses",
    ]


def test_nonsense_changes_nothing(server: Server) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"nonsense", ("127.0.0.1", server.port))
        sock.sendto(b"", ("127.0.0.1", server.port))
    assert server.ask().q.qtype == QTYPE.A


def test_sigterm_ends_it(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0


def test_a_zone_that_is_none_is_refused(tmp_path: Path) -> None:
    zone = tmp_path / "zone.json"
    zone.write_text('{"gw.test": {"addresses": ["10.1"]}}')
    command = [sys.executable, "-m", "lab.name_server", "--listen=127.0.0.1:0", f"--zone={zone}"]
    done = run_to_end(*command, status=1)
    assert done.stderr.count("\n") == 1
    assert "10.1" in done.stderr
