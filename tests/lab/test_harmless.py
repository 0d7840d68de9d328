"""Nothing that a crawler or a vendor sends is treated otherwise because we look at it.

The same hostile bytes go through the rendered sidecar and through a control: the same chains,
parsers, routes and clusters without the script, the vendor constant and the statistics.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import get_args

import pytest

from components.attribution.outcome import RESPONSE_CODES
from lab.loopback import answers
from lab.system import load_settings
from settings.values.outcomes import VendorOutcome
from tests.lab import exchange, hostile
from tests.lab.conftest import LABEL, until
from tests.lab.test_fail_open import write_lua

pytestmark = pytest.mark.long

LEAST_INPUTS = 10_000
GOES = 5  # for what differed: who closes first is a race that Envoy alone also runs
MANY = 1000  # on a busy machine hundreds are silent once; more is no race

OUTCOMES = {
    *get_args(VendorOutcome),
    *("rejected", "connect_failed", "timeout", "reset", "bad_answer", "client_cancelled"),
}
CODES = {*map(str, RESPONSE_CODES), "0", "1xx", "2xx", "3xx", "4xx", "5xx", "other"}
SAMPLE = re.compile(r"^(\w+)\{(.*)\} \S+$", re.MULTILINE)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    with exchange.twins(tmp_path_factory.mktemp("twins")) as both:
        yield both


@pytest.fixture(scope="module")
def settings(both):
    return load_settings(both.ours.ports)


@pytest.fixture(scope="module")
def inputs(both, settings):
    networks = [entry.network for vendor in settings.vendors for entry in vendor.cidrs]
    ranges = [network for network in networks if network.version == 4]
    return hostile.exchanges(ranges, both.port_offsets)


@dataclass(frozen=True)
class Difference:
    """An exchange, and all that happened to it with us and without."""

    sent: exchange.Exchange
    ours: set[str]
    control: set[str]

    def __str__(self):
        own, other = (sorted(seen)[0] for seen in (self.ours, self.control))
        same = next((n for n, (a, b) in enumerate(zip(own, other, strict=False)) if a != b), 0)
        start = max(0, same - 60)
        return (
            f"sent {self.sent.sends[:300]!r}\nanswered {self.sent.answers[:1]!r:.300}\n"
            f"ours    …{own[start : same + 200]}\ncontrol …{other[start : same + 200]}\n"
        )


def differences(inputs, both, **how):
    """Have all through both Envoys; return what was different, and our records."""
    ours, control = asyncio.run(exchange.run(inputs, both.sides, **how))
    found = [
        Difference(each, {repr(own.seen)}, {repr(other.seen)})
        for each, own, other in zip(inputs, ours, control, strict=True)
        if own.seen != other.seen
    ]
    return found, ours


def confirmed(found, both, **how):
    """Return the differences without what Envoy does now so, now so: it does, without us too."""
    inputs = [difference.sent for difference in found]
    for _ in range(GOES if len(found) < MANY else 0):
        ours, control = asyncio.run(exchange.run(inputs, both.sides, **how))
        for difference, own, other in zip(found, ours, control, strict=True):
            difference.ours.add(repr(own.seen))
            difference.control.add(repr(other.seen))
    return [difference for difference in found if not difference.ours & difference.control]


def compared(records):
    """Return how many inputs were judged: an answer to each, or none and the same end."""
    answered = sum(
        sum(not answer.startswith(b"HTTP/1.1 10") for answer in record.answers)
        for record in records
    )
    return answered + sum(not record.answers for record in records)


def test_ten_thousand_hostile_inputs_are_treated_as_by_an_envoy_without_us(both, inputs):
    """Same answer at the crawler, same request at the vendor, whatever either of them sends."""
    started = time.monotonic()
    found, records = differences(inputs, both)
    seconds = time.monotonic() - started
    real = confirmed(found, both)
    both.family.check()
    count = compared(records)
    print(
        f"hostile inputs {count} on {len(inputs)} connections in {seconds:.1f} s: "
        f"{len(found)} differed once, {len(real)} for good"
    )
    assert not real, f"{len(real)} of {count}\n" + "\n".join(map(str, real[:5]))
    assert count >= LEAST_INPUTS
    # Not by breaking all alike: of what is framed well, most is answered by the vendor.
    framed = [record for each, record in zip(inputs, records, strict=True) if len(each.methods) > 1]
    reached = sum(len(record.received) for record in framed)
    assert reached > 0.8 * hostile.FRAMED_CONNECTIONS * hostile.FRAMED_EACH


def test_a_vendor_that_is_not_there_is_so_without_us_too(both, inputs):
    """Envoy's own answer for a refused connection is not ours to change."""
    found, records = differences(inputs[::100], both, with_vendor=False)
    assert not [str(real) for real in confirmed(found, both, with_vendor=False)]
    assert any(b" 503 " in answer[:13] for record in records for answer in record.answers)


def test_what_is_hostile_reaches_no_label(both, settings):
    """Labels hold what the tables hold; series are bounded; Envoy is well and content."""
    vendors = settings.vendors
    assert answers(f"http://127.0.0.1:{both.ours.ports.envoy_admin}/ready")
    assert both.ours.counter("envoy_http_lua_errors") == 0
    stats = both.ours.stats()
    samples = [(name, dict(LABEL.findall(labels))) for name, labels in SAMPLE.findall(stats)]
    requests = [labels for name, labels in samples if name.endswith("istio_requests_total")]
    pools = {entry.pool or "" for vendor in vendors for entry in vendor.cidrs}
    targets = {"", "other", *(target.name for target in settings.targets)}
    allowed = {
        "proxy_vendor": {"", *(vendor.name for vendor in vendors)},
        "proxy_visibility": {"", "http", "tunnel", "opaque"},
        "proxy_outcome": OUTCOMES,
        "proxy_pool": pools,
        "proxy_target": targets,
        "response_code": CODES,
    }
    for label, values in allowed.items():
        assert {labels[label] for _, labels in samples if label in labels} <= values
    reached = {"", *(vendor.name for vendor in vendors if vendor.cidrs)}
    assert {labels.get("proxy_vendor", "") for _, labels in samples} == reached
    # Each code has its outcome, and a few have a second or a third one.
    print(f"series {len(samples)}, of requests {len(requests)}")
    assert len(requests) < len(vendors) * 2 * 2 * len(CODES)

    log = (both.folder / "ours" / "envoy.log").read_text(encoding="utf-8", errors="replace")
    assert hostile.MARK.decode() not in stats
    assert hostile.MARK.decode() not in log
    assert "[error]" not in log


def test_a_script_that_meddles_is_noticed(both):
    """A comparison that cannot fail proves nothing."""
    request = b"GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n"
    write_lua(both.ours, 'function envoy_on_response(h) h:headers():add("x-met", "us") end\n')
    (real,) = until(
        lambda: differences([exchange.Exchange(address="127.1.0.10", sends=request)], both)[0]
    )
    assert "x-met: us" in str(real)
