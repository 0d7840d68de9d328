"""What a sidecar costs Prometheus, counted, beside what the program tells before it deploys."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from components.attribution import stats
from components.attribution.dry_run import basic
from components.prometheus.estimate import estimate
from components.prometheus.relabel import sidecar_metric_relabel
from lab.endpoints import endpoints, lab_settings
from lab.ports import Ports
from lab.processes import children
from lab.prometheus import lab_prometheus_files
from lab.system import rendered_envoy, start_envoy, wait_until_ready
from settings.loading import parse_settings
from settings.stack import StackSettings
from tests.lab.conftest import Sidecar, free_ports, until
from tests.lab.scripted import ask, vendor
from tests.lab.server import start_prometheus, value
from tests.rules.exposed import ENVOY, missing

pytestmark = pytest.mark.long

# Six outcomes, one status each, as the estimate counts them.
STATUSES = {
    200: "success",
    402: "quota_exhausted",
    403: "blocked",
    407: "auth_failed",
    429: "rate_limited",
    502: "vendor_error",
}

STORE = "127.8.0.10"

FIVE = {
    "cluster": "lab",
    "vendors": [{"name": f"vendor-{n}", "cidrs": [f"127.{n}.0.0/16"]} for n in range(1, 6)],
}
VARIED = {
    "cluster": "lab",
    "vendors": [
        {
            "name": "vendor-1",
            "cidrs": ["127.1.0.0/16", {"range": "127.1.128.0/17", "pool": "residential"}],
            "products": [
                {"user": "*-mob*", "name": "mobile"},
                {"user": "*-resi*", "name": "residential"},
            ],
        },
        {"name": "vendor-2", "cidrs": ["127.2.0.0/16"]},
        {"name": "vendor-3", "cidrs": ["127.3.0.0/16"], "inspect": "connections"},
    ],
    "targets": [{"name": "shops", "hosts": ["shop.test"]}],
    "destinations": [{"name": "store", "cidrs": [f"{STORE}/32"]}],
    "telemetry": {"buckets": [100, 1000, 6000]},
}
PASSIVE = {
    **VARIED,
    "vendors": [
        {**own, "inspect": "passive"} if own["name"] != "vendor-3" else own
        for own in VARIED["vendors"]
    ],
}


def named_status(head: bytes) -> str:
    """Answer with the status that the crawler names; end a tunnel at once."""
    found = re.search(r"x-status: (\d+)", head.decode("latin-1"), re.IGNORECASE)
    if found is None:  # no HTTP; without an answer there would be no series of its bytes
        return "no"
    error = "Proxy-Status: vendor; error=proxy_internal_error\r\n" if found[1] == "502" else ""
    status = f"HTTP/1.1 {found[1]} Any\r\n{error}"
    granted = head.startswith(b"CONNECT") and found[1] == "200"
    return status + ("\r\n" if granted else "Content-Length: 2\r\n\r\nok")


@contextmanager
def busy_sidecar(raw: dict[str, Any], folder: Path) -> Iterator[tuple[StackSettings, Sidecar]]:
    """Run an Envoy that has met all of the stack, with every outcome and protocol."""
    ports = free_ports()
    vendors = [{**own, "httpPorts": [3128], "idleTimeout": "1s"} for own in raw["vendors"]]
    raw = {**raw, "vendors": vendors, "prometheus": {"scrapeInterval": "1s"}}
    settings = lab_settings(parse_settings(raw), ports)
    places = endpoints(settings.vendors, ports)
    addresses = [place.address for place in places]
    addresses += [STORE] if settings.destinations else []
    rendered = rendered_envoy(settings, addresses, ports, folder)
    with (
        vendor("0.0.0.0", ports.vendor_upstream, named_status),
        vendor(STORE, ports.outside_upstream, named_status),
        children() as family,
    ):
        start_envoy(family, rendered, folder)
        wait_until_ready(family, "envoy", f"http://127.0.0.1:{ports.envoy_admin}/ready")
        sidecar = Sidecar(ports, folder)
        for place in places:
            call_all(place.address, settings, ports)
        if settings.destinations:
            call_all(STORE, settings, ports)
        inspected = [own.name for own in settings.vendors if own.inspect != "connections"]
        expected = {
            (name, visibility, outcome, str(status))
            for name, visibility in itertools.product(inspected, ("http", "tunnel"))
            for status, outcome in STATUSES.items()
        }
        # Tunnels are counted when they have ended.
        until(lambda: set(sidecar.requests()) >= expected)
        yield settings, sidecar


def call_all(address: str, settings: StackSettings, ports: Ports) -> None:
    hosts = [*(target.hosts[0] for target in settings.targets), "other.test"]
    sold = {product.user for own in settings.vendors for product in own.products}
    users = ["x", *(pattern.replace("*", "x") for pattern in sorted(sold))]
    for host, status, user in itertools.product(hosts, STATUSES, users):
        more = f"X-Status: {status}\r\nProxy-Authorization: {basic(user)}\r\n"
        for first in (f"GET http://{host}/ HTTP/1.1", f"CONNECT {host}:443 HTTP/1.1"):
            request = f"{first}\r\nHost: {host}\r\n{more}\r\n"
            assert f" {status} " in ask(address, ports.vendor, request)
    ask(address, ports.vendor, "\x16\x03\x01\r\n\r\n")  # begins as TLS does


def counted(settings: StackSettings, sidecar: Sidecar, folder: Path) -> dict[str, int]:
    """Return how many series a real Prometheus stores of the sidecar: as it is, and by option."""
    ports = sidecar.ports
    config = json.loads(lab_prometheus_files(settings, ports)["prometheus.yml"])
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "sidecars")
    rename = job["metric_relabel_configs"][0]  # the lab's stand-in for istio.stats
    # No pod's hash is a multiple of it.
    unsampled = [rename, *sidecar_metric_relabel(2**62)]
    jobs = {
        "classic": job,
        "native": {**job, "convert_classic_histograms_to_nhcb": True},
        "unsampled": {**job, "metric_relabel_configs": unsampled},
    }
    config["scrape_configs"] = [{**one, "job_name": name} for name, one in jobs.items()]
    config["rule_files"] = []
    with children() as family:
        url = start_prometheus(family, folder, config, ports.prometheus)
        return {
            name: int(
                until(
                    lambda name=name: value(
                        url, f'scrape_samples_post_metric_relabeling{{job="{name}"}} > 0'
                    )
                )
            )
            for name in jobs
        }


@pytest.mark.parametrize("raw", [FIVE, VARIED, PASSIVE], ids=["five", "varied", "passive"])
def test_the_estimate_is_what_prometheus_stores(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly, whatever the vendors, pools, targets and forms of histograms; and by goal."""
    # These crawlers speak no SOCKS5.
    monkeypatch.setitem(stats.REQUEST_VISIBILITIES, "passive", 2)
    with busy_sidecar(raw, tmp_path) as (settings, sidecar):
        stored = counted(settings, sidecar, tmp_path)
        page = sidecar.stats()
    native = settings.telemetry.model_copy(update={"native_histograms": True})
    classic = estimate(settings).sidecar
    expected = {
        "classic": classic.total,
        "native": estimate(settings.model_copy(update={"telemetry": native})).sidecar.total,
        "unsampled": classic.total - classic.setup_times,
    }
    print(f"series stored: {stored}; expected: {expected}")
    assert stored == expected
    if raw is FIVE:
        assert stored["classic"] <= 250
        assert stored["native"] <= 170
        # Here since it is the busiest Envoy of all: what it exposes is what rules may read.
        assert missing(ENVOY, page, "envoy_(cluster|http|lab|server)_.+") == set()
