"""Vendors by name through istiod, pilot-agent's DNS and Envoy: the right vendor, whatever DNS says.

The first four vendors' names lead to the very same addresses.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from benchmarks.monitored import number_from
from components.attribution.bootstrap import STATS
from tests.mesh import crawler, named_load, names
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.mesh import Mesh
from tests.mesh.named_load import Key
from tests.mesh.names import (
    GATEWAYS,
    LISTED,
    OTHER,
    PASSIVE,
    REAL,
    SHARING,
    NameServer,
    resolve,
)
from tests.mesh.vendors import Servers
from tests.mesh.versions import PAIRS

pytestmark = pytest.mark.long

WAYS: dict[str, Callable[[Pod, str, int], crawler.Spoken]] = {
    "http": crawler.http,
    "tunnel": crawler.tunnel,
    "tls": crawler.tls,
    "socks5": crawler.socks5,
}
SEEN = {
    "http": {"http": "http", "tunnel": "tunnel", "tls": "opaque", "socks5": "opaque"},
    "passive": {"http": "http", "tunnel": "tunnel", "tls": "opaque", "socks5": "socks"},
}
NAMES_KINDS = ("ServiceEntry", "ProxyConfig")


@pytest.fixture(scope="module")
def pod(mesh: Mesh, dns: NameServer) -> Iterator[Pod]:
    with mesh.pod("crawler-names") as running:
        yield running


def unattributed(pod: Pod) -> float:
    """Return the connections that a sidecar has passed on for nobody, or by Istio's own chains."""
    name, theirs = "envoy_cluster_upstream_cx_total", ("PassthroughCluster", "outbound|")
    return sum(
        value
        for found, labels, value in pod.samples()
        if found == name and labels["cluster_name"].startswith(theirs)
    )


@pytest.mark.parametrize("port", [LISTED, OTHER], ids=["listed port", "other port"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("vendor", GATEWAYS)
def test_each_protocol_by_name(
    mesh: Mesh, pod: Pod, servers: Servers, vendor: str, way: str, port: int
) -> None:
    """Each connection counts once, for the vendor whose name was asked for, with all its bytes."""
    cluster = f"proxy-vendor_{vendor}"
    before, bytes_before, others = pod.counts(GATEWAYS), pod.wire(cluster), unattributed(pod)
    servers.clear()

    address = resolve(pod, GATEWAYS[vendor])
    assert address == names.virtual(vendor)
    spoken = WAYS[way](pod, address, port)

    assert spoken.echoed == (crawler.PAYLOAD[::-1] if way != "http" else b"")
    (seen,) = [one for one in servers.seen if one.port == port]
    assert (seen.kind, seen.port) == (way, port)
    assert ip_address(seen.address).version == (4 if vendor in SHARING else 6)
    mesh.until(
        lambda: pod.wire(cluster) == (bytes_before[0] + seen.received, bytes_before[1] + seen.sent)
    )
    mode = "passive" if vendor in PASSIVE else "http"
    mesh.until(lambda: pod.counts(GATEWAYS) - before == {(vendor, SEEN[mode][way]): 1})
    assert unattributed(pod) == others


def test_istiod_warns_of_nothing(mesh: Mesh, dns: NameServer) -> None:
    """It refuses no ServiceEntry and no ProxyConfig, nor finds anything odd in one."""
    wanted = [one for one in mesh.files.values() if one.get("kind") in NAMES_KINDS]
    mesh.api.warnings.clear()
    for one in wanted:
        mesh.api.apply(one, dry_run=True)
    assert len(wanted) == len(GATEWAYS) + 1
    assert mesh.api.warnings == []


def test_a_name_s_pool(pod: Pod, mesh: Mesh) -> None:
    labels = {"proxy_vendor": "name-a", "proxy_pool": "gate", "proxy_target": "shops"}
    before = pod.total("istio_requests_total", **labels)
    crawler.http(pod, resolve(pod, GATEWAYS["name-a"]), LISTED)
    mesh.until(lambda: pod.total("istio_requests_total", **labels) == before + 1)


CHANGE_SECONDS = 5.0
LONG_SECONDS, SHORT_SECONDS = 60, 30
LEAST_COUNTS_EACH_SECOND = 70
KEPT_EACH = 4


def test_answers_that_change(
    mesh: Mesh, pod: Pod, dns: NameServer, servers: Servers, record: Record
) -> None:
    """DNS gives other addresses every 5 s: every count is the right vendor's, nothing is cut.

    DURATION is for how many seconds, with the first pair of versions.
    """
    is_first = mesh.pair == PAIRS[0]
    seconds = number_from("DURATION", LONG_SECONDS) if is_first else SHORT_SECONDS
    before, others = pod.counts(GATEWAYS), unattributed(pod)
    servers.clear()
    with named_load.running(pod, SHARING, kept_each=KEPT_EACH) as load:
        changes = _change_answers(dns, seconds)
        mesh.until(lambda: load.sent.total() >= LEAST_COUNTS_EACH_SECOND * seconds)
    dns.write(names.zone())
    sent, connections = load.sent.total(), load.connections.total()
    right: Counter[Key] = Counter()

    def all_counted() -> bool:
        nonlocal right
        right = pod.counts(GATEWAYS) - before
        return right.total() >= sent

    mesh.until(all_counted)
    addresses = {one.address for one in servers.seen}
    record("seconds; changes of every answer", f"{seconds}; {changes}")
    record("counts at the right vendor", f"{(right & load.sent).total():,} of {sent:,}")
    record("connections; the vendors saw", f"{connections:,}; {len(servers.seen):,}")
    record("addresses that the vendors had", len(addresses))
    record("failed", len(load.failed))
    kept = 2 * KEPT_EACH * len(SHARING)
    record("tunnels cut of those open all the time", f"{len(load.cut)} of {kept}")
    print(dict(sorted(right.items())))
    assert load.failed == []
    assert load.cut == []
    assert right == load.sent
    assert len(servers.seen) == connections
    assert len(addresses) > len(REAL) / 4  # else the answers would not have been followed
    assert unattributed(pod) == others


def _change_answers(dns: NameServer, seconds: int) -> int:
    """Give all names the same three other addresses every 5 s; return how often."""
    ended, changes = time.monotonic() + seconds, 0
    while time.monotonic() < ended:
        dns.write(names.zone(random.sample(REAL, 3)))
        changes += 1
        time.sleep(CHANGE_SECONDS)
    return changes


TROUBLE_SECONDS = 6.0


@pytest.mark.parametrize("answer", ["silence", "nxdomain", "empty"])
def test_dns_trouble(pod: Pod, dns: NameServer, answer: str, record: Record) -> None:
    """On ports that the pod has used, nothing fails while the name server does."""
    with named_load.running(pod, SHARING, kept_each=1) as load:
        time.sleep(2)
        asked = len(dns.asked())
        dns.write(names.zone(answer=answer))
        time.sleep(TROUBLE_SECONDS)
        in_vain = [line for line in dns.asked()[asked:] if line.endswith(answer)]
        dns.write(names.zone())
        time.sleep(1)
    record(
        f"failed in {TROUBLE_SECONDS:.0f} s of DNS' {answer}",
        f"{len(load.failed)} of {load.sent.total()}",
    )
    assert in_vain
    assert load.failed == []
    assert load.cut == []


LOOKUPS = 1000


def test_what_a_question_costs(mesh: Mesh, pod: Pod, dns: NameServer, record: Record) -> None:
    """A crawler's question by way of the agent, against one straight to the name server."""
    dns.write(names.zone() | {"other.test": {"addresses": ["10.60.1.10"]}})
    gateway = GATEWAYS["name-a"]
    with mesh.pod("other-asks", labels={"app": "other"}) as other:
        asked = {
            "without capture": (other, gateway),
            "a vendor's name": (pod, gateway),
            "any other name": (pod, "other.test"),
        }
        times: dict[str, list[float]] = {what: [] for what in asked}
        asked_before = len(dns.asked())
        for _ in range(LOOKUPS):
            for what, (who, name) in asked.items():
                started = time.perf_counter()
                assert names.ask(who, name)
                times[what].append(time.perf_counter() - started)
    median = {what: statistics.median(taken) for what, taken in times.items()}
    base = median.pop("without capture")
    questions = Counter(line.split()[1] for line in dns.asked()[asked_before:])
    record(
        "a lookup through the agent / without capture",
        {what: f"{value / base:.2f}" for what, value in median.items()},
    )
    # The agent answers for the vendors itself; what it passes on is answered anew each time.
    assert LOOKUPS <= questions[gateway] < 2 * LOOKUPS  # those without capture; Envoy asks, too
    assert questions["other.test"] >= LOOKUPS


def test_a_pod_that_does_not_opt_in(mesh: Mesh, pod: Pod, dns: NameServer) -> None:
    """Without capture the name gives a real address: it works, and counts as outside.

    The stack's ProxyConfig selects crawlers alone, so this pod says itself what it exports.
    """
    exported = {STATS: r"cluster\.PassthroughCluster.*"}
    with mesh.pod("other-names", labels={"app": "other"}, annotations=exported) as other:
        address = resolve(other, GATEWAYS["name-a"])
        assert address in REAL
        assert crawler.http(other, address, LISTED).code == 200
        name = "envoy_cluster_upstream_cx_total"
        mesh.until(lambda: other.total(name, cluster_name="PassthroughCluster") == 1)
        assert not other.counts(GATEWAYS)
