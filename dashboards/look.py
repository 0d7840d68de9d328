"""What boards need to know of a stack: names and their colours, limits, and how series are named.

A vendor has the colour of its position in the stack file, so it looks alike on every board and
keeps its colour when others come and go. Hue and dashes together tell 35 names apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.panels import GOOD, Json, timeseries
from money.from_settings import contracts_of
from settings.alerts import Alerts
from settings.catalogue import OUTSIDE
from settings.prometheus import OwnPrometheus
from settings.stack import StackSettings

# Okabe and Ito, Color Universal Design (https://jfly.uni-koeln.de/color/): told apart by people
# with any of the common kinds of colour blindness. Black is left out, as Grafana's background is.
HUES = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00")
DASHES: tuple[tuple[int, ...], ...] = ((), (10, 10), (2, 6), (24, 8), (24, 6, 4, 6))
"""Lengths of line and gap in pixels; none is a solid line."""
GREY = "#8E8E8E"

FAILURES = (
    *("connect_failed", "timeout", "reset", "auth_failed", "quota_exhausted", "rate_limited"),
    *("blocked", "vendor_error"),
)
HARMLESS = (
    *("target_error", "client_cancelled", "auth_challenge", "policy", "bad_answer", "rejected"),
)
"""Outcomes beside `success`: what a vendor is blamed for, and what not."""

SIGNS = ("USD", "EUR", "GBP", "JPY")
"""Currencies that Grafana and the lab's page write with a sign of their own."""

FEW = 12
"""Lines that are told apart at a glance. A stack with more vendors shows the worst or busiest."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What boards show differently from stack to stack."""

    vendors: tuple[str, ...]
    others: tuple[str, ...]
    """What is no vendor: `outside`, and the destinations."""
    products: tuple[tuple[str, str], ...]
    """Vendor and product, or pool."""
    targets: tuple[str, ...]
    several_clusters: bool
    """Whether this Prometheus may have series of other clusters, which their names must tell."""
    alerts: Alerts
    series_budget: int
    """Of a sidecar."""
    has_money: bool
    """Whether hours are kept, from which costs are computed."""
    has_generator: bool
    """Whether there may be synthetic traffic."""
    currencies: tuple[str, ...]
    """Of the contracts."""

    @property
    def has_many_vendors(self) -> bool:
        return len(self.vendors) > FEW

    def headings(self, **by_label: str) -> dict[str, str]:
        """Return a table's headings by label, with the cluster's where there may be several."""
        return {**by_label, **({"cluster": "Cluster"} if self.several_clusters else {})}

    def named(self, legend: str) -> str:
        """Return a legend with the cluster, where there may be several."""
        return f"{legend} {{{{cluster}}}}" if self.several_clusters else legend

    @property
    def money_unit(self) -> str:
        """Grafana's id of the currency; a plain number where there are several."""
        if len(self.currencies) != 1:
            return "none"
        (currency,) = self.currencies
        return f"currency{currency}" if currency in SIGNS else f"suffix:{currency}"

    def money_named(self, legend: str) -> str:
        """Return a legend with the currency, where there may be several."""
        several = len(self.currencies) != 1
        return self.named(f"{legend} {{{{currency}}}}" if several else legend)

    def most(self, expr: str) -> str:
        """Return the query for vendors, or for those with the largest values of many."""
        return f"topk({FEW}, {expr})" if self.has_many_vendors else expr

    def by_vendor(self) -> list[Json]:
        """Return the overrides that give each vendor its colour."""
        greys = [
            _override(name, GREY, DASHES[position % len(DASHES)])
            for position, name in enumerate(self.others)
        ]
        return [*_overrides(self.vendors), *greys]

    def by_product(self) -> list[Json]:
        """Return the same for series that are named by vendor and product, or by vendor alone."""
        products = _overrides(f"{vendor} {product}" for vendor, product in self.products)
        return [*self.by_vendor(), *products]

    def by_target(self) -> list[Json]:
        """Return the same for series that are named by target group."""
        return _overrides(self.targets)

    def vendor_lines(self, *, expr: str, **panel: Any) -> Json:
        """Return a line for each vendor, or for the largest of many; else as `timeseries`."""
        panel.setdefault("legend", self.named("{{proxy_vendor}}"))
        return timeseries(expr=self.most(expr), colours=self.by_vendor(), **panel)

    def vendor_cells(self) -> list[Json]:
        """Return the value mappings that colour a vendor's name in a table."""
        # Numbered before the vendors, and written after them: a further vendor changes no other.
        others = {name: {"color": GREY, "index": n} for n, name in enumerate(self.others)}
        vendors = {
            name: {"color": HUES[n % len(HUES)], "index": len(others) + n}
            for n, name in enumerate(self.vendors)
        }
        return [{"type": "value", "options": {**vendors, **others}}]


def look_of(settings: StackSettings) -> Look:
    prometheus = settings.prometheus
    products = [
        (vendor.name, name)
        for vendor in settings.vendors
        for name in dict.fromkeys(
            [
                *(product.name for product in vendor.products),
                *(route.pool for route in vendor.ranges if route.pool),
            ]
        )
    ]
    several_clusters = not isinstance(prometheus, OwnPrometheus) or bool(prometheus.federate_from)
    return Look(
        vendors=tuple(vendor.name for vendor in settings.vendors),
        others=(OUTSIDE, *(destination.name for destination in settings.destinations)),
        products=tuple(products),
        targets=tuple(target.name for target in settings.targets),
        several_clusters=several_clusters,
        alerts=settings.alerts,
        series_budget=settings.telemetry.series_budget,
        has_money=settings.records_hours,
        has_generator=settings.load_generator.enabled or several_clusters,
        currencies=tuple(sorted({one.currency for one in contracts_of(settings)})),
    )


def _by_outcome() -> list[Json]:
    greys = [
        _override(name, GREY, DASHES[position % len(DASHES)])
        for position, name in enumerate(HARMLESS)
    ]
    return [_override("success", GOOD), _override("none", GOOD), *_overrides(FAILURES), *greys]


def _overrides(names: Iterable[str]) -> list[Json]:
    return [
        _override(name, HUES[n % len(HUES)], DASHES[n // len(HUES) % len(DASHES)])
        for n, name in enumerate(names)
    ]


def _override(name: str, colour: str, dashes: Sequence[int] = ()) -> Json:
    style = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [*dashes]}}
    return {
        # By its first words, since the cluster's name may follow.
        "matcher": {"id": "byRegexp", "options": f"/^{name}( |$)/"},
        "properties": [
            {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}},
            *([style] if dashes else []),
        ],
    }


BY_OUTCOME: Json = {"legend": "{{proxy_outcome}}", "colours": _by_outcome()}
"""Arguments of a panel with a line for each outcome; grey is no failure."""
