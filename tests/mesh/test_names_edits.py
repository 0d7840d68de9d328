"""Edits of vendors by name under load: no request fails, and only what must be cut is.

A name is removed in two steps. `retired` takes its ServiceEntry, and with it the listeners of its
listed ports; who still holds the virtual address is served by virtualOutbound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.mesh import names
from tests.mesh.conftest import Record
from tests.mesh.load import Load, Plan, observed
from tests.mesh.mesh import Mesh
from tests.mesh.names import GATEWAYS, LISTED, OTHER, by_name, virtual
from tests.mesh.test_edits import NONE, vendor_of
from tests.mesh.test_fail_open import counted

pytestmark = pytest.mark.long

Json = dict[str, Any]
Edit = Callable[[Json], None]

LATER = 3145
"""A port of the range, which an edit lists."""
EDITED, KEPT = "name-a", "name-b"
TARGETS = {
    EDITED: (GATEWAYS[EDITED], LISTED),
    f"{EDITED}, other port": (GATEWAYS[EDITED], OTHER),
    f"{EDITED}, port listed later": (GATEWAYS[EDITED], LATER),
    KEPT: (GATEWAYS[KEPT], LISTED),
    f"{KEPT}, address kept": (virtual(KEPT), LISTED),
    f"{KEPT}, address kept, other port": (virtual(KEPT), OTHER),
    "name-p": (GATEWAYS["name-p"], LISTED),
    "name-p, other port": (GATEWAYS["name-p"], OTHER),
    "vendor-a": ("10.1.0.10", LISTED),
    "no vendor": ("10.200.0.5", 80),
}
LOAD = Plan(TARGETS, requests_per_second=150, tunnels_each=10, servers="dns")
LISTENERS_OF_KEPT = frozenset({KEPT, f"{KEPT}, address kept"})


def _host(keys: Json, vendor: str) -> Json:
    (host,) = vendor_of(keys, vendor)["hosts"]
    assert isinstance(host, dict)
    return host


def _more_names(keys: Json) -> None:
    by_name(keys)
    more = [{"name": f"gw-{n}.more.test", "ports": [LISTED]} for n in range(20)]
    keys["vendors"].append({"name": "name-z", "hosts": more, "httpPorts": [LISTED]})


def _listed(keys: Json) -> None:
    by_name(keys)
    _host(keys, EDITED)["ports"] = [LISTED, LATER, "3140-3144", "3146-3149"]


def _retired(keys: Json) -> None:
    by_name(keys)
    _host(keys, KEPT)["retired"] = True


def _removed(keys: Json) -> None:
    by_name(keys)
    keys["vendors"] = [one for one in keys["vendors"] if one["name"] != EDITED]


def _first_retired(keys: Json) -> None:
    by_name(keys)
    _host(keys, EDITED)["retired"] = True


UNLISTED = "a port listed no more"
"""A few milliseconds lie between the end of Istio's cluster for the port and its listener's; our
chains have left the listener before. So a connection that begins then is reset."""

STEPS: tuple[tuple[str, Edit, frozenset[str]], ...] = (
    ("20 names added", _more_names, NONE),
    ("20 names removed", by_name, NONE),
    ("a port listed", _listed, NONE),
    (UNLISTED, by_name, NONE),
    ("a name retired while addresses are kept", _retired, LISTENERS_OF_KEPT),
    ("a name in use again", by_name, NONE),
    ("removal, first step: retired", _first_retired, frozenset({EDITED})),
    (
        "removal, second step: the vendor",
        _removed,
        frozenset({f"{EDITED}, other port", f"{EDITED}, port listed later"}),
    ),
    ("the vendor again", by_name, NONE),
)


@pytest.mark.parametrize(("what", "edit", "cut_ones"), STEPS, ids=[step[0] for step in STEPS])
def test_an_edit_of_names(
    mesh: Mesh, load: Load, what: str, edit: Edit, cut_ones: frozenset[str], record: Record
) -> None:
    (pod,) = load.pods
    files = mesh.stack(edit)
    before = counted(pod, KEPT)
    failing = 0.1 if what == UNLISTED else 0.0
    with observed(mesh, load, what, record, cut_ones=cut_ones, failing=failing) as cut:
        mesh.up(files)
    assert cut == cut_ones
    assert counted(pod, KEPT) > before  # also retired: by the address that crawlers keep
    assert names.resolve(pod, GATEWAYS["name-p"]) == virtual("name-p")
