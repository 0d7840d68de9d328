"""A thousand sidecars on one istiod: the size of a push, and how long an edit takes to reach all.

The sidecars speak real xDS with a real pod's metadata, but only one of them has an Envoy.
"""

from __future__ import annotations

from typing import Any

import pytest

from components.attribution.render import envoy_filters
from settings.vendors import Vendor
from tests.mesh import fleet
from tests.mesh.conftest import Record
from tests.mesh.fleet import BUSY_SECONDS
from tests.mesh.kubelet import rss_mb
from tests.mesh.mesh import Mesh

pytestmark = pytest.mark.long

Json = dict[str, Any]

SIDECARS = 1000
EDIT = ("10.45.0.0/16",)
"""One more range. The goal is 30 s until all have it: recorded, since it is the machine's."""


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
    return fleet.resources(mesh, filters)


def test_an_edit_reaches_a_thousand_sidecars(mesh: Mesh, record: Record) -> None:
    whole = mesh.files
    with mesh.pod("crawler-bare-envoy", labels={"app": "other"}) as without:
        plain_mb = rss_mb(without.envoy())
    alone_mb = mesh.istiod_rss_mb()
    try:
        mesh.up(_files(mesh, 100))
        with (
            mesh.pod("crawler-like") as like,
            fleet.connected(mesh, like, SIDECARS) as sidecars,
        ):
            started = sidecars.report()
            record(
                f"{SIDECARS} sidecars start at once: the last has all after seconds",
                round(started["last_seconds"]),
            )
            for ranges in (100, 10_000):
                if ranges > 100:
                    sidecars.mark()
                    mesh.up(_files(mesh, ranges), retry_seconds=BUSY_SECONDS)
                    started = sidecars.report()
                sidecars.mark()
                mesh.up(_files(mesh, ranges, EDIT), retry_seconds=BUSY_SECONDS)
                edit = sidecars.report()
                record(
                    f"{ranges} ranges, {SIDECARS} sidecars",
                    {
                        "pushed for all of it, kB a sidecar": sidecars.kb_each(started["bytes"]),
                        "pushed for an edit of one range, kB a sidecar": sidecars.kb_each(
                            edit["bytes"]
                        ),
                        "edit acknowledged by all within seconds": round(edit["last_seconds"], 1),
                        "istiod's added RSS, MB": round(mesh.istiod_rss_mb() - alone_mb),
                        "Envoy's added RSS, MB": round(rss_mb(like.envoy()) - plain_mb),
                    },
                )
                assert started["clients"] == edit["clients"] == SIDECARS
    finally:
        mesh.up(whole, retry_seconds=BUSY_SECONDS)
