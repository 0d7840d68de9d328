"""A small DNS server, for gateways of vendors that are given by name.

    python -m lab.name_server --listen 127.0.0.1:5300 --zone zone.json [--questions asked.txt]

The zone file is {name: {"addresses": [...], "ttl": 2, "answer": "addresses"}}. It is read again
when it has changed, and a file that is not whole yet leaves the names as they were. `answer` may be
"addresses" (the default), "silence", "nxdomain" or "empty"; a name that is not in the file does not
exist. Addresses are of both families, and each answer begins with the next one. With `--questions`,
each question appends its type, name and answer as a line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSError, DNSRecord
from pydantic import BaseModel, ConfigDict, IPvAnyAddress, TypeAdapter, ValidationError

_READ_SECONDS = 10.0


class Entry(BaseModel):
    """What the zone says of a name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    addresses: tuple[IPvAnyAddress, ...] = ()
    ttl: int = 2  # seconds
    answer: Literal["addresses", "silence", "nxdomain", "empty"] = "addresses"


_ZONE = TypeAdapter(dict[str, Entry])


class Zone:
    """The names of a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_at: object = None
        self._names: dict[str, Entry] = {}
        self._turns: dict[str, Iterator[int]] = {}
        self._names = self._read()

    def _read(self) -> dict[str, Entry]:
        """Return the file's names.

        Raises:
            OSError, ValidationError: there is no file, or it is not a zone.
        """
        status = self._file.stat()
        names = _ZONE.validate_json(self._file.read_bytes())
        self._read_at = (status.st_mtime_ns, status.st_size, status.st_ino)
        return {name.lower().rstrip("."): entry for name, entry in names.items()}

    def look_up(self, name: str) -> Entry | None:
        """Return what the file says at present; its addresses begin with the next one."""
        try:
            status = self._file.stat()
            if self._read_at != (status.st_mtime_ns, status.st_size, status.st_ino):
                self._names = self._read()
        except (OSError, ValidationError):
            pass  # somebody writes it right now
        name = name.lower().rstrip(".")
        entry = self._names.get(name)
        if entry is None or not entry.addresses:
            return entry
        turn = next(self._turns.setdefault(name, itertools.count())) % len(entry.addresses)
        rotated = entry.addresses[turn:] + entry.addresses[:turn]
        return entry.model_copy(update={"addresses": rotated})


class Answering:
    """Answers questions from a zone, and notes them."""

    def __init__(self, zone: Zone, questions: Path | None) -> None:
        self._zone = zone
        self._questions = questions
        self._lock = threading.Lock()

    def reply(self, packet: bytes) -> bytes | None:
        """Return the answer to a packet, None for none."""
        try:
            asked = DNSRecord.parse(packet)
        except DNSError:
            return None
        if not asked.questions:
            return None
        type_, name = QTYPE.get(asked.q.qtype), str(asked.q.qname).rstrip(".")
        with self._lock:
            entry = self._zone.look_up(name)
            answer = entry.answer if entry else "nxdomain"
            if self._questions:
                with self._questions.open("a") as file:
                    file.write(f"{type_} {name} {answer}\n")
        if answer == "silence":
            return None
        reply = asked.reply()
        if answer == "nxdomain":
            reply.header.rcode = RCODE.NXDOMAIN
        elif entry and answer == "addresses":
            for address in entry.addresses:
                data = (AAAA if address.version == 6 else A)(str(address))
                if type_ == type(data).__name__:
                    reply.add_answer(RR(asked.q.qname, asked.q.qtype, ttl=entry.ttl, rdata=data))
        return bytes(reply.pack())


def serve(listen: str, answering: Answering) -> None:
    """Serve UDP and TCP on threads; `listen` is ADDRESS:PORT, an IPv6 address in brackets."""
    address, _, port = listen.rpartition(":")
    address = address.strip("[]")
    family_ = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET

    class Packets(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            packet, sock = self.request
            if reply := answering.reply(packet):
                sock.sendto(reply, self.client_address)

    class Streams(socketserver.StreamRequestHandler):
        timeout = _READ_SECONDS

        def handle(self) -> None:
            while len(size := self.rfile.read(2)) == 2:
                if reply := answering.reply(self.rfile.read(int.from_bytes(size))):
                    self.wfile.write(len(reply).to_bytes(2) + reply)

    class Udp(socketserver.UDPServer):
        address_family = family_

    class Tcp(socketserver.ThreadingTCPServer):
        address_family = family_
        allow_reuse_address = True
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print nothing: a client may leave in the middle."""

    for server in (Udp((address, int(port)), Packets), Tcp((address, int(port)), Streams)):
        threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer questions for names of a zone file.")
    parser.add_argument("--listen", required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--zone", required=True, type=Path, metavar="FILE")
    parser.add_argument("--questions", type=Path, metavar="FILE")
    options = parser.parse_args()
    # Blocked before any thread starts. Else the kernel may hand a signal to one of the threads, and
    # the main thread would sleep on.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        serve(options.listen, Answering(Zone(options.zone), options.questions))
    except (OSError, ValueError) as error:
        sys.exit(f"lab.name_server: {' '.join(str(error).split())}")
    print(json.dumps({"listens": options.listen}), flush=True)
    signal.sigwait(ends)


if __name__ == "__main__":
    main()
