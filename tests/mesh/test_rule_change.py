"""What istiod sends to all sidecars for a change of an outcome rule, or of the passive module.

200 emulated sidecars; `SIDECARS=1000` is what docs/compatibility.md shows.
"""

from __future__ import annotations

import copy
import os
from base64 import b64decode, b64encode
from typing import Any, Literal

import pytest

from components.attribution.passive import FILTER_NAME
from components.attribution.render import envoy_filters
from settings.vendors import OutcomeRule, Vendor
from tests.mesh import fleet
from tests.mesh.conftest import Record
from tests.mesh.fleet import BUSY_SECONDS, Fleet
from tests.mesh.mesh import Mesh

pytestmark = pytest.mark.long

Json = dict[str, Any]
Inspect = Literal["http", "passive"]

SIDECARS = int(os.environ.get("SIDECARS", "200"))
RANGES = 20  # of each of five vendors


def _files(mesh: Mesh, inspect: Inspect, banned: int = 403) -> dict[str, Json]:
    """Return what the program renders for five vendors, one with an outcome rule of its own."""
    vendors = [
        Vendor(
            name=f"vendor-{name}",
            cidrs=tuple(f"10.{32 + index}.{n}.0/24" for n in range(RANGES)),
            inspect=inspect,
            http_ports=(3128,),
            outcomes=(
                (OutcomeRule(status=banned, header="x-ban", outcome="rate_limited"),)
                if name == "a"
                else ()
            ),
        )
        for index, name in enumerate("abcde")
    ]
    filters = envoy_filters(vendors, timeout_after_seconds=10, selector={"app": "crawler"})
    return fleet.resources(mesh, filters)


def _with_another_module(files: dict[str, Json]) -> dict[str, Json]:
    """Return the resources with a module that differs: a custom section more, which V8 ignores."""
    changed = copy.deepcopy(files)
    (patch,) = changed[FILTER_NAME]["spec"]["configPatches"]
    code = patch["patch"]["value"]["typed_config"]["config"]["vm_config"]["code"]["local"]
    module = b64decode(code["inline_bytes"]) + b"\x00\x05\x04more"
    code["inline_bytes"] = b64encode(module).decode()
    return changed


def test_a_change_of_rules_reaches_all(mesh: Mesh, record: Record) -> None:
    whole = mesh.files
    http, passive = _files(mesh, "http"), _files(mesh, "passive")
    changes = {
        "http: an outcome rule": _files(mesh, "http", 429),
        "from http to passive": passive,
        "passive: an outcome rule": _files(mesh, "passive", 429),
        "passive: another module": _with_another_module(passive),
    }
    try:
        mesh.up(http)
        with (
            mesh.pod("crawler-model") as like,
            fleet.connected(mesh, like, SIDECARS) as sidecars,
        ):
            sidecars.report()
            for what, files in changes.items():
                mesh.forget_istiod_peak()
                sidecars.mark()
                mesh.up(files, retry_seconds=BUSY_SECONDS)
                sent = sidecars.report()
                record(f"{SIDECARS} sidecars, {what}", _row(mesh, sidecars, sent))
                assert sent["clients"] == SIDECARS
    finally:
        mesh.up(whole, retry_seconds=BUSY_SECONDS)


def _row(mesh: Mesh, sidecars: Fleet, sent: Json) -> Json:
    extensions = sent["bytes_by_type"].get("TypedExtensionConfig", 0)
    return {
        "pushed, kB a sidecar": sidecars.kb_each(sent["bytes"]),
        "of it extensions": sidecars.kb_each(extensions),
        "acknowledged by all within seconds": round(sent["last_seconds"], 1),
        "istiod's peak, MB": round(mesh.istiod_peak_mb()),
    }
