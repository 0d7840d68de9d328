"""Ten thousand Jobs of unique names: as many series of sidecars, and no more records than of a few.

Emulated sidecars, found as Kubernetes would describe them; a real Prometheus relabels, scrapes and
records what is shipped.
"""

from __future__ import annotations

import asyncio
import json
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.prometheus.config import SIDECAR_PORT, prometheus_config
from components.prometheus.rules import server_rules
from components.prometheus.workloads import WORKLOAD, pod_label
from lab.loopback import get_json
from lab.processes import children
from lab.shortening import shortened_rules
from settings.loading import parse_settings
from tests.lab.conftest import until
from tests.lab.server import start_prometheus
from tests.lab.sidecars import serving
from tests.ports import free_block

pytestmark = pytest.mark.long

FEW, JOBS, AT_ONCE = 100, 10_000, 2_000
SCRAPES = 3  # of each Job: the first is of a new series, the next differ
LABEL, LABELLED = "example.com/crawler", "daily"
RECORDS = '{__name__=~".+:.+"}'
SECONDS = 240.0  # for a busy machine; a batch of Jobs usually takes 10 s


def address(job: int) -> str:
    return f"127.80.{job // 250}.{job % 250 + 1}"


def name(job: int) -> str:
    """Return a Job's name, of which no part says where it ends."""
    return f"crawl-site{job}-2026-11-{job % 30 + 1:02}-{job:05x}"


def target(job: int, port: int) -> dict[str, Any]:
    """Return a Job's sidecar as Prometheus' `kubernetes_sd_configs` finds it."""
    pod = "__meta_kubernetes_pod"
    labels = {
        "__meta_kubernetes_namespace": "crawlers",
        f"{pod}_name": f"{name(job)}-x7k2p",
        f"{pod}_phase": "Running",
        f"{pod}_controller_kind": "Job",
        f"{pod}_controller_name": name(job),
        f"{pod}_container_name": "istio-proxy",
        f"{pod}_container_port_number": str(SIDECAR_PORT),
    }
    if job % 2:
        labels[pod_label(LABEL)] = LABELLED
    return {"targets": [f"{address(job)}:{port}"], "labels": labels}


def page(job: int, scrapes: int) -> str:
    """Return what the sidecar exposes, as Istio's names the workload of a Job's pod."""
    vendor = (
        f'proxy_vendor="vendor-a",source_workload_namespace="crawlers",{WORKLOAD}="{name(job)}"'
    )
    count = 10 * scrapes
    lines = [f"envoy_server_uptime {5 * scrapes}"]
    for outcome, code in (("success", 200), ("blocked", 403)):
        own = f'{vendor},proxy_visibility="http",proxy_outcome="{outcome}",response_code="{code}"'
        lines.append(f"istio_requests_total{{{own}}} {count}")
    for way in ("request", "response"):
        own = f'{vendor},proxy_visibility="http",proxy_result="delivered"'
        lines.append(f"istio_proxy_{way}_bytes_total{{{own}}} {1000 * count}")
    for metric in ("total", "tx_bytes_total", "rx_bytes_total"):
        own = 'cluster_name="proxy-vendor_vendor-a"'
        lines.append(f"envoy_cluster_upstream_cx_{metric}{{{own}}} {count}")
    refused = 'envoy_cluster_upstream_cx_none_healthy{cluster_name="BlackHoleCluster"}'
    return "\n".join([*lines, f"{refused} {count}"]) + "\n"


@contextmanager
def exposed(port: int, scraped: Counter[int]) -> Iterator[None]:
    """Serve each Job's page at its address until the block ends; count the scrapes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        high, low = writer.get_extra_info("sockname")[0].split(".")[2:]
        job = int(high) * 250 + int(low) - 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            body = page(job, scraped[job] + 1).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            await writer.drain()
            scraped[job] += 1
        writer.close()

    with serving(answer, "0.0.0.0", port):
        yield


def ever(url: str, selector: str) -> list[dict[str, str]]:
    """Return the labels of every series that there has been."""
    query = urllib.parse.urlencode({"match[]": selector, "start": 0})
    found = get_json(f"{url}/api/v1/series?{query}")["data"]
    return [dict(one) for one in found]


def by_workload(url: str) -> list[str]:
    """Return the series of records that name a workload, sorted."""
    found = [one for one in ever(url, RECORDS) if WORKLOAD in one]
    return sorted(json.dumps(one, sort_keys=True) for one in found)


def configured(folder: Path, targets: Path) -> dict[str, Any]:
    """Write the shipped rules, in short time; return the shipped job of sidecars."""
    raw = {
        "cluster": "lab",
        "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
        "crawlers": {"workloadLabel": LABEL},
        "prometheus": {"scrapeInterval": "2s"},
    }
    settings = parse_settings(raw)
    (folder / "rules").mkdir()
    for file, text in server_rules(settings).items():
        rules = shortened_rules(yaml.load(text, yaml.CSafeLoader), 15)
        (folder / "rules" / file).write_text(json.dumps(rules))
    config = prometheus_config(settings, rule_files=("rules/*.yml",))
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "sidecars")
    del job["kubernetes_sd_configs"], config["alerting"], config["storage"]
    job["file_sd_configs"] = [{"files": [str(targets)]}]
    return {**config, "scrape_configs": [job]}


def test_jobs_of_unique_names_make_no_more_records(tmp_path: Path) -> None:
    """Raw series die with their pods; records are kept for months, and name no Job."""
    targets, port = tmp_path / "targets.json", free_block()
    targets.write_text("[]")
    scraped: Counter[int] = Counter()

    def run(jobs: range) -> None:
        """Have these Jobs, and no others, until each was scraped a few times."""
        file = targets.with_suffix(".new")
        file.write_text(json.dumps([target(job, port) for job in jobs]))
        file.rename(targets)
        until(lambda: all(scraped[job] >= SCRAPES for job in jobs), seconds=SECONDS)

    with exposed(port, scraped), children() as family:
        config = configured(tmp_path, targets)
        url = start_prometheus(family, tmp_path, config, port + 1)
        run(range(FEW))
        rules = get_json(f"{url}/api/v1/rules")["data"]["groups"]
        levels = {
            rule["name"]
            for group in rules
            for rule in group["rules"]
            if rule["name"].startswith("workload_")
        }
        both = {(level, one) for level in levels for one in (LABELLED, "(Job)")}

        def recorded() -> set[tuple[str, str]]:
            found = map(json.loads, by_workload(url))
            return {(one["__name__"], one[WORKLOAD]) for one in found}

        until(lambda: recorded() >= both, seconds=SECONDS)
        few = by_workload(url)
        for start in range(FEW, JOBS, AT_ONCE):
            run(range(start, min(start + AT_ONCE, JOBS)))
        pods = {one["pod"] for one in ever(url, 'up{job="sidecars"}')}
        head = get_json(f"{url}/api/v1/status/tsdb")["data"]["headStats"]["numSeries"]
        records = ever(url, RECORDS)
        many = by_workload(url)
    print(f"{len(pods)} Jobs, {head} series; {len(few)} records by workload, then {len(many)}")
    assert len(pods) == JOBS
    assert few == many
    assert recorded_names(records) == set()


def recorded_names(records: list[dict[str, str]]) -> set[str]:
    """Return every text in records that is of one Job alone."""
    return {text for one in records for text in one.values() if re.search(r"site\d", text)}
