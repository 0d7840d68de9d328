"""Faults are made as said and mended without a trace."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import faults, plan
from lab.pages import Page, served
from lab.ports import Ports
from lab.prometheus import RULES, THRESHOLDS, lab_prometheus_files
from lab.system import load_settings
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
    lab = SimpleNamespace(folder=tmp_path, ports=PORTS, prometheus_urls=dict.fromkeys(REPLICAS, ""))
    pages = {name: Page(text) for name, text in faults.PAGES.items()}
    return SimpleNamespace(lab=lab, pages=pages)


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text(encoding="utf-8")
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        (faults.rule_file("groups: []"), {f"{name}/rules/own.yml" for name in REPLICAS}),
        (faults.without_limits_of("vendor-d"), {f"{name}/{THRESHOLDS}" for name in REPLICAS}),
        (faults.replica_tells_nobody("prometheus-1"), {"prometheus-1/prometheus.yml"}),
    ],
    ids=["rule-file", "limits", "alertmanager"],
)
def test_files_are_changed_as_said_and_put_back(stage, fault, changed):
    """The next drill begins with the shipped files."""
    before = files_of(stage.lab.folder)
    mend = fault(stage)
    now = files_of(stage.lab.folder)
    assert {name for name in now if now[name] != before.get(name)} == changed
    mend()
    assert files_of(stage.lab.folder) == before


def test_only_the_vendors_own_limits_go(stage):
    """Another vendor that lost its limits would be another alert."""
    faults.without_limits_of("vendor-d")(stage)
    left = (stage.lab.folder / "prometheus-0" / THRESHOLDS).read_text(encoding="utf-8")
    assert '"vendor-d"' not in left
    assert '"vendor-c"' in left


def crawler_plan() -> dict[str, Any]:
    settings = load_settings(PORTS)
    return plan.crawler_plan(
        plan.endpoints(settings.vendors, PORTS),
        PORTS,
        patience_seconds=1,
        count=None,
        requests_per_second=300,
        seed=1,
    )


def test_a_vendor_that_is_left_gets_nothing_and_the_others_all():
    """Only one may be silent."""
    own = crawler_plan()
    left = faults.without("vendor-f")(own)
    assert {v["name"] for v in own["vendors"]} - {v["name"] for v in left["vendors"]} == {
        "vendor-f"
    }


def test_dead_addresses_are_one_vendors():
    """The alert is to name that one."""
    own = crawler_plan() | {"vendors": [v | {"faults": {}} for v in crawler_plan()["vendors"]]}
    changed = faults.to_dead_addresses("vendor-c", 0.3)(own)
    assert {v["name"]: v["faults"] for v in changed["vendors"] if v["faults"]} == {
        "vendor-c": {"dead": 0.3}
    }


def test_what_goes_outside_is_the_share_that_was_said():
    """Over all strangers together: more of it would be an attribution that is lost."""
    changed = faults.outside(0.27)(crawler_plan())
    assert sum(one["share"] for one in changed["outside"]) == pytest.approx(0.27)


@pytest.mark.parametrize("name", faults.PAGES)
def test_a_page_that_is_away_is_an_error_to_prometheus(stage, name):
    """And is there again as it was."""
    (port,) = free_ports(["127.0.0.1"])
    page = stage.pages[name]
    with served({port: page}):
        assert b"# TYPE" in _get(port)
        mend = faults.page_is_away(name)(stage)
        with pytest.raises(urllib.error.HTTPError) as refused:
            _get(port)
        assert refused.value.code == 503
        mend()
        assert b"# TYPE" in _get(port)


def test_the_pages_have_the_names_that_rules_read():
    """A drill on an invented name would prove nothing."""
    rules = "".join(file.read_text(encoding="utf-8") for file in RULES.glob("*.yml"))
    pages = (faults.rejecting_istiod(), faults.failing_datasource(), faults.swollen(1)())
    for page in pages:
        named = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
        assert any(name in rules for name in named), page


def _get(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return bytes(answer.read())
