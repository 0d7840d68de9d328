"""Vendors by name: their part of the stack, the world's DNS, and a crawler's questions in a pod."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnslib import CLASS, QTYPE, RCODE, DNSQuestion, DNSRecord

from settings.hosts import virtual_address
from settings.loading import ROOT
from tests.mesh.kubelet import Pod
from tests.mesh.mesh import Mesh
from tests.mesh.networks import GATEWAY

Json = dict[str, Any]

PORT = 53
TTL_SECONDS = 1

LISTED, OTHER = 3128, 3140
"""A port with a listener of its own, and one of a range that only our filters serve."""
PORTS = [LISTED, "3140-3149"]

GATEWAYS = {
    "name-a": "gw.a.test",
    "name-b": "gw.b.test",
    "name-p": "gw.p.test",
    "name-q": "gw.q.test",
    "name-six": "gw.six.test",
    "name-v6": "gw.v6.test",
}
"""Vendor -> its gateway. The last two have IPv6 addresses alone."""
PASSIVE = ("name-p", "name-q")
SHARING = tuple(GATEWAYS)[:4]
"""Vendors whose names lead to the very same addresses."""
VIRTUAL6 = "fd00:f1::1"
"""The virtual address of name-v6; the others have theirs by default."""

REAL = [f"10.60.0.{n}" for n in range(10, 60)]
REAL6 = ["fd00:a:60::10", "fd00:a:60::11"]


def by_name(keys: Json) -> None:
    """Add the vendors to a stack's keys."""
    keys["vendors"] += [_vendor(name) for name in GATEWAYS]
    keys["telemetry"] = {**keys.get("telemetry", {}), "seriesBudget": 2000}


def _vendor(name: str) -> Json:
    host: Json = {"name": GATEWAYS[name], "ports": PORTS, "allowUnlistedPorts": True}
    if name == "name-v6":
        host["virtualAddress"] = VIRTUAL6
    mode = {"inspect": "passive"} if name in PASSIVE else {"httpPorts": PORTS, "idleTimeout": "5s"}
    return {"name": name, "hosts": [host | {"pool": "gate"}], **mode}


def virtual(vendor: str) -> str:
    """Return the address that a crawler with DNS capture gets for a vendor."""
    return VIRTUAL6 if vendor == "name-v6" else str(virtual_address(GATEWAYS[vendor]))


def zone(addresses: Sequence[str] = REAL[:3], answer: str = "addresses") -> dict[str, Json]:
    """Return what the name server says of all gateways."""
    return {
        gateway: {"addresses": [*(addresses if name in SHARING else REAL6)], "answer": answer}
        for name, gateway in GATEWAYS.items()
    }


@dataclass(frozen=True)
class NameServer:
    """The server that every pod's /etc/resolv.conf names."""

    _zone: Path
    _questions: Path

    def write(self, names: Mapping[str, Json]) -> None:
        """Let the server answer with these entries of lab/name_server.py from now on."""
        entries = {name: {"ttl": TTL_SECONDS} | entry for name, entry in names.items()}
        written = self._zone.with_suffix(".new")
        written.write_text(json.dumps(entries))
        written.replace(self._zone)

    def asked(self) -> list[str]:
        """Return the questions so far, as lab/name_server.py notes them."""
        return self._questions.read_text().splitlines() if self._questions.exists() else []


@contextmanager
def answering(mesh: Mesh) -> Iterator[NameServer]:
    """Run the world's name server until the block ends."""
    server = NameServer(mesh.folder / "zone.json", mesh.folder / "asked.txt")
    server.write(zone())
    command = [sys.executable, "-m", "lab.name_server", f"--listen={GATEWAY}:{PORT}"]
    command += [f"--zone={server._zone}", f"--questions={server._questions}"]
    log = mesh.folder / "name-server.log"
    mesh.family.start("name server", mesh.world.command(command), log=log, folder=ROOT)
    mesh.until(lambda: "listens" in log.read_text())
    try:
        yield server
    finally:
        mesh.family.end("name server", signal.SIGTERM)


def captures(mesh: Mesh) -> bool:
    """Return whether istiod injects a new pod with DNS capture."""
    manifest = mesh.pod_manifest("crawler-captured")
    return "ISTIO_META_DNS_CAPTURE" in json.dumps(mesh.injected(manifest)["spec"])


class UnknownName(OSError):
    """The name does not exist, or has no address of the family."""


def address_of(pod: Pod, host: str) -> str:
    """Return an address as it is, and a name's by DNS; errors as `resolve`."""
    return host if ":" in host or host[-1].isdigit() else resolve(pod, host)


def resolve(pod: Pod, name: str, types: Sequence[str] = ("A", "AAAA")) -> str:
    """Return the first address that DNS gives a crawler in the pod.

    Raises:
        UnknownName: DNS gives none.
        TimeoutError: it does not answer.
    """
    for type_ in types:
        for address in ask(pod, name, type_):
            return address
    raise UnknownName(name)


def ask(pod: Pod, name: str, type_: str = "A", seconds: float = 5.0) -> list[str]:
    """Return the addresses of an answer; none as well if the name does not exist."""
    with pod.network.socket(type_=socket.SOCK_DGRAM) as sock:
        sock.settimeout(seconds)
        sock.connect((GATEWAY, PORT))
        sock.send(DNSRecord(q=DNSQuestion(name, getattr(QTYPE, type_), CLASS.IN)).pack())
        reply = DNSRecord.parse(sock.recv(4096))
    if reply.header.rcode not in (RCODE.NOERROR, RCODE.NXDOMAIN):
        raise UnknownName(f"{name}: {RCODE.get(reply.header.rcode)}")
    return [str(one.rdata) for one in reply.rr if one.rtype == getattr(QTYPE, type_)]
