"""Bytes by product, workload, team, target and result add up to what the vendor's sockets moved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from books.reading import SIDECARS
from lab.bounded_run import wait_for_scrapes
from lab.system import Lab, running
from tests.lab.conftest import free_ports

COUNTS = 4000
MOST_APART = 0.005
WIRE = {"request": "tx", "response": "rx"}
PARTS = ("proxy_pool", "source_workload", "team", "proxy_target", "proxy_result")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Vendors of each inspection; plain HTTP, tunnels, TLS, SOCKS5, and every fault there is."""
    folder: Path = tmp_path_factory.mktemp("lab") / "bytes"
    with running(ports=free_ports(), folder=folder, say=print, inspect="mixed") as own:
        own.start_crawler(
            count=COUNTS,
            requests_per_second=None,
            seed=17,
            mix="even",
            change=lambda plan: plan | {"linger_seconds": 0.0},
        )
        own.family.wait_for_end("crawler")
        own.settle()
        wait_for_scrapes(own, time.time(), [SIDECARS])
        yield own


@pytest.mark.parametrize("way", WIRE)
def test_every_breakdown_adds_up_to_the_wire(lab: Lab, way: str) -> None:
    """Of each vendor: connections that failed have bytes on the wire too, or none."""
    metric = f"istio_proxy_{way}_bytes_total"
    cluster = f"envoy_cluster_upstream_cx_{WIRE[way]}_bytes_total"
    wire = by(lab, "proxy_vendor", f'{cluster}{{cluster_name=~"proxy-vendor_.+"}}')
    assert len(wire) == len(lab.settings.vendors)
    counted = by(lab, "proxy_vendor", metric)
    apart = {vendor: counted[vendor] / moved - 1 for vendor, moved in wire.items()}
    print(f"{way}: " + ", ".join(f"{vendor} {share:+.3%}" for vendor, share in apart.items()))
    assert max(map(abs, apart.values())) <= MOST_APART
    for part in PARTS:
        values = by(lab, part, metric)
        print(f"{way} by {part}: {values}")
        assert sum(values.values()) == sum(counted.values())
    assert by(lab, "proxy_result", metric).keys() == {"delivered", "refused", "failed", ""}
    assert by(lab, "proxy_visibility", metric).keys() == {"http", "tunnel", "socks", "opaque"}
    opaque = by(lab, "proxy_visibility", f'{metric}{{proxy_result=""}}')
    assert opaque.keys() == {"opaque"}


def by(lab: Lab, label: str, selected: str) -> dict[str, float]:
    found = lab.query(f"sum by ({label}) ({selected})")
    return {one["metric"].get(label, ""): float(one["value"][1]) for one in found}
