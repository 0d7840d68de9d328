"""Set-up times of one sidecar in ten, or as native histograms, beside those of all.

Two hundred emulated sidecars, each with answers of its own; four real Prometheus scrape them.
"""

from __future__ import annotations

import bisect
import json
import math
import random
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import pytest

from components.attribution.stats import UPSTREAM_STATS
from components.prometheus.estimate import Estimate, estimate
from lab.loopback import get_text
from lab.processes import children
from lab.prometheus import lab_prometheus_files
from settings.loading import parse_settings
from tests.lab.conftest import free_ports, until
from tests.lab.server import start_prometheus, value
from tests.lab.sidecars import AHEAD, exposed
from tests.ports import free_block

pytestmark = pytest.mark.long

SIDECARS = 200
ANSWERS = 1000  # of a sidecar in a second; what it answers is drawn once
BUCKETS = (50, 100, 250, 500, 1000, 2500, 5000, 10000)
# Set-up times of real proxies are near a log-normal: half take 400 ms, one in twenty 1.8 s.
MEDIAN_MILLISECONDS, SIGMA = 400.0, 0.9
SIGMA_OF_PODS = 0.1  # pods are not alike: other regions, other targets
SCRAPE_SECONDS = 2
WINDOW_SECONDS = 8
PARTS = (
    *(("http", result) for result in ("delivered", "refused", "failed")),
    ("tunnel", "delivered"),
)
"""Visibility and result of bytes."""
OUTCOMES = {
    "success": 200,
    "quota_exhausted": 402,
    "blocked": 403,
    "auth_failed": 407,
    "rate_limited": 429,
    "vendor_error": 502,
}

FORMS = {
    "all": {},
    "sampled": {"histogramSampling": 10},
    "native": {"nativeHistograms": True},
    "native-sampled": {"histogramSampling": 10, "nativeHistograms": True},
}
P95 = "proxy_vendor:istio_proxy_setup_milliseconds:p95"
BELOW = "proxy_vendor_le:istio_proxy_setup_milliseconds_bucket:rate5m"
REQUESTS = "proxy_vendor:istio_requests:rate5m"


def drawn_answers() -> list[list[int]]:
    """Return for each sidecar how many of a second's answers are below each bucket's bound."""
    draw = random.Random(7)
    found = []
    for _ in range(SIDECARS):
        own = MEDIAN_MILLISECONDS * math.exp(draw.gauss(0, SIGMA_OF_PODS))
        counts = [0] * (len(BUCKETS) + 1)
        for _ in range(ANSWERS):
            milliseconds = own * math.exp(draw.gauss(0, SIGMA))
            counts[bisect.bisect_left(BUCKETS, milliseconds)] += 1
        found.append(list(accumulate(counts)))
    return found


def page(below: Sequence[int], seconds: float) -> str:
    """Return what a sidecar of one vendor exposes, as Envoy writes it."""
    lines = []

    def add(name: str, labels: str, count: float) -> None:
        lines.append(f"{name}{{{labels}}} {int(count)}")

    lines.append("# TYPE istio_proxy_setup_milliseconds histogram")
    for visibility in ("http", "tunnel"):
        own = f'proxy_vendor="vendor-a",proxy_visibility="{visibility}"'
        name = "istio_proxy_setup_milliseconds"
        for bound, count in zip((*BUCKETS, "+Inf"), below, strict=True):
            add(f"{name}_bucket", f'{own},le="{bound}"', count * seconds)
        add(f"{name}_sum", own, below[-1] * MEDIAN_MILLISECONDS * seconds)
        add(f"{name}_count", own, below[-1] * seconds)
    lines.append("# TYPE istio_requests_total counter")
    for visibility in ("http", "tunnel"):
        for outcome, status in OUTCOMES.items():
            own = f'proxy_vendor="vendor-a",proxy_visibility="{visibility}"'
            own += f',proxy_outcome="{outcome}",response_code="{status}",proxy_pool=""'
            add("istio_requests_total", own, ANSWERS * seconds / len(OUTCOMES))
    for way in ("request", "response"):
        lines.append(f"# TYPE istio_proxy_{way}_bytes_total counter")
        for visibility, result in PARTS:
            own = f'proxy_vendor="vendor-a",proxy_visibility="{visibility}",proxy_pool=""'
            add(f"istio_proxy_{way}_bytes_total", f'{own},proxy_result="{result}"', seconds)
    for name in ("connections_opened", "received_bytes", "sent_bytes"):
        lines.append(f"# TYPE istio_tcp_{name}_total counter")
        own = 'proxy_vendor="vendor-a",proxy_visibility="opaque"'
        add(f"istio_tcp_{name}_total", own, seconds)
    for name in UPSTREAM_STATS:
        lines.append(f"# TYPE envoy_cluster_{name} counter")
        for cluster in ("proxy-vendor_vendor-a", "PassthroughCluster", "xds-grpc"):
            add(f"envoy_cluster_{name}", f'cluster_name="{cluster}"', seconds)
    lines.append("# TYPE envoy_http_lua_errors counter")
    lines.append("envoy_http_lua_errors 0")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Seen:
    """What one Prometheus recorded, once it had it all."""

    p95: float
    requests: float
    answers: float
    below_a_second: float
    asked: float
    """Sidecars whose set-up times are stored."""
    stored: float
    """Series of all sidecars."""
    estimate: Estimate
    federated: str
    """What another Prometheus is told of the quantiles' buckets and of the raw histograms."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    folder = tmp_path_factory.mktemp("sampling")
    pages = {
        f"127.77.0.{n}": partial(page, below) for n, below in enumerate(drawn_answers(), start=1)
    }
    port = free_block(["127.0.0.1", "127.77.0.1"])
    with exposed(pages, port), children() as family:
        started = {}
        for name, telemetry in FORMS.items():
            raw = {
                "cluster": "lab",
                "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
                "crawlers": {"expectedPods": SIDECARS},
                "telemetry": {"buckets": [*BUCKETS], **telemetry},
                "prometheus": {"scrapeInterval": f"{SCRAPE_SECONDS}s"},
            }
            settings, ports = parse_settings(raw), free_ports()
            own = folder / name
            (own / "rules").mkdir(parents=True)
            files = lab_prometheus_files(settings, ports)
            for file, text in files.items():
                # Full after five scrapes: a window that fills is a rate that rises.
                (own / file).write_text(text.replace("[15s]", f"[{WINDOW_SECONDS}s]"))
            config = json.loads(files["prometheus.yml"])
            config["scrape_configs"] = config["scrape_configs"][:1]
            # By names that are the same in every run: whose turn it is follows from them.
            config["scrape_configs"][0]["static_configs"] = [
                {
                    "targets": [f"{address}:{port}"],
                    "labels": {"cluster": "lab", "namespace": "crawlers", "pod": f"crawler-{n}"},
                }
                for n, address in enumerate(pages)
            ]
            url = start_prometheus(family, own, config, ports.prometheus)
            started[name] = (url, estimate(settings))
        return {name: _seen(*one) for name, one in started.items()}


def _seen(url: str, expected: Estimate) -> Seen:
    def complete() -> bool:
        rounds = value(url, f"min(sum_over_time(up[1m])) * {SCRAPE_SECONDS}")
        everyone = value(url, "count(up)") == SIDECARS
        # In the second window no series is new: the records count all that a new one ever counted.
        return everyone and (rounds or 0) >= 2 * WINDOW_SECONDS + AHEAD + 2 * SCRAPE_SECONDS

    until(complete, seconds=240)

    def settled() -> dict[str, float] | None:
        found = {key: value(url, query) for key, query in asked.items()}
        ready = {key: one for key, one in found.items() if one is not None}
        return ready if len(ready) == len(asked) else None

    name = "istio_proxy_setup_milliseconds"
    asked: dict[str, str] = {
        "p95": P95,
        "requests": REQUESTS,
        "answers": f'{BELOW}{{le="+Inf"}}',
        "below_a_second": f'{BELOW}{{le="1000.0"}}',
        "asked": f'count(count by (pod) ({{__name__=~"{name}(_bucket)?"}}))',
        "stored": 'count({job="sidecars"})',
    }
    found: dict[str, Any] = until(settled, seconds=240)
    query = urllib.parse.urlencode({"match[]": f'{{__name__=~"{BELOW}|{name}(_bucket)?"}}'})
    federated = get_text(f"{url}/federate?{query}")
    return Seen(estimate=expected, federated=federated, **found)


@pytest.mark.parametrize("form", FORMS)
def test_p95_of_a_sample_is_the_fleets(seen: dict[str, Seen], form: str) -> None:
    """Within 5 % from a tenth of the sidecars; from native histograms, the very same."""
    whole, own = seen["all"], seen[form]
    print(
        f"{form}: p95 {own.p95:.0f} ms ({own.p95 / whole.p95 - 1:+.2%}) of {own.asked:.0f} "
        f"sidecars; {own.stored:.0f} series, {own.estimate.series} expected"
    )
    assert own.p95 == pytest.approx(whole.p95, rel=0.05 if "sampled" in form else 0.002)
    assert own.below_a_second / own.answers == pytest.approx(
        whole.below_a_second / whole.answers, abs=0.01 if "sampled" in form else 0.002
    )


@pytest.mark.parametrize("form", FORMS)
def test_what_is_counted_is_of_every_sidecar(seen: dict[str, Seen], form: str) -> None:
    """A tenth of the requests would be a fleet that fell asleep; of answers, the share asked."""
    whole, own = seen["all"], seen[form]
    assert whole.asked == SIDECARS
    assert own.requests == pytest.approx(whole.requests, rel=0.05)
    one_in = own.estimate.histogram_sampling
    assert own.answers == pytest.approx(whole.answers * one_in * own.asked / SIDECARS, rel=0.05)
    assert own.asked == pytest.approx(SIDECARS / one_in, rel=0.4)


@pytest.mark.parametrize("form", FORMS)
def test_the_estimate_of_the_fleet_is_what_is_stored(seen: dict[str, Seen], form: str) -> None:
    """Within 10 %: of most sidecars without histograms, where those are sampled."""
    assert seen[form].stored == pytest.approx(seen[form].estimate.series, rel=0.1)


@pytest.mark.parametrize("form", FORMS)
def test_another_prometheus_is_told_the_same_in_every_form(
    seen: dict[str, Seen], form: str
) -> None:
    """By federation both the record and the raw histograms come as buckets."""
    for name in (BELOW, "istio_proxy_setup_milliseconds_bucket"):
        lines = re.findall(rf"^{name}{{(.*)}} ", seen[form].federated, re.MULTILINE)
        bounds = {float(re.findall(r'le="([^"]+)"', line)[0]) for line in lines}
        assert bounds == {*BUCKETS, math.inf}, name
