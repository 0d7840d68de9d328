"""Write docs/compatibility.md from what the mesh tests measured.

    rm -r tests/mesh/results; MESH_RECORD=1 DURATION=300 make test SUITE=mesh && make docs

Figures come from one run on one machine; the tests assert bounds, not these figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.binaries import ETCD, ISTIO, KUBERNETES
from tests.mesh.versions import PAIRS

Json = dict[str, Any]

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
COUNTED = "passed"
"""The key of a result that counts each test's passed cases."""
LONG_TEXT = 100

CHANGES = "What edits, install and removal do"
CHANGES_TEXT = (
    "Under 200 requests a second and 200 open tunnels, 20 to each of ten targets, with a drain of "
    "4 s (Istio's default is 45 s)."
)

SWITCH = (
    "The kill switch",
    "`crawlers.mode` under 200 requests a second and 200 open tunnels, 20 to each of ten targets: "
    "vendors of each `inspect`, by address and by name, and no vendor.",
)

LAST_SCRAPE = ("When a crawler has ended", "With a drain of 4 s; the program sets 20 s.")
PASSIVE = ("The passive module in a sidecar", "Medians of three starts.")

NAMES = (
    "Vendors by name",
    "Four vendors whose names lead to the same addresses, two with `inspect: http` and two with "
    "`passive`; plain requests, CONNECT and SOCKS5. The name server is this project's own.",
)
NAME_PARTS = (
    "When a part of a vendor by name is missing",
    "What becomes of a crawler's connections to a listed port, and to one of a range "
    "(`allowUnlistedPorts`). The program refuses to deploy a set without a chain or its cluster.",
)

SECTIONS = {
    "test_a_patch_that_does_not_arrive": (
        "When a patch does not arrive",
        "What fails if one patch of the EnvoyFilters is missing; the program refuses to deploy "
        "such a set.",
    ),
    "test_a_rejected_update": (
        "When Envoy refuses an update",
        "The last column is istiod's counter.",
    ),
    "test_a_sidecar_of_another_release": (
        "Sidecars of another Istio",
        "They ask istiod for their configuration as a release that `proxyVersion` does not name.",
    ),
    "test_a_service_on_a_vendor_s_port": (
        "When a Service takes a vendor's port",
        "A Service for HTTP in the crawlers' own namespace takes its port from the vendors: have "
        "none there.",
    ),
    "test_an_edit": (CHANGES, CHANGES_TEXT),
    "test_an_edit_of_a_passive_vendor": (CHANGES, CHANGES_TEXT),
    "test_removal_and_install": (CHANGES, CHANGES_TEXT),
    "test_removal_by_steps": (CHANGES, CHANGES_TEXT),
    "test_removal_in_one_step": (CHANGES, CHANGES_TEXT),
    "test_the_kill_switch": SWITCH,
    "test_a_sidecar_that_starts_in_off": SWITCH,
    "test_observe_then_inspect_and_back": (
        "Reading HTTP on two of ten sidecars",
        "The other eight keep their configuration, byte for byte.",
    ),
    "test_istiod_killed_and_back": (
        "When istiod is away for a minute",
        "Kubernetes refuses what needs istiod's webhooks; running crawlers go on.",
    ),
    "test_up_and_back": (
        "Upgrade and go back by revision",
        "From it to 1.31, back and up again, with two istiods (`istio.otherRevision`), four "
        "crawlers, 200 requests a second and 200 open tunnels. A restarted pod ends its own "
        "tunnels, as everywhere.",
    ),
    "test_an_edit_reaches_a_thousand_sidecars": (
        "A thousand sidecars on one istiod",
        "All but one have no Envoy behind their xDS; everything runs on two cores.",
    ),
    "test_a_change_of_rules_reaches_all": (
        "What a change of rules sends to all",
        "Five vendors of 20 ranges each. The passive module is one extension for all of them; "
        "istiod sends it with every edit of an EnvoyFilter. Two cores ran everything.",
    ),
    "test_a_sidecar_answers_until_its_drain_is_over": LAST_SCRAPE,
    "test_istios_own_hook_would_end_it_at_once": LAST_SCRAPE,
    "test_how_long_a_sidecar_starts": PASSIVE,
    "test_updates_leave_no_memory": PASSIVE,
    "test_answers_that_change": NAMES,
    "test_dns_trouble": NAMES,
    "test_what_a_question_costs": NAMES,
    "test_a_part_that_is_missing": NAME_PARTS,
    "test_without_its_service_entry": NAME_PARTS,
    "test_without_dns_capture": NAME_PARTS,
    "test_a_pod_that_lacks_something": NAME_PARTS,
    "test_an_edit_of_names": (
        "Edits of vendors by name",
        "Under 150 requests a second and 100 open tunnels, ten to each of ten targets, with a "
        "drain of 4 s. Retired, a name loses the tunnels of its listed ports. As a port is listed "
        "no more, connections of some milliseconds may be reset (2 of 1,340 in another run).",
    ),
    "test_a_server_that_speaks_first_is_not_delayed": (
        "Traffic that goes to no vendor",
        "The time until the first byte of a server that speaks first.",
    ),
}


def page(results: dict[str, Json]) -> str:
    """Return the page; `results` by pair, the first pair's first."""
    lines = [
        "# Compatibility",
        "",
        "`make test SUITE=mesh` measured this: a real istiod, API server and agent feed a real "
        "Envoy, with traffic of every protocol.",
        "",
        "Istio | commit | Envoy | Kubernetes | etcd | tests passed",
        "---|---|---|---|---|---",
    ]
    commits = {build.name: build.build.module_version for build in ISTIO}
    for pair in PAIRS:
        passed = sum(results.get(pair.name, {}).get(COUNTED, {}).values())
        lines.append(
            f"{pair.istio} | `{commits[f'istio-{pair.istio}']}` | {pair.envoy} | "
            f"{KUBERNETES.version} | {ETCD.version} | {passed}"
        )
    lines += [
        "",
        "**Istio's own Envoy is not tested here.** The tests run upstream's Envoy and take out of "
        "its configuration what only Istio's build understands (`tests/mesh/stand_in.py`).",
        "",
    ]
    for title, text in dict.fromkeys(SECTIONS.values()):
        found = _of_section(title, results)
        if found:
            versions = " and ".join(pair.istio for pair in PAIRS if pair.name in found)
            lines += [f"## {title}", "", f"Istio {versions}. {text}", "", *_table(found), ""]
    return "\n".join(lines).rstrip() + "\n"


def _of_section(title: str, results: dict[str, Json]) -> dict[str, Json]:
    """Return the rows of all tests that a section shows, by pair."""
    tests = [test for test, section in SECTIONS.items() if section[0] == title]
    rows = {
        name: {row: value for test in tests for row, value in result.get(test, {}).items()}
        for name, result in results.items()
    }
    return {name: found for name, found in rows.items() if found}


def _table(found: dict[str, Json]) -> list[str]:
    """Return one table: a column a measure, rows of equal values as one."""
    first, *others = found.values()
    if any(result != first for result in others):
        cells_by_row = {
            row: {name: _cell(result.get(row, "")) for name, result in found.items()}
            for row in first
        }
    else:
        cells_by_row = _split_names({row: _cells(value) for row, value in first.items()})
    measures = list(dict.fromkeys(name for cells in cells_by_row.values() for name in cells))
    rows: dict[tuple[str, ...], list[str]] = {}
    for row, cells in cells_by_row.items():
        values = tuple(cells.get(name, "") for name in measures)
        rows.setdefault(values, []).append(row.removesuffix(", fails"))
    return [
        f"what | {' | '.join(measures)}",
        f"---|{'|'.join(['---'] * len(measures))}",
        *(f"{'; '.join(names)} | {' | '.join(values)}".rstrip() for values, names in rows.items()),
    ]


def _split_names(rows: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Make "Service: with it" and "Service: without it" one row with a column for each."""
    if not all(": " in row and list(cells) == ["seen"] for row, cells in rows.items()):
        return rows
    split: dict[str, dict[str, str]] = {}
    for row, cells in rows.items():
        name, _, column = row.partition(": ")
        split.setdefault(name, {})[column] = cells["seen"]
    return split


def _cells(value: Any) -> dict[str, str]:
    """Return the cells of one row by their column's name."""
    if isinstance(value, dict) and not all(isinstance(cell, list) for cell in value.values()):
        return {name: _cell(cell) for name, cell in value.items()}
    return {"seen": _cell(value)}


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        names_by_cell: dict[str, list[str]] = {}
        for name, cell in value.items():
            names_by_cell.setdefault(_cell(cell), []).append(name)
        return "; ".join(f"{' and '.join(names)}: {cell}" for cell, names in names_by_cell.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "0" if str(value).startswith("0 of ") else str(value)
    # What follows the first colon of a long error names addresses of the test.
    return text.partition(": ")[0] if len(text) > LONG_TEXT else text


def recorded() -> dict[str, Json]:
    """Return what the last run with MESH_RECORD=1 left, by pair."""
    return {
        pair.name: json.loads(file.read_text())
        for pair in PAIRS
        if (file := RESULTS / f"{pair.name}.json").exists()
    }


def main() -> None:
    PAGE.write_text(page(recorded()), encoding="utf-8")


if __name__ == "__main__":
    main()
