"""What is compared: sidecars that differ in what a row names and in nothing else."""

from __future__ import annotations

import copy
import os
import socket

from benchmarks.cpu import TURNS, cpu_seconds, in_turn
from benchmarks.crawlers import kept_alive, one_shot, tunnel
from benchmarks.measure import Measure
from benchmarks.ranges import DESTINATIONS, FEW, MANY, destinations, ranges
from benchmarks.sidecars import PLACES, bare, one_vendor, sidecar, without_lua
from benchmarks.squid import against_squid
from benchmarks.vendors import counting_vendor


def bootstrap_of(tmp_path, change=None):
    return sidecar(PLACES[0], tmp_path, one_vendor(PLACES[0]), change=change).rendered.bootstrap


def managers(bootstrap):
    chains = bootstrap["static_resources"]["listeners"][0]["filter_chains"]
    last = [chain["filters"][-1]["typed_config"] for chain in chains]
    return [config for config in last if "http_filters" in config]


def test_without_lua_differs_in_the_lua_filter_alone(tmp_path):
    """Else the ratio says something about another part."""
    ours = bootstrap_of(tmp_path)
    lacking = bootstrap_of(tmp_path, without_lua)
    assert lacking != ours
    for manager, other in zip(managers(ours), managers(lacking), strict=True):
        lua = [entry for entry in manager["http_filters"] if "config_discovery" in entry]
        assert len(lua) == 1
        other["http_filters"].insert(manager["http_filters"].index(lua[0]), copy.deepcopy(lua[0]))
    assert lacking == ours


def test_a_bare_manager_counts_and_labels_nothing(tmp_path):
    """The denominator is the least that parses HTTP."""
    bootstrap = bootstrap_of(tmp_path, bare)
    for manager in managers(bootstrap):
        assert [entry["name"] for entry in manager["http_filters"]] == ["envoy.filters.http.router"]
        assert "access_log" not in manager
    for chain in bootstrap["static_resources"]["listeners"][0]["filter_chains"]:
        assert len(chain["filters"]) == 1


def test_both_sets_of_ranges_hold_what_the_crawlers_use():
    """Few and many ranges get the very same traffic."""
    few, many = ranges(FEW), ranges(MANY)
    assert len(set(many)) == MANY
    assert many[:FEW] == few
    assert len(set(destinations(few))) == DESTINATIONS


def test_cpu_is_counted_finer_than_a_tick():
    """A turn takes 10 ms, one tick of /proc/PID/stat."""
    before = cpu_seconds(os.getpid())
    sum(range(20_000))
    assert 0 < cpu_seconds(os.getpid()) - before < 0.01


def test_contenders_take_turns():
    """A slow spell of the machine falls on all."""
    order: list[str] = []
    works = [lambda _: order.append("a"), lambda _: order.append("b")]
    seconds = in_turn([os.getpid()] * 2, works, units=10)
    assert order == ["a", "b"] * TURNS
    assert all(0 <= figure < 0.01 for figure in seconds)


def test_without_squid_a_row_says_how_to_get_it(monkeypatch):
    """Nothing is installed by a benchmark, and nothing is passed over in silence."""
    monkeypatch.setattr("benchmarks.squid.shutil.which", lambda *_, **__: None)
    assert against_squid() == [
        Measure(
            name="CPU a request: HTTP chain / squid with access log",
            value=None,
            goal=1.0,
            note="not measured: squid is not installed (apt-get install squid)",
        )
    ]


def test_crawlers_and_the_counting_vendor_agree():
    """What the idle-socket and tunnel rows count is really open."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    with counting_vendor(address) as vendor:
        with one_shot([address]) as ask:
            ask(20)
        with kept_alive([address], connections=4) as ask:
            ask(40)
            with tunnel(address):
                assert vendor.connections >= 5
                ask(2)  # fewer than there are connections
