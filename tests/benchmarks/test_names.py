"""The benchmark of names compares what its rows say."""

from __future__ import annotations

import pytest

from benchmarks.crawlers import tunnels
from benchmarks.names import ADDRESSED, CASES, NAMED, contender, start_name_server
from benchmarks.sidecars import PROXY, start_raw_vendor
from lab.ports import Ports
from lab.processes import children
from tests.ports import free_block


def chains(bootstrap):
    _, *ours = bootstrap["static_resources"]["listeners"][0]["filter_chains"]
    return {chain["name"].rpartition("_")[2] for chain in ours}


@pytest.mark.parametrize("how", ["http", "passive"])
def test_the_two_differ_in_where_their_chains_lead(tmp_path, how):
    made = {
        given: contender((how, given), Ports(free_block()), tmp_path).rendered.bootstrap
        for given in (NAMED, ADDRESSED)
    }
    assert chains(made[NAMED]) == chains(made[ADDRESSED])
    clusters = {given: one["static_resources"]["clusters"][-1] for given, one in made.items()}
    assert "dynamic_forward_proxy" in str(clusters[NAMED])
    assert clusters[ADDRESSED]["type"] == "ORIGINAL_DST"


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_every_contender_carries_every_load(tmp_path, case):
    ports, vendor = Ports(free_block()), Ports(free_block())
    with children() as family:
        start_raw_vendor(family, tmp_path, vendor)
        start_name_server(family, tmp_path, vendor)
        (address,) = contender(case, ports, tmp_path, vendor).start(family).sockets
        assert address == (PROXY, ports.vendor)
        with tunnels([address]) as work:
            work(2)
