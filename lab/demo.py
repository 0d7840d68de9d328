"""`make demo`: the lab until Ctrl-C, with a live table of what each vendor carries.

Every figure of the table is an answer of Prometheus to a query of the Fleet board.
Exit codes: 0 stopped by a signal, 2 could not run or a part died.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence

from dashboards.fleet import TABLE_QUERIES
from lab import plan
from lab.envoy import STAND_INS
from lab.ports import DEFAULT_BASE, Ports
from lab.processes import LabError, StopRequested, stop_on_signals
from lab.prometheus import RATE_WINDOW_SECONDS, WINDOW_STAND_IN
from lab.system import FOLDER, ROOT, Lab, running
from settings.loading import SettingsError
from tools.reports import add_out, write_report

Table = Mapping[str, Mapping[str, float]]
"""Column key -> vendor -> value."""

REFRESH_SECONDS = 2.0
SILENT_SECONDS = 60.0
FILLING_SECONDS = RATE_WINDOW_SECONDS + 5  # and some for the start
REQUESTS_PER_SECOND = 300
ENDPOINTS = FOLDER / "endpoints.json"  # while it runs, for whoever wants to join in

# Column key (of the Fleet board's queries), heading, factor, format.
COLUMNS = (
    ("requests_per_second", "requests/s", 1.0, "{:.1f}"),
    ("failure_ratio", "failed %", 100.0, "{:.2f}"),
    ("setup_p95_milliseconds", "p95 ms", 1.0, "{:.0f}"),
    ("bytes_per_second", "wire kB/s", 1e-3, "{:.0f}"),
    ("open_connections", "open", 1.0, "{:.0f}"),
    ("connections_per_second", "connects/s", 1.0, "{:.1f}"),
)
WIDTH = 11  # six columns and the vendor's name fit a terminal of 80

LEGEND = (
    "requests/s  plain requests and tunnels; opaque connections only in connects/s",
    "failed %    the simulated vendors misbehave on purpose",
    "unknown     connections to an address outside every range",
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    started = time.monotonic()
    try:
        with stop_on_signals():
            _run(options, started)
    except StopRequested as stop:
        status, findings = 0, [f"stopped by {stop}; every process and port is gone"]
    except SettingsError as error:
        status, findings = 2, list(error.findings)
    except BrokenPipeError:  # nobody reads on: `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed once more at exit
        status, findings = 0, ["nobody reads the table any more; every process and port is gone"]
    except (LabError, ValueError, OSError) as error:
        status, findings = 2, [str(error)]
    for finding in findings:
        print(finding, file=sys.stderr)
    if options.out is not None:
        report = {"target": "demo", "status": status, "findings": findings}
        status = write_report(options.out / "demo.json", report)
    return status


def table_text(table: Table, seconds: float) -> str:
    """Return the live table: a line a vendor, `unknown` last; "-" where there is no answer."""
    vendors = sorted({vendor for column in table.values() for vendor in column})
    vendors.sort(key=lambda vendor: vendor == "unknown")
    head = f"{'vendor':<{WIDTH}}" + "".join(f"{heading:>{WIDTH}}" for _, heading, _, _ in COLUMNS)
    filling = f", rates fill up over {FILLING_SECONDS} s" if seconds < FILLING_SECONDS else ""
    lines = [f"{time.strftime('%H:%M:%S')}  running {seconds:.0f} s{filling}", head]
    for vendor in vendors:
        cells = []
        for key, _, factor, form in COLUMNS:
            value = table[key].get(vendor)
            # NaN: a quantile or a share of nothing.
            if value is None or math.isnan(value):
                cells.append("-")
            else:
                cells.append(form.format(value * factor))
        lines.append(f"{vendor:<{WIDTH}}" + "".join(f"{cell:>{WIDTH}}" for cell in cells))
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--port-base", default=str(DEFAULT_BASE))
    parser.add_argument("--requests-per-second", type=int, default=REQUESTS_PER_SECOND)
    add_out(parser, "demo.json")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace, started: float) -> None:
    ports = Ports.from_text(options.port_base)
    with running(ports=ports, folder=FOLDER / f"demo-{ports.base}", say=_say) as lab:
        for stand_in in (*STAND_INS, WINDOW_STAND_IN):
            _say(f"stand-in    {stand_in}")
        lab.start_crawler(count=None, requests_per_second=options.requests_per_second)
        try:
            _write_endpoints(lab)
            _say(f"crawler     {lab.crawler_url}  ({options.requests_per_second} requests/s)")
            for endpoint in lab.endpoints:
                _say(f"proxy       http://{plan.authority(endpoint)}  {endpoint.vendor}")
            _say(f"endpoints   {ENDPOINTS.relative_to(ROOT)}")
            _say("\n".join(("", *LEGEND, "Ctrl-C ends it. The first rows take some seconds.")))
            _show(lab, started)
        finally:
            ENDPOINTS.unlink(missing_ok=True)


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
            text = "\n" + table_text(table, time.monotonic() - started)
            if sys.stdout.isatty():  # draw over the last one
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


def _write_endpoints(lab: Lab) -> None:
    endpoints = {
        "prometheus": lab.prometheus_url,
        "envoy_admin": lab.envoy_url,
        "crawler": lab.crawler_url,
        "vendor_control": lab.vendor_url,
        "vendors": {
            vendor: [
                plan.authority(endpoint) for endpoint in lab.endpoints if endpoint.vendor == vendor
            ]
            for vendor in dict.fromkeys(endpoint.vendor for endpoint in lab.endpoints)
        },
    }
    ENDPOINTS.parent.mkdir(exist_ok=True)
    ENDPOINTS.write_text(json.dumps(endpoints, indent=1) + "\n")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
