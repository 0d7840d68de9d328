"""What the lab's traffic costs: the shipped exporter, invented prices, and five weeks of invented
hours in a ledger of its own. The lab runs for minutes, and its own hours would cost nothing."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lab.ledger_blocks import fill
from lab.ports import Ports
from lab.processes import Children
from money.as_json import written
from money.from_settings import budgets_of, contracts_of
from money.quantities import Book, Part, Quantities, Wire
from settings.billing import Billing
from settings.budgets import Budget
from settings.ledger import Ledger
from settings.stack import StackSettings
from settings.vendors import Vendor
from tools.find import find

Json = dict[str, Any]

STAND_IN = "invoices -> invented prices, and an invented month before the lab's own minutes"

_OTHERS: Json = {"perGB": {"price": 1.1, "unit": "GB"}}
# vendor-b and vendor-d bill requests, failed ones too: their drills cost something.
_PRICES: dict[str, Json] = {
    "vendor-b": {"perRequest": {"per1000": 0.08}},
    "vendor-c": {
        "perGB": {"tiers": [{"upTo": 1000, "price": 1.6}, {"price": 0.9}], "unit": "GB"},
        "free": ["refused", "failed"],
    },
    "vendor-d": {"perRequest": {"per1000": 0.06}},
    "vendor-e": {"perSuccess": {"per1000": 0.1}},
    "vendor-f": {"perAddressMonth": {"price": 1.2, "addresses": 2000}},
    "vendor-g": {
        "perGB": {"price": 0.7, "unit": "GB"},
        "commit": {"monthly": 1500, "includes": 1800},
    },
    "vendor-j": {"perGB": {"price": 1.9, "unit": "GB"}},
}
# Twice what a whole month costs: in a calm lab no budget alerts, whatever the day.
_BUDGETS: tuple[Json, ...] = (
    {"name": "all", "limit": {"money": 90_000, "currency": "USD"}},
    {"name": "vendor-b", "vendor": "vendor-b", "limit": {"money": 12_000, "currency": "USD"}},
    {"name": "residential", "product": "residential", "limit": {"gb": 10_000}},
)

HOUR = timedelta(hours=1)
DAYS = 35
"""Of invented hours: they reach back to the month's first, whatever the day."""
REQUESTS_AN_HOUR = 23 * 3600
"""Of a vendor, as the crawler of drills asks each."""
PAGE_BYTES = 45_000
BLOCKED = 0.02


def with_prices(settings: StackSettings, ports: Ports) -> StackSettings:
    """Return the settings with prices and budgets, and a ledger that the lab runs."""

    def priced(vendor: Vendor) -> Vendor:
        price = {"currency": "USD", **_PRICES.get(vendor.name, _OTHERS)}
        return vendor.model_copy(update={"billing": Billing.model_validate(price)})

    return settings.model_copy(
        update={
            "vendors": tuple(map(priced, settings.vendors)),
            "budgets": tuple(map(Budget.model_validate, _BUDGETS)),
            "ledger": Ledger.model_validate({"url": ledger_url(ports)}),
        }
    )


def ledger_url(ports: Ports) -> str:
    return f"http://127.0.0.1:{ports.ledger}"


def start_money(
    family: Children, settings: StackSettings, ports: Ports, folder: Path, root: Path
) -> dict[str, str]:
    """Fill and start the ledger, and start the exporter; return the page of each that says whether
    it is ready."""
    own = folder / "ledger"
    own.mkdir()
    fill(own / "data", invented(settings, datetime.now(UTC)), settings.cluster)
    config, contracts = own / "nothing.yml", own / "contracts.json"
    config.write_text("{}", encoding="utf-8")
    contracts.write_text(written(contracts_of(settings), budgets_of(settings)), encoding="utf-8")
    family.start(
        "ledger",
        [
            *(str(find("prometheus")), f"--config.file={config}"),
            *(f"--storage.tsdb.path={own / 'data'}", "--storage.tsdb.retention.time=10y"),
            *(f"--web.listen-address=127.0.0.1:{ports.ledger}", "--log.level=warn"),
        ],
        log=own / "ledger.log",
    )
    family.start(
        "money-exporter",
        [
            *(sys.executable, "-m", "money.exporter", f"--ledger={ledger_url(ports)}"),
            *(f"--cluster={settings.cluster}", f"--contracts={contracts}"),
            # The first read may come before the ledger answers.
            *(f"--port={ports.money_exporter}", "--every=5"),
        ],
        log=own / "money-exporter.log",
        environment={"PYTHONPATH": str(root)},
    )
    return {
        "ledger": f"{ledger_url(ports)}/-/ready",
        "money": f"http://127.0.0.1:{ports.money_exporter}/healthz",
    }


def invented(settings: StackSettings, now: datetime) -> Book:
    """Return hours of each vendor and product, up to the last that a ledger would have by now."""
    chance = random.Random(1)
    last = now.replace(minute=0, second=0, microsecond=0) - 2 * HOUR
    hours, wire = {}, {}
    for number in range(DAYS * 24):
        at = last - number * HOUR
        busy = 1 + 0.4 * math.sin((at.hour - 9) * math.pi / 12)
        hours[at] = {
            part: _hour(share * busy * chance.uniform(0.9, 1.1), is_read=is_read)
            for part, share, is_read in _parts(settings)
        }
        wire[at] = {
            vendor.name: _wire(
                [one for part, one in hours[at].items() if part.vendor == vendor.name]
            )
            for vendor in settings.vendors
        }
    return Book(hours=hours, wire=wire, coverage=dict.fromkeys(hours, 1.0))


def _parts(settings: StackSettings) -> Iterator[tuple[Part, float, bool]]:
    """Yield each product's part, its share of the vendor, and whether its requests are seen."""
    team, target = settings.crawlers.namespaces[0], "other"
    for vendor in settings.vendors:
        pools = {
            *("", *(product.name for product in vendor.products)),
            *(block.pool for block in vendor.ranges if block.pool),
            *(host.pool for host in vendor.hosts if host.pool),
        }
        for pool in sorted(pools):
            part = Part(vendor.name, pool, team, target)
            yield part, 1 / len(pools), vendor.inspect != "connections"


def _hour(share: float, *, is_read: bool) -> Quantities:
    total = REQUESTS_AN_HOUR * share
    sent, received = total * 500, total * (1 - BLOCKED) * PAGE_BYTES
    if not is_read:
        return Quantities(bytes_sent={"": sent}, bytes_received={"": received})
    return Quantities(
        bytes_sent={"delivered": sent},
        bytes_received={"delivered": received, "refused": total * BLOCKED * 800},
        requests={"success": total * (1 - BLOCKED), "blocked": total * BLOCKED},
    )


def _wire(parts: list[Quantities]) -> Wire:
    return Wire(
        bytes_sent=sum(sum(one.bytes_sent.values()) for one in parts),
        bytes_received=sum(sum(one.bytes_received.values()) for one in parts),
    )
