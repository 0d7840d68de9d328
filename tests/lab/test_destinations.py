"""Known destinations through a real Envoy: passed on as they are, and counted under their names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from json import dumps
from pathlib import Path

import pytest

from components.attribution.destinations import destination_patches
from components.attribution.envoy import LISTENER, Json
from components.attribution.names import dns_caches, service_entries
from components.attribution.standalone import apply_filters, istio_base
from lab.envoy import LabEnvoy
from lab.ports import Ports
from lab.processes import children
from lab.system import start_envoy, wait_until_ready
from settings.destinations import Destination
from settings.stack import StackSettings
from tests.lab.conftest import Sidecar, free_ports, running_sidecar, until
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


NAME, VIRTUAL, REAL = "api.store.test", "127.8.0.20", "127.9.8.7"


def test_a_name_is_resolved_and_counts_for_its_destination(tmp_path: Path) -> None:
    """In Istio's virtualOutbound, which gets connections that no listener of a port takes."""
    ports = free_ports()
    host = {"name": NAME, "ports": [ports.vendor], "virtualAddress": VIRTUAL}
    named = Destination.model_validate({"name": "api", "hosts": [host]})
    zone = tmp_path / "zone.json"
    zone.write_text(dumps({NAME: {"addresses": [REAL]}}))
    rendered = LabEnvoy(bootstrap=_bootstrap(named, ports.vendor, ports), extensions={})
    with children() as family:
        answers = ["-m", "lab.name_server", f"--listen=127.0.0.1:{ports.prometheus}"]
        family.start("names", [sys.executable, *answers, f"--zone={zone}"], log=tmp_path / "log")
        until(lambda: "listens" in (tmp_path / "log").read_text())
        start_envoy(family, rendered, tmp_path)
        wait_until_ready(family, "envoy", f"http://127.0.0.1:{ports.envoy_admin}/ready")
        sidecar = Sidecar(ports, tmp_path)
        for number in (1, 2):
            assert passes(VIRTUAL, ports.vendor, ports.vendor, SOCKS, at=REAL) == SOCKS
            counted = {"proxy-destination_api": number}
            until(lambda counted=counted: connections(sidecar) == counted)


def _bootstrap(named: Destination, port: int, ports: Ports) -> Json:
    """Return Istio's listener with the destination's patches, for an Envoy that asks our DNS."""
    filters = {name: {"configPatches": own} for name, own in destination_patches([named]).items()}
    entries = service_entries((), [named])
    applied = apply_filters(filters, istio_base([(VIRTUAL, port)], entries))
    clusters = [one for one in applied.clusters if one["name"].startswith("proxy-")]
    resources = {"listeners": [applied.listeners[LISTENER]], "clusters": clusters}
    # Nothing is sent to Istio's own cluster here.
    del resources["listeners"][0]["filter_chains"][0]
    server = {"socket_address": {"address": "127.0.0.1", "port_value": ports.prometheus}}
    for cache in dns_caches(resources):
        cache["typed_dns_resolver_config"]["typed_config"]["resolvers"] = [server]
    admin = {"socket_address": {"address": "127.0.0.1", "port_value": ports.envoy_admin}}
    tags = [{"tag_name": "cluster_name", "regex": r"^cluster\.((.+?);\.)"}]
    return {
        "node": {"id": "lab", "cluster": "lab"},
        "admin": {"address": admin},
        "stats_config": {"stats_tags": tags},
        "static_resources": resources,
    }
