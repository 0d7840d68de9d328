"""A thousand sidecars on one istiod: the size of a push, and how long an edit takes to reach all.

The sidecars speak real xDS with a real pod's metadata, but only one of them has an Envoy.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from components.attribution.render import envoy_filters
from settings.vendors import Vendor
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod, rss_mb
from tests.mesh.mesh import CRAWLERS, Mesh

pytestmark = pytest.mark.long

Json = dict[str, Any]

SIDECARS = 1000
QUIET = "2s"
BUSY_SECONDS = 180.0  # istiod pushes to all on a busy machine
ARRIVAL_SECONDS = 30.0  # the goal for an edit of one range
EDITS = (("10.45.0.0/16",), (), ("10.46.0.0/16",))
"""Further ranges; each tuple is an edit of the one before."""


class Fleet:
    """Sidecars without Envoys, which `meshlab clients` emulates."""

    def __init__(self, mesh: Mesh, like: Pod) -> None:
        node = json.loads(like.get("/config_dump?mask=bootstrap"))["configs"][0]["bootstrap"][
            "node"
        ]
        command = [
            f"{mesh.folder}/bin/meshlab",
            "clients",
            "--istiod=127.0.0.1:15010",
            f"--count={SIDECARS}",
            f"--namespace={CRAWLERS}",
            f"--metadata={json.dumps(node['metadata'])}",
        ]
        self._process = subprocess.Popen(
            mesh.world.command(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str) -> Json:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(command, file=self._process.stdin, flush=True)
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def _fleet(mesh: Mesh, like: Pod) -> Iterator[Fleet]:
    fleet = Fleet(mesh, like)
    try:
        yield fleet
    finally:
        fleet.close()


def _files(mesh: Mesh, ranges: int, more: tuple[str, ...] = ()) -> dict[str, Json]:
    """Return what the program renders for five vendors that together have so many ranges."""
    each = ranges // 5
    vendors = [
        Vendor(
            name=f"vendor-{name}",
            cidrs=(
                *(f"10.{32 + index}.{n // 256}.{n % 256}/32" for n in range(each)),
                *(more if index == 0 else ()),
            ),
            http_ports=(3128,),
        )
        for index, name in enumerate("abcde")
    ]
    filters = envoy_filters(vendors, timeout_after_seconds=10, selector={"app": "crawler"})
    sidecars = {name: one for name, one in mesh.files.items() if one.get("kind") == "Sidecar"}
    return sidecars | {
        name: {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": {"name": name, "namespace": CRAWLERS},
            "spec": spec,
        }
        for name, spec in filters.items()
    }


def test_an_edit_reaches_a_thousand_sidecars(mesh: Mesh, record: Record) -> None:
    whole = mesh.files
    with mesh.pod("crawler-bare-envoy", labels={"app": "other"}) as without:
        plain_mb = rss_mb(without.envoy())
    alone_mb = mesh.istiod_rss_mb()
    try:
        mesh.up(_files(mesh, 100))
        with mesh.pod("crawler-like") as like, _fleet(mesh, like) as fleet:
            started = fleet.ask(f"report {QUIET}")
            record(
                f"{SIDECARS} sidecars start at once: the last has all after seconds",
                round(started["last_seconds"]),
            )
            for ranges in (100, 10_000):
                if ranges > 100:
                    fleet.ask("mark")
                    mesh.up(_files(mesh, ranges), retry_seconds=BUSY_SECONDS)
                    started = fleet.ask(f"report {QUIET}")
                for more in EDITS:  # the first, if nothing else keeps the machine busy
                    fleet.ask("mark")
                    mesh.up(_files(mesh, ranges, more), retry_seconds=BUSY_SECONDS)
                    edit = fleet.ask(f"report {QUIET}")
                    if ranges > 100 or edit["last_seconds"] <= ARRIVAL_SECONDS:
                        break
                record(
                    f"{ranges} ranges, {SIDECARS} sidecars",
                    {
                        "pushed for all of it, kB a sidecar": _kb_each(started),
                        "pushed for an edit of one range, kB a sidecar": _kb_each(edit),
                        "edit acknowledged by all within seconds": round(edit["last_seconds"], 1),
                        "istiod's added RSS, MB": round(mesh.istiod_rss_mb() - alone_mb),
                        "Envoy's added RSS, MB": round(rss_mb(like.envoy()) - plain_mb),
                    },
                )
                assert started["clients"] == edit["clients"] == SIDECARS
                if ranges == 100:
                    assert edit["last_seconds"] <= ARRIVAL_SECONDS
    finally:
        mesh.up(whole, retry_seconds=BUSY_SECONDS)


def _kb_each(report: Json) -> int:
    return round(report["bytes"] / SIDECARS / 1000)
