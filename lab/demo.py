"""`make demo`: the lab until Ctrl-C, with a live table of what each vendor carries.

Every figure of the table is an answer of Prometheus to a query of the Fleet board.
Exit codes: 0 stopped by a signal, 2 could not run or a part died.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from dashboards.fleet import TABLE_QUERIES
from lab.endpoints import authority
from lab.grafana import grafana_command, start_grafana
from lab.inspection import check_inspection
from lab.istio_stats import lab_stand_ins
from lab.pages import Page, served
from lab.ports import DEFAULT_BASE, Ports
from lab.processes import (
    ENDED_EARLY,
    LabError,
    StopRequested,
    children,
    reasons_of,
    require_free,
    stop_on_signals,
)
from lab.prometheus import RATE_WINDOW_SECONDS, WINDOW_STAND_IN
from lab.system import FOLDER, Lab, running
from lab.viewer.in_lab import board_questions
from lab.viewer.server import serving
from settings.catalogue import OUTSIDE
from tools.reports import add_out, finish

Table = Mapping[str, Mapping[str, float]]
"""Column key -> vendor -> value."""

REFRESH_SECONDS = 2.0
SILENT_SECONDS = 60.0
FILLING_SECONDS = RATE_WINDOW_SECONDS + 5  # and some for the start
REQUESTS_PER_SECOND = 300
ENDPOINTS = FOLDER / "endpoints.json"  # while the demo runs, for programs that join in
PAGES_STAND_IN = "{} -> empty pages of metrics, so that none is down"

# Column key (of the Fleet board's queries), heading, width, factor, format.
COLUMNS = (
    ("requests_per_second", "requests/s", 12, 1.0, "{:.1f}"),
    ("failure_ratio", "failed %", 10, 100.0, "{:.2f}"),
    ("setup_p95_milliseconds", "p95 ms", 8, 1.0, "{:.0f}"),
    ("bytes_per_second", "wire kB/s", 11, 1e-3, "{:.0f}"),
    ("open_connections", "open", 7, 1.0, "{:.0f}"),
    ("connections_per_second", "connects/s", 12, 1.0, "{:.1f}"),
)
SUMMED = ("requests_per_second", "bytes_per_second", "open_connections", "connections_per_second")
VENDOR_WIDTH = 11
TOTAL = "total"

# The Watchdog fires always: that is how its receiver knows that alerts arrive.
FIRING = 'ALERTS{alertstate="firing", alertname!="Watchdog"}'

FIRST_START = {"grafana": "  (its first start takes up to a minute)"}

LEGEND = (
    "requests/s  plain requests and tunnels; opaque connections are in connects/s alone",
    "failed %    the simulated vendors misbehave on purpose",
    f"{OUTSIDE:<11} connections to an address outside every vendor's ranges",
    "login       the simulated vendors take any; its user tells the product",
    "fault-*     a site of that name has a simulated vendor misbehave",
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    started = time.monotonic()
    try:
        with stop_on_signals():
            _run(options, started)
    except StopRequested as stop:
        status, findings = 0, [f"stopped by {stop}; every process and port is gone"]
    except BrokenPipeError:  # nobody reads on: `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed once more at exit
        status, findings = 0, ["nobody reads the table any more; every process and port is gone"]
    except ENDED_EARLY as error:
        status, findings = 2, reasons_of(error)
    report = {"status": status, "inspect": options.inspect or None, "findings": findings}
    return finish("demo", options.out, report)


def table_text(table: Table, alerts: Mapping[str, Sequence[str]], seconds: float) -> str:
    """Return the live table: a line for each vendor, their total, and the firing alerts.

    "-" stands where Prometheus has no answer; what is outside every range comes last.
    """
    vendors = sorted({vendor for column in table.values() for vendor in column})
    vendors.sort(key=lambda vendor: vendor == OUTSIDE)
    filling = f", rates fill up over {FILLING_SECONDS} s" if seconds < FILLING_SECONDS else ""
    head = "".join(f"{heading:>{width}}" for _, heading, width, _, _ in COLUMNS)
    total = {key: {TOTAL: sum(table[key].values())} for key in SUMMED}
    lines = [
        f"{time.strftime('%H:%M:%S')}  running {seconds:.0f} s{filling}",
        f"{'vendor':<{VENDOR_WIDTH}}{head}",
        *(_row(table, vendor) for vendor in vendors),
        _row(total, TOTAL),
        f"alerts firing: {_alerts_text(alerts)}",
    ]
    return "\n".join(lines)


def _row(table: Table, vendor: str) -> str:
    cells = []
    for key, _, width, factor, form in COLUMNS:
        value = table.get(key, {}).get(vendor)
        # NaN is a quantile or a share of nothing.
        text = "-" if value is None or math.isnan(value) else form.format(value * factor)
        cells.append(f"{text:>{width}}")
    return f"{vendor:<{VENDOR_WIDTH}}{''.join(cells)}"


def _alerts_text(alerts: Mapping[str, Sequence[str]]) -> str:
    """Return each alert once, with the vendors it fires for."""
    found = []
    for name, vendors in sorted(alerts.items()):
        named = [vendor.removeprefix("vendor-") for vendor in vendors if vendor]
        found.append(f"{name} ({' '.join(named)})" if named else name)
    return ", ".join(found) or "none"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--port-base", default=str(DEFAULT_BASE))
    parser.add_argument("--inspect", default="", help="http, passive or mixed")
    parser.add_argument("--requests-per-second", type=int, default=REQUESTS_PER_SECOND)
    add_out(parser, "demo.json")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace, started: float) -> None:
    ports = Ports.from_text(options.port_base)
    check_inspection(options.inspect)
    folder = FOLDER / f"demo-{ports.base}"
    grafana = grafana_command()
    paged = "istiod, Alertmanager" if grafana else "istiod, Grafana, Alertmanager"
    for stand_in in (*lab_stand_ins(), PAGES_STAND_IN.format(paged), WINDOW_STAND_IN):
        _say(f"stand-in    {stand_in}")
    away = (ports.istiod, ports.alertmanager, *([] if grafana else [ports.grafana]))
    pages = dict.fromkeys(away, Page(lambda: ""))
    require_free(("127.0.0.1", port) for port in (*pages, ports.grafana, ports.viewer))
    with (
        served(pages),
        running(
            ports=ports, folder=folder, say=_say, stand_ins=True, inspect=options.inspect
        ) as lab,
        _boards(lab, grafana) as shown,
    ):
        lab.start_crawler(count=None, requests_per_second=options.requests_per_second)
        try:
            _write_endpoints(lab, shown)
            _say_addresses(lab, options.requests_per_second, shown)
            _show(lab, started)
        finally:
            ENDPOINTS.unlink(missing_ok=True)


@contextmanager
def _boards(lab: Lab, grafana: list[str]) -> Iterator[dict[str, str]]:
    """Show the boards until the block ends; give the addresses by name, the best one first."""
    ports, questions = lab.ports, board_questions(lab)
    with children() as family, serving(questions, ports.viewer) as address:
        shown = {"boards": address}
        if grafana:  # it is not of the lab's family: the demo goes on without it
            url = start_grafana(
                family,
                grafana,
                lab.folder / "grafana",
                port=ports.grafana,
                prometheus_url=lab.prometheus_url,
                scrape_seconds=lab.settings.prometheus.scrape_interval,
                boards=questions.boards,
            )
            shown = {"grafana": url, **shown}
        yield shown


def _say_addresses(lab: Lab, requests_per_second: int, shown: Mapping[str, str]) -> None:
    """Print the boards, the proxies, and last what a human tries."""
    for name, url in shown.items():
        _say(f"{name:<11} {url}{FIRST_START.get(name, '')}")
    for endpoint in lab.endpoints:
        products = ", ".join(product.name for product in endpoint.products)
        known = (endpoint.vendor, endpoint.host, products)
        _say(f"proxy       http://{authority(endpoint)}  {'  '.join(filter(None, known))}")
    proxy = f"http://{authority(lab.endpoints[0])}"
    sells = next(one for one in lab.endpoints if one.products)
    user = f"acme{sells.products[0].user.replace('*', '')}"
    lines = (
        *("", *LEGEND, ""),
        f"page        curl -kx {proxy} https://site-1.sim.test/p/60",
        f"product     curl -kx http://{user}:any@{authority(sells)} https://site-1.sim.test/p/60",
        f"429         curl -ix {proxy} http://fault-rate-limited.sim.test/",
        f"407         curl -ix {proxy} http://fault-auth-failed.sim.test/",
        f"crawler     {lab.crawler_url}/books  ({requests_per_second} requests/s)",
        f"Envoy       {lab.envoy_url}",
        f"Prometheus  {lab.prometheus_url}",
        "Ctrl-C ends it. The first rows take some seconds.",
    )
    _say("\n".join(lines))


def _show(lab: Lab, started: float) -> None:
    lines_drawn = 0
    alive = time.monotonic()
    while True:
        lab.family.check()
        table = measure(lab)
        if any(value > 0 for value in table["requests_per_second"].values()):
            alive = time.monotonic()
        elif time.monotonic() - alive > SILENT_SECONDS:
            raise LabError(f"no request was counted for {SILENT_SECONDS:.0f} s; see {lab.folder}")
        if table["requests_per_second"]:
            text = "\n" + table_text(table, firing(lab), time.monotonic() - started)
            if sys.stdout.isatty():  # draw over the last one
                # A line that wraps would be drawn over wrongly, and leave scraps.
                most = shutil.get_terminal_size().columns
                text = "\n".join(line[:most] for line in text.splitlines())
                print(f"\x1b[{lines_drawn}A\x1b[J" if lines_drawn else "", end="")
                lines_drawn = text.count("\n") + 1
            _say(text)
        time.sleep(REFRESH_SECONDS)


def measure(lab: Lab) -> Table:
    return {
        key: {
            sample["metric"].get("proxy_vendor", ""): float(sample["value"][1])
            for sample in lab.query(TABLE_QUERIES[key])
        }
        for key, *_ in COLUMNS
    }


def firing(lab: Lab) -> dict[str, list[str]]:
    """Return the vendors of each firing alert; "" where an alert is about no vendor."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for sample in lab.query(FIRING):
        labels = sample["metric"]
        found[labels["alertname"]].add(labels.get("proxy_vendor", ""))
    return {name: sorted(vendors) for name, vendors in found.items()}


def _write_endpoints(lab: Lab, shown: Mapping[str, str]) -> None:
    endpoints = {
        **shown,
        "prometheus": lab.prometheus_url,
        "envoy_admin": lab.envoy_url,
        "crawler": lab.crawler_url,
        "vendor_control": lab.vendor_url,
        "vendors": {
            vendor: [authority(endpoint) for endpoint in lab.endpoints if endpoint.vendor == vendor]
            for vendor in dict.fromkeys(endpoint.vendor for endpoint in lab.endpoints)
        },
        # A program that joins in has not the lab's DNS: it connects to the name's virtual address.
        "names": {
            f"{endpoint.host}:{endpoint.port}": authority(endpoint)
            for endpoint in lab.endpoints
            if endpoint.host
        },
        "products": {
            endpoint.vendor: {product.name: product.user for product in endpoint.products}
            for endpoint in lab.endpoints
            if endpoint.products
        },
    }
    ENDPOINTS.parent.mkdir(exist_ok=True)
    ENDPOINTS.write_text(json.dumps(endpoints, indent=1) + "\n")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
