"""Requests by pool, and connections to known destinations, as all counted them at rest.

The rows of the comparison have no pool. Beside them these show that each request also stands in
the right pool: what a user bought, or whose range or name the proxy has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from books.counters import OUTSIDE, VENDOR_CANNOT_KNOW
from books.final import Query
from books.reading import GENERATORS, SIDECARS, VENDORS
from components.attribution.groups import DESTINATION_PREFIX

GENERATED_OUTSIDE = f'crawler_outside_connections_total{{job="{GENERATORS}",place!="{OUTSIDE}"}}'
COUNTED_AT_DESTINATIONS = (
    f'envoy_cluster_upstream_cx_total{{job="{SIDECARS}",cluster_name=~"{DESTINATION_PREFIX}.*"}}'
)

PoolKey = tuple[str, str, str]
"""Vendor, pool and outcome."""

_METRICS = {
    GENERATORS: ("crawler_pool_requests_total", ("vendor", "pool", "outcome")),
    VENDORS: ("vendor_pool_requests_total", ("vendor", "pool", "outcome")),
    SIDECARS: ("istio_requests_total", ("proxy_vendor", "proxy_pool", "proxy_outcome")),
}


@dataclass(frozen=True, kw_only=True)
class PoolRow:
    """Three counts of one key. `vendor_books` is None for outcomes that the vendor does not see."""

    key: PoolKey
    generator: int
    vendor_books: int | None
    mesh: int

    @property
    def difference(self) -> int:
        return self.mesh - self.generator

    @property
    def finding(self) -> str:
        """One line where the books differ, else nothing."""
        vendor, pool, outcome = self.key
        name = f"{vendor} pool {pool} {outcome}"
        if self.difference:
            apart = f"{self.mesh} - generator {self.generator} = {self.difference:+d}"
            return f"{name}: mesh {apart}"
        if self.vendor_books not in (None, self.generator):
            return f"{name}: vendors {self.vendor_books} - generator {self.generator}"
        return ""

    def as_json(self) -> dict[str, Any]:
        vendor, pool, outcome = self.key
        return {
            "vendor": vendor,
            "pool": pool,
            "outcome": outcome,
            "generator": self.generator,
            "vendor_books": self.vendor_books,
            "mesh": self.mesh,
            "difference": self.difference,
        }


def pool_rows(query: Query) -> list[PoolRow]:
    """Return a row for each vendor, pool and outcome that anybody counted.

    Requests without a pool have none: as the sums of all are compared, one that lacks its pool is
    missing there, and one that has another's is too many there.
    """
    generator, vendors, mesh = (_counts(query, job) for job in (GENERATORS, VENDORS, SIDECARS))
    return [
        PoolRow(
            key=key,
            generator=generator[key],
            vendor_books=None if key[2] in VENDOR_CANNOT_KNOW else vendors[key],
            mesh=mesh[key],
        )
        for key in sorted(generator.keys() | vendors.keys() | mesh.keys())
    ]


def _counts(query: Query, job: str) -> Counter[PoolKey]:
    metric, names = _METRICS[job]
    _, pool, _ = names
    found: Counter[PoolKey] = Counter()
    for sample in query(f'{metric}{{job="{job}",{pool}!=""}}'):
        vendor, own, outcome = (sample["metric"].get(name, "") for name in names)
        found[vendor, own, outcome] += round(float(sample["value"][1]))
    return found


def destination_findings(query: Query) -> list[str]:
    """Return a line for each known destination whose connections the mesh counted otherwise."""
    generator = _by_label(query, "place", GENERATED_OUTSIDE)
    mesh = _by_label(query, "proxy_vendor", COUNTED_AT_DESTINATIONS)
    return [
        f"{name}: mesh {mesh[name]} connections - generator {generator[name]} = "
        f"{mesh[name] - generator[name]:+d}"
        for name in sorted({*generator, *mesh})
        if mesh[name] != generator[name]
    ]


def _by_label(query: Query, label: str, selector: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for sample in query(f"sum by ({label}) ({selector})"):
        found[sample["metric"].get(label, "")] += round(float(sample["value"][1]))
    return found


def pool_table(rows: Sequence[PoolRow]) -> list[str]:
    """Return a line for each vendor and pool, and what none of the vendors can count."""
    lines = [f"{'vendor':<10}{'pool':<28}{'generator':>13}{'vendors':>13}{'mesh':>13}{'diff':>8}"]
    for vendor, pool in sorted({row.key[:2] for row in rows}):
        some = [row for row in rows if row.key[:2] == (vendor, pool)]
        known = sum(row.vendor_books or 0 for row in some)
        mesh, generator = sum(row.mesh for row in some), sum(row.generator for row in some)
        apart = sum(abs(row.difference) for row in some)
        lines.append(f"{vendor:<10}{pool:<28}{generator:>13}{known:>13}{mesh:>13}{apart:>8}")
    return [*lines, f"no vendor sees {' or '.join(sorted(VENDOR_CANNOT_KNOW))}"]


def pool_findings(rows: Iterable[PoolRow], differing: Mapping[str, int]) -> list[str]:
    """Return a line for each difference, but of vendors whose own rows differ and say why.

    Args:
        rows: of all vendors.
        differing: how many counts of a vendor are unexplained without regard to pools.
    """
    return [row.finding for row in rows if row.finding and not differing.get(row.key[0])]
