"""What a drill does to the lab. A fault is made by calling it, and gives back what mends it."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import plan
from lab.loopback import send
from lab.pages import Page, Text
from lab.prometheus import THRESHOLDS
from lab.receiver import Receiver
from lab.system import (
    EXTENSIONS,
    Json,
    Lab,
    rendered_envoy,
    start_envoy,
    wait_until_ready,
)

CALM_REQUESTS_PER_SECOND = 300  # some 33 a vendor: a share over 5 s is good to a few percent
ISTIOS_CHAIN = "virtualOutbound-catchall-tcp"

# Any metric that a sidecar may have; counters that stand still add nothing to any vendor.
SWOLLEN_METRIC = "istio_tcp_received_bytes_total"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What faults are made on."""

    lab: Lab
    receiver: Receiver
    pages: Mapping[str, Page]
    """Of PAGES, by name."""


Mend = Callable[[], None]
Fault = Callable[[Stage], Mend]


def start_crawler(
    stage: Stage, change: Callable[[Json], Json] = dict, *, round_envoy_share: float = 0.0
) -> None:
    """Start a crawler that intends no fault; `change` is made to its plan at last."""

    def calm(own: Json) -> Json:
        vendors = [one | {"faults": {}} for one in own["vendors"]]
        return change(own | {"vendors": vendors, "drain_seconds": 0.2})

    stage.lab.start_crawler(
        count=None,
        requests_per_second=CALM_REQUESTS_PER_SECOND,
        round_envoy_share=round_envoy_share,
        change=calm,
    )


def istiod_page() -> str:
    return "# TYPE pilot_xds gauge\npilot_xds 2\n"


def grafana_page() -> str:
    return _datasource(good=time.monotonic(), bad=0)


def second_sidecar_page() -> str:
    return "# TYPE envoy_http_lua_errors counter\nenvoy_http_lua_errors 0\n"


# What a laptop has no program for, in good order.
PAGES: dict[str, Text] = {
    "istiod": istiod_page,
    "grafana": grafana_page,
    "second sidecar": second_sidecar_page,
}


# Vendors, by their control endpoint.


def vendor_does(vendor: str, **behaviour: Any) -> Fault:
    """The vendor behaves otherwise, as docs/traffic.md says."""

    def fault(stage: Stage) -> Mend:
        url = f"{stage.lab.vendor_url}/vendors/{vendor}"
        send("POST", url, behaviour)
        return lambda: send("DELETE", url)

    return fault


# Crawlers, by their plan: a new one takes the place of the old.


def crawler_does(change: Callable[[Json], Json]) -> Fault:
    def fault(stage: Stage) -> Mend:
        _replace_crawler(stage, change)
        return lambda: _replace_crawler(stage)

    return fault


def without(vendor: str) -> Callable[[Json], Json]:
    """The crawler leaves a vendor; the others get its part."""

    def change(own: Json) -> Json:
        return own | {"vendors": [one for one in own["vendors"] if one["name"] != vendor]}

    return change


def to_dead_addresses(vendor: str, share: float) -> Callable[[Json], Json]:
    """A part of a vendor's gateways is not there any more."""

    def change(own: Json) -> Json:
        vendors = [
            one | ({"faults": {"dead": share}} if one["name"] == vendor else {})
            for one in own["vendors"]
        ]
        return own | {"vendors": vendors}

    return change


def outside(share: float) -> Callable[[Json], Json]:
    """A part of the crawlers has lost its proxy setting."""

    def change(own: Json) -> Json:
        one = share / len(own["outside"])
        return own | {"outside": [each | {"share": one} for each in own["outside"]]}

    return change


def round_envoy(share: float) -> Fault:
    """A part of the crawler's requests goes past its sidecar, straight to the vendors."""

    def fault(stage: Stage) -> Mend:
        _replace_crawler(stage, round_envoy_share=share)
        return lambda: _replace_crawler(stage)

    return fault


# The mesh.


def chains_are_gone(stage: Stage) -> Mend:
    """Envoy comes up without a vendor's chain, as if an upgrade of Istio moved the listener."""
    lab = stage.lab
    folder = lab.folder / "without-chains"
    addresses = plan.listening_addresses(lab.endpoints)
    rendered = rendered_envoy(lab.settings, addresses, lab.ports, folder)
    listener = rendered.bootstrap["static_resources"]["listeners"][0]
    istios = [chain for chain in listener["filter_chains"] if chain["name"] == ISTIOS_CHAIN]
    listener["filter_chains"] = istios
    start = lab.family.end("envoy", signal.SIGTERM)
    start_envoy(lab.family, rendered, folder)
    wait_until_ready(lab.family, "envoy", lab.ready_urls["envoy"])

    def mend() -> None:
        lab.family.end("envoy", signal.SIGTERM)
        shutil.rmtree(folder)
        start()
        wait_until_ready(lab.family, "envoy", lab.ready_urls["envoy"])

    return mend


def lua_raises(stage: Stage) -> Mend:
    """Every vendor's script gets a line that raises, by the file that stands for istiod's ECDS."""
    files = sorted((stage.lab.folder / EXTENSIONS).glob("*_lua.json"))
    kept = {file: file.read_text(encoding="utf-8") for file in files}
    for file, text in kept.items():
        response = json.loads(text)
        code = response["resources"][0]["typed_config"]["default_source_code"]
        code["inline_string"] += '\nfunction envoy_on_request() error("drill") end\n'
        _write(file, json.dumps(response | {"version_info": "2"}))

    def mend() -> None:
        for file, text in kept.items():
            _write(file, json.dumps(json.loads(text) | {"version_info": "3"}))

    return mend


# Processes.


def killed(*parts: str) -> Fault:
    """Processes are gone, without a word (SIGKILL)."""

    def fault(stage: Stage) -> Mend:
        lab = stage.lab
        starts = {part: lab.family.end(part, signal.SIGKILL) for part in parts}

        def mend() -> None:
            for part, start in starts.items():
                start()
                wait_until_ready(lab.family, part, lab.ready_urls[part])

        return mend

    return fault


def receiver_refuses(name: str) -> Fault:
    """A receiver's credential has expired."""

    def fault(stage: Stage) -> Mend:
        stage.receiver.refused = frozenset({name})

        def mend() -> None:
            stage.receiver.refused = frozenset()

        return mend

    return fault


# Configuration of Prometheus. Each replica has files of its own and reloads them by itself.


def rule_file(text: str) -> Fault:
    """A rule file of the user's own comes into every replica."""
    return _files_of_every_replica({"rules/own.yml": text})


def without_limits_of(vendor: str) -> Fault:
    """The limits of a vendor are no longer in thresholds.yml."""

    def fault(stage: Stage) -> Mend:
        group = json.loads((stage.lab.folder / "prometheus-0" / THRESHOLDS).read_text())
        for one in group["groups"]:
            one["rules"] = [
                rule
                for rule in one["rules"]
                if rule.get("labels", {}).get("proxy_vendor") != vendor
            ]
        return _files_of_every_replica({THRESHOLDS: json.dumps(group)})(stage)

    return fault


def replica_tells_nobody(name: str) -> Fault:
    """One replica looks for Alertmanager where nobody listens."""

    def fault(stage: Stage) -> Mend:
        folder, ports = stage.lab.folder / name, stage.lab.ports
        config = json.loads((folder / "prometheus.yml").read_text(encoding="utf-8"))
        targets = config["alerting"]["alertmanagers"][0]["static_configs"]
        targets[0]["targets"] = [f"127.0.0.1:{ports.nobodys}"]
        return _changed({folder / "prometheus.yml": json.dumps(config)})

    return fault


# The pages.


def page_is_away(name: str) -> Fault:
    return _page(name, None)


def page_says(name: str, text: Text) -> Fault:
    return _page(name, text)


def swollen(series: int) -> Text:
    """The second sidecar's page with so many series."""
    lines = [
        f'{SWOLLEN_METRIC}{{proxy_vendor="vendor-a",response_flags="{n}"}} 1' for n in range(series)
    ]
    text = "\n".join([f"# TYPE {SWOLLEN_METRIC} counter", *lines, ""])
    return lambda: text


def rejecting_istiod() -> str:
    kind = "type.googleapis.com/envoy.config.listener.v3.Listener"
    return (
        f"{istiod_page()}# TYPE pilot_total_xds_rejects counter\n"
        f'pilot_total_xds_rejects{{type="{kind}"}} 3\n'
    )


def failing_datasource() -> str:
    return _datasource(good=time.monotonic(), bad=time.monotonic())


def _datasource(*, good: float, bad: float) -> str:
    metric = "grafana_datasource_request_total"
    return (
        f"# TYPE {metric} counter\n"
        f'{metric}{{datasource="prometheus",code="200",method="post"}} {good:.1f}\n'
        f'{metric}{{datasource="prometheus",code="502",method="post"}} {bad:.1f}\n'
    )


def _page(name: str, text: Text | None) -> Fault:
    def fault(stage: Stage) -> Mend:
        page = stage.pages[name]
        before = page.text
        page.text = text

        def mend() -> None:
            page.text = before

        return mend

    return fault


def _replace_crawler(
    stage: Stage, change: Callable[[Json], Json] = dict, *, round_envoy_share: float = 0.0
) -> None:
    stage.lab.family.end("crawler", signal.SIGTERM)
    start_crawler(stage, change, round_envoy_share=round_envoy_share)


def _files_of_every_replica(files: Mapping[str, str]) -> Fault:
    def fault(stage: Stage) -> Mend:
        folders = [stage.lab.folder / name for name in stage.lab.prometheus_urls]
        return _changed({folder / file: files[file] for folder in folders for file in files})

    return fault


def _changed(files: Mapping[Path, str]) -> Mend:
    """Write the files; return what makes all as it was: a file that was not there goes."""
    before = {file: file.read_text(encoding="utf-8") if file.exists() else None for file in files}
    for file, text in files.items():
        _write(file, text)

    def mend() -> None:
        for file, text in before.items():
            if text is None:
                file.unlink()
            else:
                _write(file, text)

    return mend


def _write(file: Path, text: str) -> None:
    """By rename, so that a watcher never reads half a file."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
