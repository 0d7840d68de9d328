"""Ten headline panels against what the generator and the vendors counted themselves.

A panel shows rates. Added up second by second over a whole run, from silence to silence, they give
the counts, however fast the machine made them. Panels of shares cannot be added up: those of what
they divide are here.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.loopback import get_json
from lab.plan import crawler_environment, with_every_fault
from lab.system import CREDENTIALS, Lab, running
from lab.viewer.in_lab import board_questions
from lab.viewer.questions import MOST_POINTS, Questions
from settings.stack import StackSettings
from settings.vendors import Target
from simulation.crawler.plan import Plan
from simulation.crawler.reading import read_plan
from simulation.crawler.sequence import PlannedRequest, planned_requests
from tests.lab.conftest import free_ports, until

pytestmark = pytest.mark.long

Json = dict[str, Any]
Counts = Counter[tuple[str, ...]]

WARM_UP, COUNTS = 3_000, 30_000
REQUESTS_PER_SECOND = 300
MOST_APART = 0.01
LEAST_APART = 0.5
"""Of a count: 1 % of a few would be less than one."""

FACTOR = 10
"""Rates over half a minute. Bytes are added up five times in it: where Prometheus does so with a
scrape that is d seconds late, d / 5 seconds of the run are missing. It takes 100 s, so that this is
1 % after 5 s."""

SITES, SHOPS = 4, (1, 2)
"""The crawler asks for four sites, in falling numbers, of which two are the group `shops`."""

BLAMED = (
    *("connect_failed", "timeout", "reset", "auth_failed"),
    *("quota_exhausted", "rate_limited", "blocked", "vendor_error"),
)
"""What is a vendor's failure (docs/series.md)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: its time, and what was counted in it beside Prometheus."""

    questions: Questions
    begin: float
    end: float
    crawler: Json
    plan: Plan
    wire: Counts
    """By vendor and what: the vendors' own books of their sockets."""

    def panel(self, uid: str, title: str, *labels: str, vendor: str = "") -> Counts:
        """Return what a panel's rates come to over the run, by labels; as a page would ask."""
        [panel] = [one for one in self.questions.board(uid)["panels"] if one.get("title") == title]
        asked = {
            "from": [f"{self.begin * 1000:.0f}"],
            "to": [f"{self.end * 1000:.0f}"],
            "points": [str(MOST_POINTS)],
        } | ({"var-vendor": [vendor]} if vendor else {})
        answer = self.questions.panel(uid, str(panel["id"]), asked)
        assert not [one["error"] for one in answer["targets"] if "error" in one]
        found: Counts = Counter()
        for series in (series for one in answer["targets"] for series in one["series"]):
            key = tuple(series["metric"].get(label, "") for label in labels)
            values = sum(float(value) for _, value in series["values"])
            found[key] += values * answer["step"] / 1000
        return found

    def by_vendor(self, uid: str, title: str, *labels: str) -> Counts:
        """Return the same, the board's variable set to each vendor in turn."""
        found: Counts = Counter()
        for vendor in {one.name for one in self.plan.vendors}:
            for key, value in self.panel(uid, title, *labels, vendor=vendor).items():
                found[vendor, *key] += value
        return found

    def made(
        self,
        rows: str,
        *columns: str,
        of: tuple[str, ...] = ("count",),
        where: Callable[[Json], bool] = lambda row: True,
    ) -> Counts:
        """Return the generator's counts, by some columns of its books."""
        found: Counts = Counter()
        for row in filter(where, self.crawler[rows]):
            found[tuple(row[column] for column in columns)] += sum(row[name] for name in of)
        return found

    def at_vendors(self, *what: str) -> Counts:
        found: Counts = Counter()
        for (vendor, counted), number in self.wire.items():
            if counted in what and vendor != "outside":
                found[(vendor,)] += number
        return found

    def planned(self, key: Callable[[str, str, PlannedRequest], tuple[str, ...] | None]) -> Counts:
        """Return the plan's requests by what `key` makes of vendor, visibility and request."""
        found: Counts = Counter()
        for one in planned_requests(self.plan):
            if one.vendor >= 0:  # else it is outside
                vendor = self.plan.vendors[one.vendor]
                if name := key(vendor.name, vendor.visibility_of(one.protocol), one):
                    found[name] += 1
        return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Every vendor, protocol and fault, each way of inspection."""
    folder: Path = tmp_path_factory.mktemp("lab") / "headlines"
    with running(
        ports=free_ports(),
        folder=folder,
        say=lambda line: None,
        inspect="mixed",
        factor=FACTOR,
        behind_the_generator=with_shops,
    ) as lab:
        crawl(lab, WARM_UP, seed=1)  # rate() does not see the first value of a new series
        begin, before = time.time(), vendors_wire(lab)
        crawl(lab, COUNTS, seed=18)
        yield Run(
            questions=board_questions(lab),
            begin=begin,
            end=time.time(),
            crawler=json.loads(lab.crawler_books.read_text()),
            plan=read_plan(
                json.loads((folder / "crawler-plan.json").read_text()),
                crawler_environment(lab.endpoints, CREDENTIALS),
            ),
            wire=vendors_wire(lab) - before,
        )


def with_shops(settings: StackSettings) -> StackSettings:
    """A site that misbehaves has a name below the site's own."""
    hosts = tuple(f"{below}site-{rank}.sim.test" for rank in SHOPS for below in ("", "*."))
    return settings.model_copy(update={"targets": (Target(name="shops", hosts=hosts),)})


def crawl(lab: Lab, count: int, seed: int) -> None:
    """Let a crawler make its counts, and wait until every rate is 0 again."""
    lab.start_crawler(
        count=count,
        requests_per_second=REQUESTS_PER_SECOND,
        seed=seed,
        mix="even",
        change=lambda plan: with_every_fault(plan) | {"hosts": {"count": SITES}},
    )
    lab.family.wait_for_end("crawler")
    lab.settle()

    def silent() -> bool:
        rates = lab.query('{__name__=~"proxy_vendor:.+:rate5m"}')
        return bool(rates) and not any(float(one["value"][1]) for one in rates)

    until(silent, seconds=240)


def vendors_wire(lab: Lab) -> Counts:
    found: Counts = Counter()
    for row in get_json(f"{lab.vendor_url}/books")["wire"]:
        for what in ("connections", "bytes_sent", "bytes_received"):
            found[row["vendor"], what] += row[what]
    return found


def is_blamed(row: Json) -> bool:
    return row["outcome"] in BLAMED


def target(vendor: str, visibility: str, one: PlannedRequest) -> tuple[str, ...] | None:
    """Return the vendor and the group of the site; Envoy tells it of requests and CONNECT alone."""
    if visibility == "opaque":
        return None
    is_named = visibility != "socks" and one.fault != "rejected"
    return vendor, "shops" if is_named and one.host in SHOPS else "other"


def dead(vendor: str, visibility: str, one: PlannedRequest) -> tuple[str, ...] | None:
    """Return the vendor of a connection that comes to nothing: Envoy counts those too."""
    return (vendor,) if visibility != "opaque" and one.fault == "dead" else None


def pairs(run: Run) -> Iterator[tuple[str, Counts, Counts]]:
    """Yield each panel's name, what it shows, and what was counted beside Prometheus."""
    both_ways = ("bytes_sent", "bytes_received")
    yield (
        "Fleet: Requests",
        run.panel("proxy-fleet", "Requests"),
        run.made("counts"),
    )
    yield (
        "Fleet: Traffic by vendor",
        inside(run.panel("proxy-fleet", "Traffic by vendor", "proxy_vendor")),
        run.at_vendors(*both_ways),
    )
    yield (
        "Vendor: Requests",
        run.panel("proxy-vendor", "Requests", "proxy_vendor"),
        run.made("counts", "vendor"),
    )
    yield (
        "Vendor: Requests without success, by outcome",
        run.panel("proxy-vendor", "Requests without success, by outcome", "proxy_outcome"),
        run.made("counts", "outcome", where=lambda row: row["outcome"] != "success"),
    )
    yield (
        "Vendor: Requests by visibility",
        run.panel("proxy-vendor", "Requests by visibility", "proxy_visibility"),
        run.made("counts", "visibility"),
    )
    yield (
        "Vendor: New connections",
        inside(run.panel("proxy-vendor", "New connections", "proxy_vendor")),
        run.at_vendors("connections") + run.planned(dead),
    )
    yield (
        "Vendor: Opaque connections",
        inside(run.panel("proxy-vendor", "Opaque connections", "proxy_vendor")),
        run.made("opaque", "vendor", of=("connections",)),
    )
    yield (
        "Vendor: Traffic in opaque connections",
        run.panel("proxy-vendor", "Traffic in opaque connections", "proxy_vendor"),
        run.made("opaque", "vendor", of=both_ways),
    )
    yield (
        "Vendor: Connections to no vendor",
        run.panel("proxy-vendor", "Connections to no vendor", "proxy_vendor"),
        run.made("places", "place"),
    )
    yield (
        "Product: Requests by product",
        named(run.panel("proxy-product", "Requests by product", "proxy_vendor", "proxy_pool")),
        run.made("pools", "vendor", "pool"),
    )
    yield (
        "Product: Traffic by product",
        run.panel("proxy-product", "Traffic by product", "proxy_vendor"),
        run.at_vendors(*both_ways),
    )
    yield (
        "Product: Requests by target group",
        run.by_vendor("proxy-product", "Requests by target group", "proxy_target"),
        run.planned(target),
    )
    yield (
        "Error budget: What the budget is spent on, by outcome",
        run.by_vendor(
            "proxy-error-budget", "What the budget is spent on, by outcome", "proxy_outcome"
        ),
        run.made("counts", "vendor", "outcome", where=is_blamed),
    )


def inside(counts: Counts) -> Counts:
    """Return the vendors' counts: what goes elsewhere has a panel of its own."""
    return Counter({key: n for key, n in counts.items() if key[0].startswith("vendor-")})


def named(counts: Counts) -> Counts:
    """Return the products' counts: the generator has no name for a vendor as a whole."""
    return Counter({key: n for key, n in counts.items() if key[1]})


def test_headline_panels_tell_the_truth(run: Run) -> None:
    """Thirteen, by every vendor, outcome, product and target: within 1 %, or half a count."""
    wrong = []
    lines = [f"{'panel':<55}{'shown':>15}{'truth':>13}{'of all':>9}{'worst':>9}  of"]
    for name, shown, truth in pairs(run):
        assert sum(truth.values()) > 0, name
        apart = {key: shown[key] - truth[key] for key in {*shown, *truth}}
        worst = max(apart, key=lambda key: abs(apart[key]) / max(truth[key], LEAST_APART * 100))
        total, own = sum(truth.values()), max(truth[worst], 1)
        lines.append(
            f"{name:<55}{sum(shown.values()):>15,.1f}{total:>13,}"
            f"{sum(apart.values()) / total:>+9.2%}{apart[worst] / own:>+9.2%}  {' '.join(worst)}"
        )
        wrong += [
            f"{name} {' '.join(key)}: {shown[key]:.1f} of {truth[key]}"
            for key, by in apart.items()
            if abs(by) > max(MOST_APART * truth[key], LEAST_APART)
        ]
    print("\n".join(lines))
    assert wrong == []
