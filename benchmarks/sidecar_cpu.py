"""CPU that Envoy spends on a proxied request, ours against the least that parses HTTP."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import Measure
from lab import plan
from lab.ports import Ports
from lab.processes import Children, LabError, children, require_free
from lab.system import (
    ROOT,
    load_settings,
    rendered_envoy,
    start_envoy,
    start_vendors,
    wait_until_ready,
)

Json = dict[str, Any]

ROUNDS = 5
REQUESTS = 20_000
WARM_UP_REQUESTS = 2_000
OURS, BARE = Ports(23_100), Ports(23_300)
_CPU_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def http_chain_against_bare_manager() -> Measure:
    """Measure the rendered HTTP chain against a connection manager with nothing but a router.

    Both run at once on one worker each, before the same simulated vendor; the load goes to one
    and the other in turn, and the median of the rounds' ratios is taken.
    """
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        envoys = {ports: _start(family, folder, ports) for ports in (OURS, BARE)}
        for ports in envoys:
            _load(folder, ports, WARM_UP_REQUESTS)
        seconds: dict[Ports, list[float]] = {OURS: [], BARE: []}
        for _ in range(ROUNDS):
            for ports, pid in envoys.items():
                before = _cpu_seconds(pid)
                _load(folder, ports, REQUESTS)
                seconds[ports].append((_cpu_seconds(pid) - before) / REQUESTS)
        family.check()
    ratios = [ours / bare for ours, bare in zip(seconds[OURS], seconds[BARE], strict=True)]
    ours, bare = (statistics.median(seconds[ports]) * 1e6 for ports in (OURS, BARE))
    return Measure(
        name="sidecar CPU a request: HTTP chain / bare manager",
        ratio=statistics.median(ratios),
        goal=None,
        note=f"{ours:.0f} us / {bare:.0f} us; rounds {min(ratios):.2f} to {max(ratios):.2f}",
    )


def _start(family: Children, folder: Path, ports: Ports) -> int:
    """Start a vendor and an Envoy before it; return Envoy's process number."""
    settings = load_settings(ports)
    endpoint = plan.endpoints(settings.vendors)[0]
    require_free([(endpoint.address, ports.vendor), (endpoint.address, ports.vendor_upstream)])
    own = folder / str(ports.base)
    own.mkdir()
    start_vendors(family, [endpoint], ports, settings.telemetry.patience, own)
    rendered = rendered_envoy(settings, [endpoint.address], ports, own)
    if ports is BARE:
        _strip(rendered.bootstrap)
    pid = start_envoy(family, rendered, own)
    wait_until_ready(family, "envoy", f"http://127.0.0.1:{ports.envoy_admin}/ready")
    wait_until_ready(family, "vendors", f"http://127.0.0.1:{ports.vendor_control}/healthz")
    return pid


def _strip(bootstrap: Json) -> None:
    """Leave the connection manager, its routes and the router, all else at Envoy's defaults."""
    for chain in bootstrap["static_resources"]["listeners"][0]["filter_chains"]:
        manager = chain["filters"][-1]["typed_config"]
        chain["filters"] = chain["filters"][-1:]
        if "http_filters" in manager:
            kept = ("@type", "stat_prefix", "route_config", "http_filters")
            bare = {key: manager[key] for key in kept}
            bare["http_filters"] = manager["http_filters"][-1:]
            chain["filters"][0]["typed_config"] = bare
        else:
            manager.pop("access_log", None)


def _load(folder: Path, ports: Ports, count: int) -> None:
    """Send `count` small plain requests over kept-alive connections; wait for the last answer."""
    settings = load_settings(ports)
    endpoint = plan.endpoints(settings.vendors)[0]
    load_plan: Mapping[str, Any] = {
        "seed": 1,
        "count": count,
        "concurrency": 16,
        "connection_reuse": 1_000_000,
        "vendors": [{"name": endpoint.vendor, "address": endpoint.address, "port": ports.vendor}],
        "mix": {"http": 1.0, "tunnel": 0.0, "opaque": 0.0},
        "target": {"host_suffix": "sim.test", "sizes_bytes": [[0.5, 1000]]},
    }
    file, books = folder / "load.json", folder / "load-books.json"
    file.write_text(json.dumps(load_plan))
    with children() as family:
        family.start(
            "crawler",
            [
                *(sys.executable, "-m", "traffic.crawler"),
                *("--plan", str(file), "--books", str(books)),
            ],
            log=folder / "load.log",
            environment={"PYTHONPATH": str(ROOT)},
        )
        for _ in family.wait_for_end("crawler", poll_seconds=0.02):
            pass
    counts = json.loads(books.read_text())["counts"]
    if [(entry["outcome"], entry["count"]) for entry in counts] != [("success", count)]:
        raise LabError(f"the load was not answered as it should be: {counts}")


def _cpu_seconds(pid: int) -> float:
    # proc(5): utime and stime are fields 14 and 15; the name before them may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CPU_TICKS_PER_SECOND
