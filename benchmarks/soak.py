"""Half an hour of passive traffic under changes: is anything lost, and does memory stay flat?

Each minute ECDS brings a configuration with another outcome rule, each fifth minute another module
too, so that a new VM comes while the connections of the old ones live on.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import re
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cpu import Proxy, cpu_seconds, resident_mb
from benchmarks.measure import Measure
from benchmarks.monitored import number_from
from benchmarks.sidecars import Sidecar, contender, one_vendor, start_raw_vendor
from benchmarks.soak_crawlers import Books, crawl
from components.attribution.passive import EXTENSION
from lab import loopback
from lab.ports import Ports
from lab.processes import Children, LabError, children
from lab.system import EXTENSIONS
from settings.vendors import OutcomeRule

Json = dict[str, Any]

PORTS, VENDOR = Ports(21_700), Ports(21_800)
"""Its own, so that other benchmarks can run meanwhile."""

CHANGES_A_MODULE = 5
MINUTE = 60.0
LEAST_CHANGES = 6  # of a short run, which changes more often
SETTLE_SECONDS = 30.0

# The rule of every other configuration. All else has one outcome throughout.
RULE = OutcomeRule(status=503, outcome="vendor_error")
RULED = "503"
OUTCOMES = {"200": "success", "404": "target_error", "403": "blocked", "429": "rate_limited"}

SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\d+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class Soak:
    """The running parts."""

    family: Children
    envoy: Proxy
    vendor_pid: int
    extensions: tuple[Json, Json]
    """The discovery responses without the rule and with it."""
    file: Path

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{PORTS.envoy_admin}"

    def change(self, number: int) -> None:
        """Have Envoy take the configuration of that number, and a new module each fifth time."""
        response = copy.deepcopy(self.extensions[number % 2])
        response["version_info"] = str(number)
        if module := number // CHANGES_A_MODULE:
            vm = response["resources"][0]["typed_config"]["config"]["vm_config"]
            local = vm["code"]["local"]
            code = b64decode(local["inline_bytes"]) + custom_section(f"soak {module}")
            local["inline_bytes"] = b64encode(code).decode()
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps(response))
        temporary.replace(self.file)

    def taken(self) -> str:
        """Return the version of the configuration that Envoy has."""
        dump = loopback.get_text(f"{self.admin}/config_dump?resource=ecds_filters")
        found = re.search(r'"version_info": "(\d+)"', dump)
        return found[1] if found else ""

    def samples(self) -> Iterator[tuple[str, dict[str, str], int]]:
        text = loopback.get_text(f"{self.admin}/stats/prometheus?usedonly")
        for name, labels, value in SAMPLE.findall(text):
            yield name, dict(LABEL.findall(labels)), int(value)

    def _sum(self, statistic: str) -> int:
        """Return the sum of the statistics that end so, without the admin listener's own."""
        text = loopback.get_text(f"{self.admin}/stats?filter={statistic}$")
        lines = [line.rpartition(": ") for line in text.splitlines()]
        return sum(int(value) for key, _, value in lines if "admin" not in key)

    @property
    def open(self) -> int:
        return self._sum("worker_0.downstream_cx_active")  # Envoy runs on one worker

    @property
    def machines(self) -> int:
        return self._sum("wasm.runtime.v8.active")

    def cpu(self) -> float:
        return cpu_seconds(self.envoy.pid) + cpu_seconds(self.vendor_pid) + time.process_time()


def custom_section(name: str) -> bytes:
    """Return a section that a Wasm machine ignores; with it the module is another one."""
    payload = bytes([len(name)]) + name.encode()
    return bytes([0, len(payload)]) + payload


def half_an_hour() -> list[Measure]:
    """Run for DURATION seconds; compare the crawlers' books with Envoy's counters."""
    seconds = number_from("DURATION", 1800)
    books = Books()
    with running() as soak:
        machines = soak.machines
        before, cpu = time.monotonic(), soak.cpu()
        memory = asyncio.run(_crawl_and_change(soak, seconds, books))
        share = (soak.cpu() - cpu) / (time.monotonic() - before) / (os.cpu_count() or 1)
        counted = _when_ended(soak, machines)
        last, left = resident_mb(soak.envoy.pid), soak.machines
    # Two VMs side by side take 5 MB that Envoy keeps, whatever comes then.
    settled = memory[min(2 * CHANGES_A_MODULE, len(memory)) - 1]
    _say(f"all closed: resident {last:.1f} MB, VMs {left}")
    return [
        _difference("counts", expected_counts(books), counted.counts),
        _difference("bytes", expected_bytes(books), counted.bytes),
        Measure(
            name="soak: Envoy's resident memory at the end / before the second new module",
            value=last / settled,
            goal=1.10,
            note=(
                f"{last:.1f} / {settled:.1f} MB; {memory[0]:.1f} before the first change, at most "
                f"{max(memory):.1f}; VMs at the start {machines}, at the end {left}"
            ),
        ),
        Measure(
            name="soak: CPU of the machine",
            value=share,
            goal=0.25,
            note=f"crawlers, vendor and Envoy; {books.exchanges / seconds:.0f} exchanges/s",
        ),
    ]


async def _crawl_and_change(soak: Soak, seconds: float, books: Books) -> list[float]:
    """Return Envoy's resident memory before each change."""
    interval = min(MINUTE, seconds / LEAST_CHANGES)
    crawling = asyncio.create_task(crawl(soak.envoy.sockets[0], seconds, books))
    memory: list[float] = []
    start = time.monotonic()
    while not (await asyncio.wait([crawling], timeout=interval))[0]:
        soak.family.check()
        memory.append(resident_mb(soak.envoy.pid))
        number = len(memory)
        if number > 1 and soak.taken() != str(number - 1):
            raise LabError(f"Envoy has configuration {soak.taken()!r} instead of {number - 1}")
        _say(
            f"{(time.monotonic() - start) / MINUTE:4.1f} min: resident {memory[-1]:.1f} MB, "
            f"VMs {soak.machines}, {books.open} connections, {books.exchanges:,} exchanges"
        )
        soak.change(number)
    try:
        await crawling
    except* (OSError, EOFError) as errors:
        raise LabError(f"a crawler was cut: {errors.exceptions[0]!r}") from None
    return memory


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Envoy's counters, keyed as the books are."""

    counts: Counter[tuple[str, ...]]
    bytes: Counter[tuple[str, ...]]


def counters(samples: Iterator[tuple[str, dict[str, str], int]]) -> Counted:
    counted = Counted(counts=Counter(), bytes=Counter())
    for name, labels, value in samples:
        match name:
            case "istio_requests_total":
                code, outcome = labels["response_code"], labels["proxy_outcome"]
                if code == RULED and outcome in ("target_error", RULE.outcome):
                    outcome = "by rule"
                counted.counts[labels["proxy_visibility"], code, outcome] += value
            case "istio_tcp_connections_opened_total":
                counted.counts["opaque", "", ""] += value
            case "istio_proxy_request_bytes_total" | "istio_proxy_response_bytes_total":
                counted.bytes["module", name.split("_")[2]] += value
            case "envoy_cluster_upstream_cx_tx_bytes_total":
                counted.bytes["cluster", "request"] += value
            case "envoy_cluster_upstream_cx_rx_bytes_total":
                counted.bytes["cluster", "response"] += value
    return counted


def expected_counts(books: Books) -> Counter[tuple[str, ...]]:
    expected: Counter[tuple[str, ...]] = Counter({("opaque", "", ""): books.opaque})
    for (visibility, code), number in books.counts.items():
        outcome = "by rule" if code == RULED else OUTCOMES.get(code, "success")
        expected[visibility, code, outcome] = number
    return expected


def expected_bytes(books: Books) -> Counter[tuple[str, ...]]:
    return Counter(
        {
            (where, way): number
            for where in ("module", "cluster")
            for way, number in (("request", books.sent), ("response", books.received))
        }
    )


def _difference(
    what: str, expected: Counter[tuple[str, ...]], counted: Counter[tuple[str, ...]]
) -> Measure:
    """Return how far Envoy's counters are from the books, and where."""
    apart = {
        key: counted[key] - expected[key]
        for key in sorted({*expected, *counted})
        if counted[key] != expected[key]
    }
    where = "; ".join(f"{' '.join(filter(None, key))} {apart[key]:+,}" for key in apart)
    return Measure(
        name=f"soak: {what} in which Envoy and the crawlers differ",
        value=sum(map(abs, apart.values())),
        unit="counts" if what == "counts" else "bytes",
        goal=0,
        note=where or f"of {sum(expected.values()):,}",
    )


def _when_ended(soak: Soak, machines: int) -> Counted:
    """Return the counters once every connection has ended and the old VMs have gone."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while soak.open or soak.machines > machines:
        soak.family.check()
        if time.monotonic() > deadline:
            _say(f"after {SETTLE_SECONDS:.0f} s: {soak.open} open, {soak.machines} VMs")
            break
        time.sleep(0.5)
    return counters(soak.samples())


@contextlib.contextmanager
def running() -> Iterator[Soak]:
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        vendor_pid = start_raw_vendor(family, folder, VENDOR)
        plain, ruled = (_sidecar(folder, rules) for rules in ((), (RULE,)))
        file = f"{EXTENSION}.json"
        yield Soak(
            family=family,
            envoy=plain.start(family),
            vendor_pid=vendor_pid,
            extensions=(plain.rendered.extensions[file], ruled.rendered.extensions[file]),
            file=plain.folder / EXTENSIONS / file,
        )
        family.check()


def _sidecar(folder: Path, rules: tuple[OutcomeRule, ...]) -> Sidecar:
    settings = one_vendor(PORTS)
    vendor = settings.vendors[0].model_copy(update={"outcomes": rules})
    changed = settings.model_copy(update={"vendors": (vendor,)})
    return contender("passive", PORTS, folder, changed, vendor=VENDOR)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
