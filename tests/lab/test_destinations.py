"""Known destinations through a real Envoy: passed on as they are, and counted under their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from settings.destinations import Destination
from settings.stack import StackSettings
from tests.lab.conftest import Sidecar, running_sidecar, until
from tests.lab.test_shared_addresses import PLAIN, SOCKS, passes

WITHIN, AROUND, INNER = "127.1.9.10", "127.4.0.11", "127.4.0.10"
DESTINATIONS = (
    Destination(name="store", cidrs=("127.1.9.0/24",)),  # within vendor-a's range
    Destination(name="queue", cidrs=("127.4.0.0/16",)),  # around vendor-e's address
)
TOTAL = "envoy_cluster_upstream_cx_total"


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    def known(settings: StackSettings) -> StackSettings:
        return settings.model_copy(update={"destinations": DESTINATIONS})

    folder: Path = tmp_path_factory.mktemp("sidecar")
    addresses = (WITHIN, AROUND, INNER)
    with running_sidecar(folder, change_settings=known, addresses=addresses) as own:
        yield own


def connections(sidecar: Sidecar) -> dict[str, int]:
    return {labels["cluster_name"]: value for labels, value in sidecar.samples(TOTAL) if value}


@pytest.mark.parametrize("data", [PLAIN, SOCKS], ids=["http", "socks5"])
@pytest.mark.parametrize(("address", "name"), [(WITHIN, "store"), (AROUND, "queue")])
def test_what_is_sent_arrives_and_is_counted_for_it(
    sidecar: Sidecar, address: str, name: str, data: bytes
) -> None:
    """On a port that is inspected, too: whatever it is, no vendor has it and nothing reads it."""
    ports, before = sidecar.ports, connections(sidecar)
    cluster = f"proxy-destination_{name}"
    assert passes(address, ports.vendor, ports.outside_upstream, data) == data
    after = {**before, cluster: before.get(cluster, 0) + 1}
    until(lambda: connections(sidecar) == after)
    for direction in ("rx", "tx"):
        assert sidecar.counter(f"envoy_cluster_upstream_cx_{direction}_bytes_total") > 0
    assert sidecar.requests() == {}


def test_a_vendor_within_its_range_keeps_its_connections(sidecar: Sidecar) -> None:
    """The longest prefix wins, either way round."""
    ports = sidecar.ports
    before = sidecar.opaque_connections("vendor-e")
    assert passes(INNER, ports.vendor, ports.vendor_upstream, SOCKS, b"\x05\x00") == SOCKS
    until(lambda: sidecar.opaque_connections("vendor-e") == before + 1)
