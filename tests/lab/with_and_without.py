"""Every odd exchange, played without an Envoy and through one that inspects in a given way."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import zip_longest
from pathlib import Path

from lab.loopback import get_json
from lab.ports import Ports
from settings.stack import StackSettings
from settings.vendors import AddressRange
from tests.lab.conftest import Sidecar, running_sidecar, until
from tests.lab.odd_answers import answers
from tests.lab.odd_connections import connections
from tests.lab.odd_exchanges import CASES
from tests.lab.odd_requests import requests
from tests.lab.odd_script import PLAIN, Odd, odd
from tests.lab.script import PARSED, PATIENT, Record, Script, Waits, play

VENDOR = "vendor-a"
FIRST = {"direct": IPv4Address("127.20.0.1"), "envoy": IPv4Address("127.1.0.1")}


def written() -> dict[str, Odd]:
    """Return the exchanges whose changes `odd_exchanges` states byte for byte."""
    return {
        name: odd(
            case.request,
            case.answer,
            ends="vendor" if case.closes else "crawler",
            tunnel=case.request.startswith(b"CONNECT") or case.answer.startswith(b"HTTP/1.1 101"),
        )
        for name, case in CASES.items()
    }


def every_odd() -> dict[str, Odd]:
    found: dict[str, Odd] = {}
    for part in (written(), requests(), answers(), connections()):
        assert not found.keys() & part.keys(), found.keys() & part.keys()
        found |= part
    return found


@dataclass(frozen=True)
class Played:
    """What became of each exchange, by name and position."""

    records: dict[tuple[str, str], Record]
    counted: dict[tuple[str, str], Counter[tuple[str, str]]]
    """By visibility and outcome."""
    without_pool: Counter[tuple[str, str]]
    """What no filter saw, so that no pool was read: Envoy's parser refused it."""
    moved: dict[tuple[str, str], tuple[int, int]]
    """Bytes counted towards the vendor and from it; only a passive vendor's are."""
    unread: set[tuple[str, str]]
    """Where some of these bytes are opaque ones."""
    opaque: int
    """Connections counted as opaque ones, of all exchanges."""


def scripts(odds: Mapping[str, Odd]) -> dict[tuple[str, str], Script]:
    return {
        (name, position): script
        for name, one in odds.items()
        for position, script in one.positions().items()
    }


def played_directly(odds: Mapping[str, Odd], ports: Ports) -> dict[tuple[str, str], Record]:
    return _play(scripts(odds), "direct", ports.vendor_upstream, ports.vendor_upstream, PATIENT)


def played_through(
    odds: Mapping[str, Odd], inspect: str, folder: Path, *, beside_http: bool = False
) -> Played:
    """Play all through an Envoy that knows one vendor, inspected so.

    `beside_http`: it knows a vendor with `inspect: http` too, at the same port of other addresses.
    """
    wanted = scripts(odds)

    def with_pools(settings: StackSettings) -> StackSettings:
        """One vendor, and a pool for each exchange: so each has counts of its own."""
        own = next(vendor for vendor in settings.vendors if vendor.name == VENDOR)
        ranges = tuple(
            AddressRange(IPv4Network(f"{FIRST['envoy'] + n}/32"), f"odd-{n}")
            for n in range(len(wanted))
        )
        vendor = own.model_copy(update={"cidrs": ranges, "inspect": inspect})
        others = [v for v in settings.vendors if v.name == "vendor-c"] if beside_http else []
        return settings.model_copy(update={"vendors": (vendor, *others)})

    with running_sidecar(folder, change_settings=with_pools, addresses=["0.0.0.0"]) as sidecar:
        ports = sidecar.ports
        waits = PARSED if inspect == "http" or beside_http else PATIENT
        records = _play(wanted, "envoy", ports.vendor_upstream, ports.vendor, waits)
        # What is counted at a connection's end is counted once all have ended.
        until(lambda: not _open_connections(ports))
        counted = _counted(sidecar)
        towards, back = (_moved(sidecar, side) for side in ("request", "response"))
        names = {f"odd-{n}": name for n, name in enumerate(wanted)}
        return Played(
            records=records,
            counted={name: counted.get(pool, Counter()) for pool, name in names.items()},
            without_pool=counted.get("", Counter()),
            unread={names[pool] for pool in _unread(sidecar)},
            moved={name: (towards[pool], back[pool]) for pool, name in names.items()},
            opaque=sidecar.opaque_connections(VENDOR),
        )


def _open_connections(ports: Ports) -> int:
    url = f"http://127.0.0.1:{ports.envoy_admin}/stats?format=json&filter=downstream_cx_active"
    names = r"listener\.(?!admin)(?!.*worker)"
    found = get_json(url)["stats"]
    return sum(one["value"] for one in found if re.match(names, one.get("name", "")))


def _counted(sidecar: Sidecar) -> dict[str, Counter[tuple[str, str]]]:
    counted: dict[str, Counter[tuple[str, str]]] = {}
    for labels, value in sidecar.samples("(?:envoy_lab_)?istio_requests_total"):
        own = counted.setdefault(labels["proxy_pool"], Counter())
        own[labels["proxy_visibility"], labels["proxy_outcome"]] += value
    return counted


def _moved(sidecar: Sidecar, side: str) -> Counter[str]:
    moved = sidecar.by("proxy_pool", of=f"istio_proxy_{side}_bytes_total")
    return Counter({pool: value for (pool,), value in moved.items()})


def _unread(sidecar: Sidecar) -> set[str]:
    return {
        labels["proxy_pool"]
        for labels, _ in sidecar.samples("istio_proxy_(?:request|response)_bytes_total")
        if labels["proxy_visibility"] == "opaque"
    }


def _play(
    wanted: Mapping[tuple[str, str], Script],
    side: str,
    vendor_port: int,
    crawler_port: int,
    waits: Waits,
) -> dict[tuple[str, str], Record]:
    addresses = {name: str(FIRST[side] + n) for n, name in enumerate(wanted)}
    by_address = {addresses[name]: script for name, script in wanted.items()}
    records = asyncio.run(
        play(by_address, vendor_port=vendor_port, crawler_port=crawler_port, waits=waits)
    )
    return {name: records[address] for name, address in addresses.items()}


_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


def became(position: str, direct: Record, through: Record, counted: int) -> str:
    """Say in a word what an Envoy that parses HTTP made of an exchange.

    A status of its own; `cut` where a request or an answer is missing; `uncounted`; `changed`;
    `same`. How the vendor's connection ends is left out: where the crawler left between requests
    it stays for `idleTimeout`, always (`test_connections`).
    """
    if position == "second":
        direct, through = _without_first(direct), _without_first(through)
        counted -= 1
    own, theirs = _errors(through.answered), _errors(direct.answered)
    if own != theirs and own:
        return next(a for a, b in zip_longest(own, theirs) if a != b)
    if direct.answered and not through.answered:
        return "cut"
    if _seen(direct) != _seen(through):
        return "changed"
    return "same" if counted else "uncounted"


def _seen(record: Record) -> tuple[bytes, str, bytes, bool]:
    """Return what the two ends saw; on how many connections of the vendor is left out."""
    received = b"".join(record.received)
    return record.answered, record.crawler_saw, received, bool(record.received)


def _without_first(record: Record) -> Record:
    """Leave out the plain request before, and its answer."""
    first, *more = record.received or [b""]
    received = (first.removeprefix(PLAIN.sent), *more)
    return replace(record, answered=record.answered.removeprefix(PLAIN.answered), received=received)


def _errors(answered: bytes) -> list[str]:
    return [status.decode() for status in _STATUS.findall(answered) if status >= b"400"]
