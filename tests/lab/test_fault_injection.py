"""Faults change what they say and are undone without a trace."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.attribution.passive import EXTENSION, WASM_TYPE
from components.prometheus.rules import RULES
from lab import fault_injection as inject
from lab import plan
from lab.endpoints import endpoints
from lab.pages import Page, served
from lab.ports import Ports
from lab.prometheus import THRESHOLDS, lab_prometheus_files
from lab.system import EXTENSIONS, load_settings
from tests.ports import free_ports

PORTS = Ports(20_000)
REPLICAS = ("prometheus-0", "prometheus-1")


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    """Two replicas' files as the lab writes them, and the pages; no process."""
    files = lab_prometheus_files(load_settings(PORTS), PORTS, factor=60, watched=True)
    for replica in REPLICAS:
        for name, text in files.items():
            (tmp_path / replica / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / replica / name).write_text(text, encoding="utf-8")
    lab = SimpleNamespace(
        folder=tmp_path,
        ports=PORTS,
        settings=load_settings(PORTS),
        prometheus_urls=dict.fromkeys(REPLICAS, ""),
    )
    return SimpleNamespace(lab=lab, pages={name: Page(t) for name, t in inject.PAGES.items()})


def files_of(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(f.relative_to(folder)): f.read_text(encoding="utf-8") for f in files}


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        (inject.rule_file("groups: []"), {f"{name}/rules/own.yml" for name in REPLICAS}),
        (inject.remove_limits("vendor-d"), {f"{name}/{THRESHOLDS}" for name in REPLICAS}),
        (inject.lose_alertmanager("prometheus-1"), {"prometheus-1/prometheus.yml"}),
        (inject.unseen_crawler, {f"{name}/prometheus.yml" for name in REPLICAS}),
    ],
    ids=["rule-file", "limits", "alertmanager", "unseen"],
)
def test_only_the_named_files_change_and_are_restored(stage, fault, changed):
    """The next scenario begins with the shipped files."""
    before = files_of(stage.lab.folder)
    undo = fault(stage)
    now = files_of(stage.lab.folder)
    assert {name for name in now if now[name] != before.get(name)} == changed
    undo()
    assert files_of(stage.lab.folder) == before


def test_only_one_vendor_loses_its_limits(stage):
    """Another one would raise another alert."""
    inject.remove_limits("vendor-d")(stage)
    left = (stage.lab.folder / "prometheus-0" / THRESHOLDS).read_text(encoding="utf-8")
    assert ('"vendor-d"' in left, '"vendor-c"' in left) == (False, True)


def test_the_module_is_gone_and_comes_back(stage):
    """Under a new version each time: Envoy ignores one that it has."""
    file = stage.lab.folder / EXTENSIONS / f"{EXTENSION}.json"
    file.parent.mkdir()
    module = {"name": EXTENSION, "@type": "t", "typed_config": {"@type": WASM_TYPE}}
    file.write_text(json.dumps({"version_info": "1", "resources": [module]}), encoding="utf-8")
    undo = inject.unload_module(stage)
    gone = json.loads(file.read_text(encoding="utf-8"))
    assert (gone["version_info"], gone["resources"][0]["name"]) == ("2", EXTENSION)
    assert gone["resources"][0]["typed_config"]["@type"].endswith("set_filter_state.v3.Config")
    undo()
    back = json.loads(file.read_text(encoding="utf-8"))
    assert back == {"version_info": "3", "resources": [module]}


def test_changes_of_the_crawlers_plan_do_what_they_say():
    """One vendor alone is left, or unreachable; the share outside is spread over all addresses."""
    own = plan.crawler_plan(
        endpoints(load_settings(PORTS).vendors, PORTS),
        PORTS,
        timeout_after_seconds=1,
        count=None,
        requests_per_second=300,
        seed=1,
    )
    own = own | {"vendors": [vendor | {"faults": {}} for vendor in own["vendors"]]}
    names = {vendor["name"] for vendor in own["vendors"]}
    left = inject.without_vendor("vendor-f")(own)
    assert names - {vendor["name"] for vendor in left["vendors"]} == {"vendor-f"}
    dead = inject.to_dead_addresses("vendor-c", 0.3)(own)
    faults = {vendor["name"]: vendor["faults"] for vendor in dead["vendors"] if vendor["faults"]}
    assert faults == {"vendor-c": {"dead": 0.3}}
    outside = inject.to_outside(0.27)(own)["outside"]
    assert sum(one["share"] for one in outside) == pytest.approx(0.27)


@pytest.mark.parametrize("name", inject.PAGES)
def test_a_page_without_text_is_an_error_to_prometheus(stage, name):
    """It is there again once that is undone."""
    (port,) = free_ports(["127.0.0.1"])
    with served({port: stage.pages[name]}):
        assert b"# TYPE" in _get(port)
        undo = inject.page(name, None)(stage)
        with pytest.raises(urllib.error.HTTPError) as refused:
            _get(port)
        assert refused.value.code == 503
        undo()
        assert b"# TYPE" in _get(port)


def test_pages_have_metrics_that_rules_read():
    """A scenario on an invented metric would prove nothing."""
    rules = "".join(file.read_text(encoding="utf-8") for file in RULES.glob("*.yml"))
    pages = (inject.istiod_with_rejections, inject.grafana_with_failing_datasource)
    for text in (*(page() for page in pages), inject.page_of_series(1)()):
        names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert any(name in rules for name in names), text
    lines = [line for line in inject.page_of_series(1_500)().splitlines() if line[0] != "#"]
    assert len(set(lines)) == 1_500


def _get(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return bytes(answer.read())
