"""Vendors that ask for a login, the rendered Envoy before them, and a CA made by the tests.

Each client has a vendor to itself, which every client reaches by two ways: through Envoy, and
straight, where the vendor keeps books of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab import plan
from lab.endpoints import Endpoint, endpoints, listening_addresses
from lab.loopback import get_json
from lab.processes import children
from lab.system import (
    EXTENSIONS,
    ROOT,
    load_settings,
    rendered_envoy,
    start_envoy,
    wait_until_ready,
)
from tests.certificates import Authority
from tests.clients.install import FOLDER
from tests.clients.jobs import PASSWORD, USER
from tests.lab.conftest import Sidecar, free_ports, until

STRAIGHT = "straight-to-"
STRAIGHT_PORT_OFFSET = 3  # from the port of a vendor that Envoy listens on

OPAQUE = ("tls", "socks5")  # protocols that show no requests
H2C_ADDRESS = "127.4.0.77"  # of vendor-e; a test puts a server for HTTP/2 behind Envoy there

_COUNTED = re.compile(
    r"^(?:envoy_lab_)?istio_(requests|tcp_connections_opened)_total\{(.*)\} (\d+)$", re.MULTILINE
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_CONNECTED = re.compile(
    r"^envoy_listener_(?!admin)(?!\w*worker)\w+_downstream_cx_(active|total)\S* (\d+)$",
    re.MULTILINE,
)

Counts = Counter[tuple[str, str, str]]
"""(vendor, visibility, outcome) -> count; of opaque connections the outcome is `connection`."""


def need(program: str) -> None:
    """Skip where a client is not installed, and fail there under CI=true."""
    missing = ""
    if program and not shutil.which(program):
        missing = f"{program}: not on PATH; python -m tests.clients.install says how to get it"
    elif program == "node" and not (FOLDER / "node_modules").is_dir():
        missing = (
            "node: its proxy agents are not installed; python -m tests.clients.install does that"
        )
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


class Connections(NamedTuple):
    """How many a vendor's clients have opened, and Envoy for them."""

    straight: int
    to_envoy: int
    from_envoy: int

    def since(self, before: Connections) -> Connections:
        return Connections(*(now - then for now, then in zip(self, before, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Envoy and the vendors, which count what a client has done."""

    sidecar: Sidecar
    ca: Path
    other_ca: Path
    """A CA that has signed no certificate here."""
    where: dict[str, Endpoint]

    def authority(self, vendor: str, *, straight: bool = False) -> str:
        """Return where a vendor's proxy is: "127.1.0.10:3128"."""
        place = self.where[vendor]
        port = place.port + STRAIGHT_PORT_OFFSET * straight
        host = f"[{place.address}]" if ":" in place.address else place.address
        return f"{host}:{port}"

    def mesh(self) -> Counts:
        """Return what Envoy has counted, once no client is connected."""
        until(self._is_at_rest)
        counts: Counts = Counter()
        # Asked anew: Envoy renders counters before gauges, and the last connection may have ended
        # between the two, so that an answer has it as ended and not yet as counted.
        for kind, labels, count in _COUNTED.findall(self.sidecar.stats()):
            told = dict(_LABEL.findall(labels))
            outcome = told["proxy_outcome"] if kind == "requests" else "connection"
            counts[told["proxy_vendor"], told["proxy_visibility"], outcome] += int(count)
        return counts

    def _is_at_rest(self) -> bool:
        """Return whether no client is connected."""
        return not self._clients("active")

    def _clients(self, which: str) -> int:
        """Return how many connections to Envoy are `active`, or were accepted in `total`."""
        found = [int(n) for name, n in _CONNECTED.findall(self.sidecar.stats()) if name == which]
        assert found
        return sum(found)

    def books(self) -> Counts:
        """Return what the vendors have counted, once their opaque connections have ended."""
        books = until(self._settled_books)
        counts: Counts = Counter()
        for row in books["counts"]:
            counts[row["vendor"], row["visibility"], row["outcome"]] += row["count"]
        for row in books["opaque"]:
            counts[row["vendor"], "opaque", "connection"] += row["connections"]
        return counts

    def connections(self, vendor: str) -> Connections:
        """Return how many connections the vendor has accepted, and Envoy from everybody."""
        counts = {row["vendor"]: row["count"] for row in self._books()["connections"]}
        return Connections(
            straight=counts.get(STRAIGHT + vendor, 0),
            to_envoy=self._clients("total"),
            from_envoy=counts.get(vendor, 0),
        )

    def _settled_books(self) -> Any:
        books = self._books()
        hidden = {who for who, place in self.where.items() if place.visible == "connections"}
        begun = sum(
            row["connections"]
            for row in books["wire"]
            if row["protocol"] in OPAQUE or row["vendor"].removeprefix(STRAIGHT) in hidden
        )
        return books if sum(row["connections"] for row in books["opaque"]) == begun else None

    def _books(self) -> Any:
        return get_json(f"http://127.0.0.1:{self.sidecar.ports.vendor_control}/books")


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder, ports = tmp_path_factory.mktemp("clients"), free_ports()
    settings = load_settings(ports)
    where = endpoints(settings.vendors, ports)
    # Good for the sites behind the proxies, and as the proxies.
    addresses = sorted({place.address for place in where})
    authority = Authority()
    site = authority.issue(folder / "site", ["*.sim.test", *addresses])
    # Chromium knows the CA by its key, and looks for it in the chain.
    with (site / "tls.crt").open("a") as chain:
        chain.write(authority.pem)
    (folder / "other.crt").write_text(Authority().pem)
    vendors = plan.vendor_plan(where, ports, settings.telemetry.timeout_after)
    vendors["listen"] = [one for one in vendors["listen"] if one["address"] != H2C_ADDRESS]
    vendors["listen"] += [
        {
            "vendor": f"{STRAIGHT}{place.vendor}",
            "address": place.address,
            "port": place.port + STRAIGHT_PORT_OFFSET,
            "visible": place.visible,
        }
        for place in where
    ]
    wants_login = {"credentials": {USER: "VENDOR_PASSWORD"}}
    vendors["vendors"] = {place["vendor"]: wants_login for place in vendors["listen"]}
    vendors |= {"certificate": str(site / "tls.crt"), "key": str(site / "tls.key")}
    (folder / "vendors.json").write_text(json.dumps(vendors))
    rendered = rendered_envoy(settings, listening_addresses(where), ports, folder)
    with children() as family:
        family.start(
            "vendors",
            [sys.executable, "-m", "simulation.proxy", "--plan", str(folder / "vendors.json")],
            log=folder / "vendors.log",
            environment={"PYTHONPATH": str(ROOT), "VENDOR_PASSWORD": PASSWORD},
        )
        start_envoy(family, rendered, folder)
        for name, port in (("vendors", ports.vendor_control), ("envoy", ports.envoy_admin)):
            path = {"vendors": "healthz", "envoy": "ready"}[name]
            wait_until_ready(family, name, f"http://127.0.0.1:{port}/{path}")
        yield Scene(
            sidecar=Sidecar(ports, folder / EXTENSIONS),
            ca=site / "ca.crt",
            other_ca=folder / "other.crt",
            where={place.vendor: place for place in reversed(where)},
        )
