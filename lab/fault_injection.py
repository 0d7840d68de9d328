"""Ways to break the running lab. A fault is a function that breaks it and returns its undoing."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.attribution.discovery import network_filter
from components.attribution.envoy import LISTENER
from components.attribution.passive import EXTENSION, WASM_TYPE
from components.prometheus.unseen import JOB as UNSEEN
from lab.endpoints import listening_addresses
from lab.loopback import send
from lab.pages import Page, Text
from lab.prometheus import THRESHOLDS
from lab.receiver import Receiver
from lab.system import EXTENSIONS, Json, Lab, rendered_envoy, start_envoy, wait_until_ready

CALM_REQUESTS_PER_SECOND = 300  # some 33 a vendor: a share over 5 s is good to a few percent
ISTIO_CHAIN = "virtualOutbound-catchall-tcp"

# Any metric that a sidecar may have: counters that stand still add nothing to any vendor.
SERIES_METRIC = "istio_tcp_connections_opened_total"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The lab, its alert receiver, and the pages of PAGES by name."""

    lab: Lab
    receiver: Receiver
    pages: Mapping[str, Page]


Undo = Callable[[], None]
Fault = Callable[[Stage], Undo]
Change = Callable[[Json], Json]


def start_crawler(stage: Stage, change: Change = dict, *, round_envoy_share: float = 0.0) -> None:
    """Start a crawler whose plan has no faults, changed by `change` at last."""

    def calm(own: Json) -> Json:
        vendors = [one | {"faults": {}} for one in own["vendors"]]
        return change(own | {"vendors": vendors, "drain_seconds": 0.2})

    stage.lab.start_crawler(
        count=None,
        requests_per_second=CALM_REQUESTS_PER_SECOND,
        round_envoy_share=round_envoy_share,
        change=calm,
    )


def vendor_behaviour(vendor: str, **behaviour: Any) -> Fault:
    """Change a vendor's behaviour through its control endpoint; see docs/traffic.md."""

    def fault(stage: Stage) -> Undo:
        url = f"{stage.lab.vendor_url}/vendors/{vendor}"
        send("POST", url, behaviour)
        return lambda: send("DELETE", url)

    return fault


# --- Crawlers: one with a changed plan takes the place of the old ---------------------------


def crawler_plan(change: Change) -> Fault:
    return lambda stage: _replace_crawler(stage, change)


def past_envoy(share: float) -> Fault:
    """Send a part of the crawler's requests straight to the vendors, past its sidecar."""
    return lambda stage: _replace_crawler(stage, round_envoy_share=share)


def without_vendor(vendor: str) -> Change:
    """Let the crawler leave a vendor; the others get its part."""
    return lambda own: own | {"vendors": [v for v in own["vendors"] if v["name"] != vendor]}


def to_dead_addresses(vendor: str, share: float) -> Change:
    """Send a part of a vendor's requests to an address where nothing listens."""

    def change(own: Json) -> Json:
        faults = {"faults": {"dead": share}}
        vendors = [v | (faults if v["name"] == vendor else {}) for v in own["vendors"]]
        return own | {"vendors": vendors}

    return change


def to_outside(share: float) -> Change:
    """Send a part of all requests to addresses of no vendor, as without a proxy setting."""

    def change(own: Json) -> Json:
        strangers = [one for one in own["outside"] if "name" not in one]
        return own | {"outside": [one | {"share": share / len(strangers)} for one in strangers]}

    return change


def encrypted_to(vendor: str) -> Change:
    """Let the crawler speak TLS to a vendor's proxies, so that nothing of it can be read."""

    def change(own: Json) -> Json:
        mix = {"mix": {"tls": 1.0}}
        return own | {"vendors": [v | (mix if v["name"] == vendor else {}) for v in own["vendors"]]}

    return change


def _replace_crawler(
    stage: Stage, change: Change = dict, *, round_envoy_share: float = 0.0
) -> Undo:
    def start(change: Change = dict, round_envoy_share: float = 0.0) -> None:
        stage.lab.family.end("crawler", signal.SIGTERM)
        start_crawler(stage, change, round_envoy_share=round_envoy_share)

    start(change, round_envoy_share)
    return start


# --- The mesh -------------------------------------------------------------------------------


def remove_chains(stage: Stage) -> Undo:
    """Restart Envoy without a vendor's chain, as if an upgrade of Istio had moved the listener."""
    return _without_chains(stage, lambda listener: True)


def remove_chains_of_names(stage: Stage) -> Undo:
    """Restart Envoy without the chains in the listeners of names, so that Istio's carry them."""
    return _without_chains(stage, lambda listener: listener["name"] != LISTENER)


def _without_chains(stage: Stage, loses: Callable[[Json], bool]) -> Undo:
    lab = stage.lab
    folder = lab.folder / "without-chains"
    addresses = listening_addresses(lab.endpoints)
    rendered = rendered_envoy(lab.settings, addresses, lab.ports, folder)
    for listener in filter(loses, rendered.bootstrap["static_resources"]["listeners"]):
        # Istio's chain for a name has no name.
        listener["filter_chains"] = [
            chain
            for chain in listener["filter_chains"]
            if chain.get("name", ISTIO_CHAIN) == ISTIO_CHAIN
        ]
    start = lab.family.end("envoy", signal.SIGTERM)
    start_envoy(lab.family, rendered, folder)
    wait_until_ready(lab.family, "envoy", lab.ready_urls["envoy"])

    def undo() -> None:
        lab.family.end("envoy", signal.SIGTERM)
        shutil.rmtree(folder)
        start()
        wait_until_ready(lab.family, "envoy", lab.ready_urls["envoy"])

    return undo


def break_lua(stage: Stage) -> Undo:
    """Add a line that raises to every vendor's Lua, in the files that stand for istiod's ECDS."""
    files = sorted((stage.lab.folder / EXTENSIONS).glob("*_lua.json"))
    kept = {file: json.loads(file.read_text(encoding="utf-8")) for file in files}
    for file in files:
        response = json.loads(file.read_text(encoding="utf-8"))
        config = response["resources"][0]["typed_config"]
        code = config.setdefault("default_source_code", {"inline_string": ""})
        code["inline_string"] += '\nfunction envoy_on_request() error("drill") end\n'
        _write(file, json.dumps(response | {"version_info": "2"}))

    def undo() -> None:
        for file, response in kept.items():
            _write(file, json.dumps(response | {"version_info": "3"}))

    return undo


def unload_module(stage: Stage) -> Undo:
    """Put the chains' no-op default in the module's place, in the file that stands for ECDS."""
    file = stage.lab.folder / EXTENSIONS / f"{EXTENSION}.json"
    kept = json.loads(file.read_text(encoding="utf-8"))
    default = network_filter(EXTENSION, WASM_TYPE)["config_discovery"]["default_config"]
    resource = kept["resources"][0] | {"typed_config": default}
    _write(file, json.dumps(kept | {"version_info": "2", "resources": [resource]}))
    return lambda: _write(file, json.dumps(kept | {"version_info": "3"}))


# --- Pods without a sidecar, as Prometheus finds them ---------------------------------------


def unseen_crawler(stage: Stage) -> Undo:
    """Give every replica a target as Kubernetes would, for a workload without a sidecar."""
    address = f"127.0.0.1:{stage.lab.ports.prometheus}"
    labels = {"cluster": stage.lab.settings.cluster, "namespace": "crawlers", "workload": "shop"}
    files = {}
    for folder in _replica_folders(stage):
        file = folder / "prometheus.yml"
        config = json.loads(file.read_text(encoding="utf-8"))
        (job,) = (job for job in config["scrape_configs"] if job["job_name"] == UNSEEN)
        job["static_configs"] = [{"targets": [address], "labels": labels}]
        files[file] = json.dumps(config)
    return _write_all(files)


# --- Processes ------------------------------------------------------------------------------


def kill(*parts: str) -> Fault:
    """End processes by SIGKILL."""

    def fault(stage: Stage) -> Undo:
        lab = stage.lab
        starts = {part: lab.family.end(part, signal.SIGKILL) for part in parts}

        def undo() -> None:
            for part, start in starts.items():
                start()
                wait_until_ready(lab.family, part, lab.ready_urls[part])

        return undo

    return fault


def receiver_refuses(name: str) -> Fault:
    """Let a receiver answer 403, as to a credential that has expired."""

    def fault(stage: Stage) -> Undo:
        stage.receiver.refused = frozenset({name})
        return lambda: setattr(stage.receiver, "refused", frozenset())

    return fault


# --- Files of Prometheus: each replica has its own, and reloads them by itself --------------


def rule_file(text: str) -> Fault:
    """Add a user's rule file to every replica."""
    return lambda stage: _write_all(
        {folder / "rules/own.yml": text for folder in _replica_folders(stage)}
    )


def remove_limits(vendor: str) -> Fault:
    """Remove a vendor's limits from thresholds.yml."""

    def fault(stage: Stage) -> Undo:
        content = json.loads((stage.lab.folder / "prometheus-0" / THRESHOLDS).read_text())
        for group in content["groups"]:
            group["rules"] = [
                rule
                for rule in group["rules"]
                if rule.get("labels", {}).get("proxy_vendor") != vendor
            ]
        text = json.dumps(content)
        return _write_all({folder / THRESHOLDS: text for folder in _replica_folders(stage)})

    return fault


def lose_alertmanager(replica: str) -> Fault:
    """Let one replica look for Alertmanager where nothing listens."""

    def fault(stage: Stage) -> Undo:
        file = stage.lab.folder / replica / "prometheus.yml"
        config = json.loads(file.read_text(encoding="utf-8"))
        found = config["alerting"]["alertmanagers"][0]["static_configs"]
        found[0]["targets"] = [f"127.0.0.1:{stage.lab.ports.nobodys}"]
        return _write_all({file: json.dumps(config)})

    return fault


def _replica_folders(stage: Stage) -> list[Path]:
    return [stage.lab.folder / name for name in stage.lab.prometheus_urls]


def _write_all(files: Mapping[Path, str]) -> Undo:
    """Write the files; return what restores them, and deletes those that are new."""
    before = {file: file.read_text(encoding="utf-8") if file.exists() else None for file in files}
    for file, text in files.items():
        _write(file, text)

    def undo() -> None:
        for file, text in before.items():
            if text is None:
                file.unlink()
            else:
                _write(file, text)

    return undo


def _write(file: Path, text: str) -> None:
    """Write by rename, so that a watcher never reads half a file."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)


# --- Pages of metrics, for programs that a laptop does not have -----------------------------


def istiod_page() -> str:
    return "# TYPE pilot_xds gauge\npilot_xds 2\n"


def grafana_page(bad: float = 0) -> str:
    metric = "grafana_datasource_request_total"
    return (
        f"# TYPE {metric} counter\n"
        f'{metric}{{datasource="prometheus",code="200",method="post"}} {time.monotonic():.1f}\n'
        f'{metric}{{datasource="prometheus",code="502",method="post"}} {bad:.1f}\n'
    )


def second_sidecar_page() -> str:
    return "# TYPE envoy_http_lua_errors counter\nenvoy_http_lua_errors 0\n"


PAGES: dict[str, Text] = {
    "istiod": istiod_page,
    "grafana": grafana_page,
    "second sidecar": second_sidecar_page,
}
"""Each page as it is when nothing is wrong."""


def page(name: str, text: Text | None) -> Fault:
    """Replace a page; without a text it answers 503."""

    def fault(stage: Stage) -> Undo:
        found = stage.pages[name]
        before, found.text = found.text, text
        return lambda: setattr(found, "text", before)

    return fault


def page_of_series(series: int) -> Text:
    """Return the second sidecar's page with so many series."""
    lines = [
        f'{SERIES_METRIC}{{proxy_vendor="vendor-a",response_flags="{n}"}} 1' for n in range(series)
    ]
    text = "\n".join([f"# TYPE {SERIES_METRIC} counter", *lines, ""])
    return lambda: text


def istiod_with_rejections() -> str:
    kind = "type.googleapis.com/envoy.config.listener.v3.Listener"
    return (
        f"{istiod_page()}# TYPE pilot_total_xds_rejects counter\n"
        f'pilot_total_xds_rejects{{type="{kind}"}} 3\n'
    )


def grafana_with_failing_datasource() -> str:
    return grafana_page(bad=time.monotonic())
