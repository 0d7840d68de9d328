"""A vendor by name: the crawler asks a name server, and asks again once an answer is old."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulation.crawler.names import Names, Resolved, ask, read_answer
from simulation.crawler.reading import read_plan
from simulation.plans import PlanError
from tests.simulation.conftest import ROOT, counts, crawl, free_ports, serving

GATEWAY = "gw.vendor.test"


class Zone:
    """A name server of the test's own, and the file that it answers from."""

    def __init__(self, folder: Path) -> None:
        [port] = free_ports(["127.0.0.1"])
        self.place = ("127.0.0.1", port)
        self.file, self.questions = folder / "zone.json", folder / "questions.txt"

    @contextlib.contextmanager
    def serving(self, **names: Any) -> Iterator[None]:
        self.write(**names)
        command = [sys.executable, "-m", "lab.name_server", "--zone", str(self.file)]
        options = ["--listen", "{}:{}".format(*self.place), "--questions", str(self.questions)]
        with subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()  # it listens
            try:
                yield
            finally:
                process.terminate()

    def write(self, **names: Any) -> None:
        entries = {name.replace("_", "."): entry for name, entry in names.items()}
        self.file.write_text(json.dumps(entries))


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    return Zone(tmp_path)


def test_address_and_ttl_of_both_families(zone: Zone) -> None:
    """IPv4 is asked for first; a name that has none is asked for its IPv6."""
    four = {"addresses": ["127.0.0.3", "::1"], "ttl": 7}
    with zone.serving(gw_four_test=four, gw_six_test={"addresses": ["::1"], "ttl": 9}):
        assert asyncio.run(ask(zone.place, "gw.four.test")) == Resolved(("127.0.0.3",), 7)
        assert asyncio.run(ask(zone.place, "gw.six.test")) == Resolved(("::1",), 9)
        with pytest.raises(socket.gaierror, match="the name has no address"):
            asyncio.run(ask(zone.place, "gw.none.test"))


def test_answer_is_kept_for_its_ttl(zone: Zone) -> None:
    """Connections that start at once share one question; a withdrawn address is used no longer."""

    async def resolve() -> list[str]:
        names = Names(zone.place)
        found = list(await asyncio.gather(*(names.address(GATEWAY) for _ in range(50))))
        zone.write(gw_vendor_test={"addresses": ["127.0.0.9"], "ttl": 1})
        found.append(await names.address(GATEWAY))
        await asyncio.sleep(1.1)
        return [*found, await names.address(GATEWAY)]

    with zone.serving(gw_vendor_test={"addresses": ["127.0.0.8"], "ttl": 1}):
        assert asyncio.run(resolve()) == ["127.0.0.8"] * 51 + ["127.0.0.9"]
    assert zone.questions.read_text().splitlines() == ["A gw.vendor.test addresses"] * 2


def test_machine_resolves_where_no_server_is_named() -> None:
    """As in a pod, whose resolver is told by its own files."""
    assert asyncio.run(Names(None).address("localhost")) in ("127.0.0.1", "::1")


@pytest.mark.parametrize("said", [b"", b"\0" * 12, b"\0" * 6 + b"\0\1" + b"\0" * 4, b"\xc0" * 40])
def test_bytes_that_are_no_answer(said: bytes) -> None:
    """They are an error or no address, and never another exception."""
    with contextlib.suppress(socket.gaierror):
        assert read_answer(said, 1).addresses == ()


def test_vendor_by_name_moves_between_addresses(zone: Zone, tmp_path: Path) -> None:
    """Every count is a success while the name's answer changes; a name without one is named."""
    [port, control] = free_ports(["127.0.0.8", "127.0.0.1"])
    places = [("127.0.0.8", port), ("127.0.0.9", port)]
    listen = [{"vendor": "a", "address": address, "port": at} for address, at in places]
    vendors = [
        {"name": "a", "host": GATEWAY, "dead_host": "down.test", "port": port},
        {"name": "b", "host": "nobody.test", "port": port, "weight": 0.01},
    ]
    vendors[0]["faults"] = {"dead": 0.05}
    plan = {
        "count": 400,
        "requests_per_second": 200,
        "concurrency": 8,
        "name_server": "{}:{}".format(*zone.place),
        "connection_reuse": 3,
        "mix": {"http": 0.5, "tunnel": 0.5},
        "vendors": vendors,
    }
    answer = {"addresses": [address for address, _ in places], "ttl": 0}
    with (
        zone.serving(gw_vendor_test=answer, down_test={"addresses": ["127.0.0.99"]}),
        serving({"listen": listen, "control_port": control}, tmp_path) as served,
    ):
        books = crawl(served.write(plan))
        own = served.settled_books()
    found = counts(books)
    assert found["a", "http", "success"] + found["a", "tunnel", "success"] == 376
    assert sum(n for (who, *_), n in found.items() if who == "b") == 4
    assert sum(row["count"] for row in own["counts"]) == 376
    assert "b: nobody.test:" in books["notes"][0]
    assert "the name has no address" in books["notes"][0]


@pytest.mark.parametrize(
    ("vendor", "line"),
    [
        ({}, "vendors[0].address: is missing: add it, or host"),
        (
            {"address": "127.0.0.1", "host": GATEWAY},
            'vendors[0].host: "gw.vendor.test" stands beside address: leave out one',
        ),
        (
            {"host": "me:word@gw.test"},
            'vendors[0].host: "text of 15 characters" is not a host name: give letters, digits, '
            "hyphens and dots",
        ),
        ({"host": "gw..test"}, 'vendors[0].host: "gw..test" is not a host name: give one such as '),
    ],
)
def test_wrong_place_is_named(vendor: dict[str, Any], line: str) -> None:
    """Key, value, reason and fix; a login in the place of a name is not shown."""
    with pytest.raises(PlanError) as caught:
        read_plan({"vendors": [{"name": "a", "port": 3128, **vendor}]}, {})
    assert caught.value.findings[0].startswith(line)


def test_wrong_name_server_is_named() -> None:
    plan = {"name_server": "dns.test", "vendors": [{"name": "a", "port": 1, "host": GATEWAY}]}
    with pytest.raises(PlanError, match="is no name server: give one such as 127"):
        read_plan(plan, {})


def test_silent_name_server_fails_no_other_vendor(zone: Zone, tmp_path: Path) -> None:
    """A name that nobody answers for holds up its own counts alone."""
    port, control = free_ports(["127.0.0.8", "127.0.0.1"])
    plan = {
        "count": 60,
        "concurrency": 30,
        "timeout_after_seconds": 0.5,
        "name_server": "{}:{}".format(*zone.place),
        "mix": {"http": 1},
        "vendors": [
            {"name": "a", "address": "127.0.0.8", "port": port},
            {"name": "b", "host": GATEWAY, "port": port, "weight": 0.2},
        ],
    }
    listen = [{"vendor": "a", "address": "127.0.0.8", "port": port}]
    with (
        zone.serving(gw_vendor_test={"answer": "silence"}),
        serving({"listen": listen, "control_port": control}, tmp_path) as served,
    ):
        started = time.monotonic()
        books = crawl(served.write(plan))
    assert counts(books)["a", "http", "success"] == 50
    print(f"ended after {time.monotonic() - started:.1f} s")
