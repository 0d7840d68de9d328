"""The compared sidecars differ in what a row names, and in nothing else."""

from __future__ import annotations

import copy
import os

import pytest

from benchmarks import sidecars
from benchmarks.cpu import TURNS, cpu_seconds, in_turn
from benchmarks.crawlers import kept_alive, one_shot, through_a_tunnel, tunnel, tunnels
from benchmarks.hostile import REQUESTS, exchange, is_refused, loads
from benchmarks.memory import vendors_of_all_parts
from benchmarks.ranges import DESTINATIONS, FEW, MANY, destinations, ranges
from benchmarks.raw_vendor import ANSWERS
from benchmarks.sidecars import (
    PLACES,
    PROXY,
    bare,
    contender,
    contenders,
    one_vendor,
    open_at_vendor,
    sidecar,
    start_raw_vendor,
    start_vendor,
    without_lua,
)
from components.attribution.groups import CHAINS, groups
from lab.ports import Ports
from lab.processes import children
from tests.ports import free_block


def bootstrap_of(tmp_path, change=None):
    return sidecar(PLACES[0], tmp_path, one_vendor(PLACES[0]), change=change).rendered.bootstrap


def managers(bootstrap):
    chains = bootstrap["static_resources"]["listeners"][0]["filter_chains"]
    last = [chain["filters"][-1]["typed_config"] for chain in chains]
    return [config for config in last if "http_filters" in config]


def test_without_lua_only_the_lua_filter_is_missing(tmp_path):
    """Else the ratio would tell of another part."""
    ours = bootstrap_of(tmp_path)
    lacking = bootstrap_of(tmp_path, without_lua)
    assert lacking != ours
    for manager, other in zip(managers(ours), managers(lacking), strict=True):
        lua = [entry for entry in manager["http_filters"] if entry["name"].endswith("_lua")]
        assert len(lua) == 1
        other["http_filters"].insert(manager["http_filters"].index(lua[0]), copy.deepcopy(lua[0]))
    assert lacking == ours


def test_a_bare_manager_counts_and_labels_nothing(tmp_path):
    """The ratio's denominator is the least that parses HTTP."""
    bootstrap = bootstrap_of(tmp_path, bare)
    for manager in managers(bootstrap):
        assert [entry["name"] for entry in manager["http_filters"]] == ["envoy.filters.http.router"]
        assert "access_log" not in manager
    for chain in bootstrap["static_resources"]["listeners"][0]["filter_chains"]:
        assert len(chain["filters"]) == 1


def test_the_plain_contender_carries_bytes_and_nothing_else(tmp_path):
    """The ratio's denominator is the least that gets the bytes to the vendor's cluster."""
    made = {name: one.rendered.bootstrap for name, one in contenders(tmp_path).items()}
    least = made["plain"]["static_resources"]["listeners"][0]
    for chain in least["filter_chains"]:
        (only,) = chain["filters"]
        assert only["name"] == "envoy.filters.network.tcp_proxy"
        assert set(only["typed_config"]) <= {"@type", "stat_prefix", "cluster", "idle_timeout"}
    clusters = [bootstrap["static_resources"]["clusters"] for bootstrap in made.values()]
    assert clusters[0] == clusters[2]


def test_contenders_inspect_as_they_are_called(tmp_path):
    """Else a ratio would compare a way to inspect with itself."""
    found = {}
    for name, one in contenders(tmp_path).items():
        _, *ours = one.rendered.bootstrap["static_resources"]["listeners"][0]["filter_chains"]
        found[name] = {chain["name"].rpartition("_")[2] for chain in ours}
    assert found == {"passive": {"passive"}, "http": {"http", "opaque"}, "plain": {"passive"}}


def test_nine_vendors_have_every_part():
    """Memory grows with chains: a vendor with one range would cost less than a real one."""
    found = groups(vendors_of_all_parts(one_vendor(PLACES[0]), 9).vendors)
    assert [len(group.chains) for group in found] == [CHAINS] * 9


@pytest.mark.parametrize("what", ["passive", "http", "plain"])
def test_every_load_works_through_every_contender(tmp_path, what):
    """A benchmark that meets a refusal would measure the refusal."""
    ports, vendor = Ports(free_block()), Ports(free_block())
    with children() as family:
        start_raw_vendor(family, tmp_path, vendor)
        envoy = contender(what, ports, tmp_path, one_vendor(ports), vendor=vendor)
        (address,) = envoy.start(family).sockets
        with tunnels([address]) as ask, through_a_tunnel([address]) as pull:
            ask(3)
            pull(2)
        sizes = {name: len(exchange(address, REQUESTS[name])) for name in ANSWERS}
        if what != "http":
            assert sizes == {name: len(answer) for name, answer in ANSWERS.items()}
            assert not is_refused(exchange(address, REQUESTS["request-header-lines"]))
        for load in loads().values():
            with load([address]) as work:
                work(1)


def test_both_sets_of_ranges_hold_the_crawlers_addresses():
    """Both sidecars get the same traffic."""
    few, many = ranges(FEW), ranges(MANY)
    assert len(set(many)) == MANY
    assert many[:FEW] == few
    assert len(set(destinations(few))) == DESTINATIONS


def test_cpu_is_counted_finer_than_a_tick():
    """A turn takes 10 ms, which is one tick of /proc/PID/stat."""
    before = cpu_seconds(os.getpid())
    sum(range(20_000))
    ticks = (cpu_seconds(os.getpid()) - before) * os.sysconf("SC_CLK_TCK")
    assert ticks > 0
    assert ticks != round(ticks)


def test_proxies_take_turns():
    """A slow spell of the machine falls on all proxies."""
    order: list[str] = []
    works = [lambda _: order.append("a"), lambda _: order.append("b")]
    seconds = in_turn([os.getpid()] * 2, works, units=10)
    assert order == ["a", "b"] * TURNS
    assert all(0 <= figure < 0.01 for figure in seconds)


def test_crawlers_open_what_the_vendor_counts(tmp_path, monkeypatch):
    """The rows about idle sockets rely on the vendor's number of connections."""
    vendor = Ports(free_block())
    monkeypatch.setattr(sidecars, "VENDOR", vendor)  # a benchmark may run on this machine
    address = (PROXY, vendor.vendor_upstream)
    with children() as family:
        start_vendor(family, tmp_path)
        with one_shot([address]) as ask:
            ask(20)
        with kept_alive([address], connections=4) as ask, tunnel(address):
            ask(40)
            assert open_at_vendor() == 5
            ask(2)  # fewer than there are connections
