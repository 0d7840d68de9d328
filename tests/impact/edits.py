"""Edits of the shipped production stack. `python -m tests.impact.edits` writes the pages.

Read their diff before you commit them: it is what reviewers of such an edit will read.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from impact.report import Impact, Prices, impact
from impact.text import as_markdown
from settings.loading import PROJECT, ROOT, load_stack

Keys = dict[str, Any]
Edit = Callable[[Keys], None]

GOLDEN = Path(__file__).parent / "golden"


def named(keys: Keys) -> None:
    """Give the stack what some edits begin with: a vendor by name, a receiver, a second range."""
    keys["vendors"][1]["hosts"] = [{"name": "gw.vendor-b.example", "ports": [7777]}]
    keys["alertmanager"]["receivers"] = [{"name": "oncall", "kind": "pagerduty"}]
    keys["alertmanager"]["critical"] = ["oncall"]
    keys["alertmanagerSecrets"] = {"oncall": {"secure": "v1:abcdefgh:0123456789"}}
    keys["vendors"][2]["cidrs"] = ["10.3.0.0/16", "10.33.0.0/16"]


def a_range_shrinks(keys: Keys) -> None:
    keys["vendors"][0]["cidrs"] = ["10.1.0.0/17"]


def a_second_range(keys: Keys) -> None:
    keys["vendors"][0]["cidrs"].append("10.9.0.0/24")


def a_new_vendor(keys: Keys) -> None:
    keys["vendors"].append({"name": "vendor-d", "cidrs": ["10.9.0.0/16"], "httpPorts": [3128]})


def a_range_changes_hands(keys: Keys) -> None:
    keys["vendors"][2]["cidrs"].remove("10.33.0.0/16")
    keys["vendors"][0]["cidrs"].append("10.33.0.0/16")


def a_part_of_a_range_changes_hands(keys: Keys) -> None:
    keys["vendors"][0]["cidrs"].append("10.3.8.0/24")


def a_vendor_is_renamed(keys: Keys) -> None:
    keys["vendors"][0]["name"] = "vendor-z"


def a_name_changes_hands(keys: Keys) -> None:
    keys["vendors"][0]["hosts"] = keys["vendors"][1].pop("hosts")


def a_name_retires(keys: Keys) -> None:
    keys["vendors"][1]["hosts"][0]["retired"] = True


def http_on_another_port(keys: Keys) -> None:
    keys["vendors"][0]["httpPorts"] = [3128, 8888]


def buckets_and_larger_sidecars(keys: Keys) -> None:
    keys["telemetry"] = {"buckets": [100, 500, 2500, 10000]}
    keys["istio"] = {
        "sidecar": {
            "requests": {"cpu": "200m", "memory": "256M"},
            "limits": {"cpu": "500m", "memory": "512M"},
        }
    }


def a_shorter_retention(keys: Keys) -> None:
    keys["prometheus"]["retention"] = "5d"


def another_teams_prometheus(keys: Keys) -> None:
    keys["prometheus"] = {
        "mode": "operator",
        "url": "http://kube-prometheus-stack-prometheus.monitoring.svc:9090",
        "operatorLabels": {"release": "kube-prometheus-stack"},
        "loginSecret": "grafana-login",
    }
    keys["alertmanager"] = {key: keys["alertmanager"][key] for key in ("receivers", "critical")}
    keys["alertmanagerSecrets"]["oncall"] = {"secure": "v1:abcdefgh:9876543210"}


def workloads_by_a_label(keys: Keys) -> None:
    keys.setdefault("crawlers", {})["workloadLabel"] = "app.kubernetes.io/name"


def the_kill_switch(keys: Keys) -> None:
    keys.setdefault("crawlers", {})["mode"] = "off"


def connections_only(keys: Keys) -> None:
    keys.setdefault("crawlers", {})["mode"] = "observe"


def only_vendors_may_be_reached(keys: Keys) -> None:
    keys["network"] = {**keys.get("network", {}), "egress": "vendorsOnly"}


EDITS: tuple[Edit, ...] = (
    a_range_shrinks,
    a_second_range,
    a_new_vendor,
    a_range_changes_hands,
    a_part_of_a_range_changes_hands,
    a_vendor_is_renamed,
    a_name_changes_hands,
    a_name_retires,
    http_on_another_port,
    buckets_and_larger_sidecars,
    a_shorter_retention,
    another_teams_prometheus,
    the_kill_switch,
    workloads_by_a_label,
    connections_only,
    only_vendors_may_be_reached,
)


def impact_of(edit: Edit, folder: Path) -> Impact:
    config = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text(encoding="utf-8"))["config"]
    keys = {name.removeprefix(f"{PROJECT}:"): value for name, value in config.items()}
    named(keys)
    edited = copy.deepcopy(keys)
    edit(edited)
    files = []
    for name, values in (("before", keys), ("after", edited)):
        file = folder / f"Pulumi.{name}.yaml"
        whole = {f"{PROJECT}:{key}": value for key, value in values.items()}
        file.write_text(yaml.safe_dump({"config": whole}), encoding="utf-8")
        files.append(load_stack(file))
    return impact(files[0], files[1], Prices(core=25.0, gib=3.5))


def page_of(edit: Edit, folder: Path) -> str:
    found = impact_of(edit, folder)
    return as_markdown(edit.__name__.replace("_", " ").capitalize(), found.summary, found.parts)


if __name__ == "__main__":
    for one in EDITS:
        with tempfile.TemporaryDirectory() as scratch:
            page = page_of(one, Path(scratch))
        (GOLDEN / f"{one.__name__}.md").write_text(page, encoding="utf-8")
