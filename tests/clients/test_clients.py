"""Unmodified clients see the same through Envoy as without it, and each count is made once."""

from __future__ import annotations

import functools
import hashlib
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.ports import Ports
from lab.processes import children
from tests.clients.by_chromium import chromium
from tests.clients.by_programs import curl, curl_http2, go, java, node, scrapy, undici, wget
from tests.clients.by_python import with_aiohttp, with_httpx, with_requests
from tests.clients.conftest import H2C_ADDRESS, STRAIGHT, Scene, need
from tests.clients.jobs import NOBODY, RIGHT, WRONG, Client, Job, Seen
from tests.lab.conftest import until
from tests.simulation.vendor_process import vendor_process

pytestmark = pytest.mark.long

PAGE_BYTES = (1, 20_000, 2_000_000)


Outcomes = dict[tuple[str, str], int]
"""(visibility, outcome) -> count"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request and its result: `code` is the vendor's answer, or 200."""

    name: str
    host: str = ""
    paths: tuple[str, ...] = ("/p/5000",)
    login: str = RIGHT
    code: int = 200
    outcome: str = "success"
    is_cut: bool = False
    """The answer is cut short; inside a tunnel only the client notices."""

    def job(self, scheme: str, proxy: str) -> Job:
        host = self.host or f"{self.name.replace(' ', '-')}.sim.test"
        urls = tuple(f"{scheme}://{host}{path}" for path in self.paths)
        return Job(urls=urls, login=self.login, proxy=proxy)


# Each on a host of its own, so that a connection kept from one is of no use to another.
LOGINS = (
    Case(name="wrong password", login=WRONG, code=407, outcome="auth_failed"),
    Case(name="no password", login=NOBODY, code=407, outcome="auth_challenge"),
)
PAGES = Case(name="several pages", paths=tuple(f"/p/{size}" for size in PAGE_BYTES))
RATE_LIMITED = Case(
    name="429", host="fault-rate-limited.sim.test", code=429, outcome="rate_limited"
)
BLOCKED = Case(name="403", host="fault-blocked.sim.test", code=403, outcome="blocked")
VENDOR_ERROR = Case(
    name="502", host="fault-vendor-error-502.sim.test", code=502, outcome="vendor_error"
)
MANY = (
    *(PAGES, *LOGINS, RATE_LIMITED, BLOCKED, VENDOR_ERROR),
    Case(name="402", host="fault-quota.sim.test", code=402, outcome="quota_exhausted"),
    Case(name="ban page", host="fault-ban-page.sim.test"),
    Case(name="cut", host="fault-close-inside.sim.test", outcome="reset", is_cut=True),
)
FEW = (PAGES, *LOGINS, BLOCKED, VENDOR_ERROR)


@dataclass(frozen=True, kw_only=True)
class Known:
    """A client, and how it differs from the plainest."""

    name: str
    fetch: Client
    vendor: str
    """The vendor whose proxy it uses."""
    program: str = ""
    cases: Sequence[Case] = MANY
    tunnels_everything: bool = False
    asks_first: str = ""
    """It sends its login only after a challenge: at each `request`, or `once` in a session."""
    hides_refusals: bool = False
    """It does not report the status of a refused CONNECT."""
    keeps_its_connections: bool = True
    """As many to Envoy as to the vendor: not who goes on after a refused CONNECT, which Envoy
    closes, or asks for several pages at once."""
    may_give_up_a_connection: bool = False
    """It opens another where a busy machine made it wait, so twice the same need not be as many."""
    tunnels_each_page: bool = False
    """Each page is fetched by a process of its own, so each has a tunnel."""
    tries: int = 1
    """How often it tries after a refused tunnel, a cut answer, or a status of `tries_again`."""
    tries_again: tuple[int, ...] = ()

    def counts(self, asked: Sequence[tuple[Case, str]]) -> Outcomes:
        """Return what the cases add to the books of Envoy and of the vendor."""
        found: Counter[tuple[str, str]] = Counter()
        learned = False
        for case, scheme in asked:
            if self.in_tunnel(scheme):
                visibility = "tunnel"
                count = len(case.paths) if self.tunnels_each_page else 1
                outcome = "success" if case.is_cut else case.outcome
                again = case.code != 200 or case.is_cut
            else:
                visibility, count, outcome = "http", len(case.paths), case.outcome
                again = case.code in self.tries_again or case.is_cut
            found[visibility, outcome] += count * (self.tries if again else 1)
            if self.asks_first == "request" and case.login:
                found[visibility, "auth_challenge"] += count
            elif self.asks_first == "once" and case.login:
                found[visibility, "auth_challenge"] += not (learned and case.login == RIGHT)
                learned = learned or case.login == RIGHT
        return dict(found)

    def in_tunnel(self, scheme: str) -> bool:
        return scheme == "https" or self.tunnels_everything


CLIENTS = (
    Known(name="curl", program="curl", fetch=curl, vendor="vendor-a"),
    Known(
        name="curl that lets the proxy choose",
        program="curl",
        fetch=functools.partial(curl, options=("--proxy-anyauth",)),
        vendor="vendor-a",
        asks_first="request",
        keeps_its_connections=False,
    ),
    Known(name="requests", fetch=with_requests, vendor="vendor-b"),
    Known(name="httpx", fetch=with_httpx, vendor="vendor-c"),
    Known(name="aiohttp", fetch=with_aiohttp, vendor="vendor-d"),
    Known(
        name="scrapy",
        fetch=scrapy,
        vendor="vendor-e",
        keeps_its_connections=False,
        tries=3,
        tries_again=(429, 502),
    ),
    Known(name="node", program="node", fetch=node, vendor="vendor-f"),
    Known(name="undici", program="node", fetch=undici, vendor="vendor-g", tunnels_everything=True),
    Known(
        name="chromium",
        program="chromium",
        fetch=chromium,
        vendor="vendor-h",
        cases=FEW,
        asks_first="once",
        keeps_its_connections=False,
        hides_refusals=True,
    ),
    Known(
        name="wget",
        program="wget",
        fetch=wget,
        vendor="vendor-a",
        hides_refusals=True,
        tunnels_each_page=True,
    ),
    Known(
        name="go",
        program="go",
        fetch=go,
        vendor="vendor-b",
        hides_refusals=True,
        # net/http, maxWriteWaitBeforeConnReuse: 50 ms from an answer to the end of its own write.
        may_give_up_a_connection=True,
    ),
    Known(name="java", program="java", fetch=java, vendor="vendor-c", hides_refusals=True),
)


def both_ways(
    scene: Scene, fetch: Client, vendor: str, jobs: Sequence[Job]
) -> tuple[list[list[Seen]], Outcomes]:
    """Do the jobs without Envoy and through it; return what the client saw and what was counted.

    Both times the client sees the same, and the vendor does; Envoy has counted what the vendor
    has, and nothing for anybody else.
    """
    books, mesh = scene.books(), scene.mesh()
    straight = fetch(jobs, scene.authority(vendor, straight=True), scene.ca)
    through = fetch(jobs, scene.authority(vendor), scene.ca)
    assert through == straight
    mesh = scene.mesh() - mesh
    books = scene.books() - books
    assert books == mesh + Counter({(STRAIGHT + who, *what): n for (who, *what), n in mesh.items()})
    assert {who for who, _, _ in mesh} == {vendor}
    return through, {(visibility, outcome): n for (_, visibility, outcome), n in mesh.items()}


def page(path: str) -> str:
    """Return the hash of the target's page."""
    size = int(path.removeprefix("/p/"))
    return hashlib.sha256(b"<!doctype html>".ljust(size, b"x")[:size]).hexdigest()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_same_as_without_envoy_and_counted_once(scene: Scene, client: Known) -> None:
    """Envoy changes and misses nothing, plain and in tunnels, for every login and refusal."""
    need(client.program)
    asked = [(case, scheme) for scheme in ("http", "https") for case in client.cases]
    before = scene.connections(client.vendor)
    jobs = [case.job(scheme, "http") for case, scheme in asked]
    seen, counts = both_ways(scene, client.fetch, client.vendor, jobs)

    for (case, scheme), pages in zip(asked, seen, strict=True):
        hidden = client.hides_refusals and client.in_tunnel(scheme) and case.code != 200
        for path, got in zip(case.paths, pages, strict=True):
            if case.is_cut:
                assert got.error, (case, scheme, got)
                continue
            assert got.code == (None if hidden else case.code), (case, scheme, got)
            if case.code == 200:
                assert not got.error, (case, scheme, got)
            if case is PAGES:
                assert got.body == page(path), (scheme, path)
    plain = dict(zip(asked, seen, strict=True))
    if RATE_LIMITED in client.cases and not client.tunnels_everything:
        assert plain[RATE_LIMITED, "http"][0].headers["retry-after"] == "1"

    assert counts == client.counts(asked)
    if client.keeps_its_connections:
        opened = scene.connections(client.vendor).since(before)
        assert opened.from_envoy == opened.to_envoy
        if client.may_give_up_a_connection:
            assert max(opened) < sum(len(case.paths) for case, _ in asked)
        else:
            assert opened.to_envoy == opened.straight


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_who_trusts_another_ca_refuses_the_target(scene: Scene, client: Known) -> None:
    """A client that verifies sees the target's certificate inside the tunnel."""
    need(client.program)
    job = Case(name="stranger").job("https", "http")
    before = scene.mesh()
    ((got,),) = client.fetch([job], scene.authority(client.vendor), scene.other_ca)
    assert got.error
    assert not got.body
    counts = scene.mesh() - before
    assert counts[client.vendor, "tunnel", "success"] == client.tries


@pytest.mark.parametrize(
    "client",
    [client for client in CLIENTS if client.name in ("curl", "requests", "httpx", "node")],
    ids=lambda client: client.name,
)
def test_socks5_with_every_login(scene: Scene, client: Known) -> None:
    """SOCKS5 passes the same chains on the same port, and each connection counts as opaque."""
    need(client.program)
    cases = (PAGES, *LOGINS)
    asked = [(case, scheme) for scheme in ("http", "https") for case in cases]
    jobs = [case.job(scheme, "socks5h") for case, scheme in asked]
    seen, counts = both_ways(scene, client.fetch, client.vendor, jobs)
    for (case, _), pages in zip(asked, seen, strict=True):
        if case is PAGES:
            assert [got.body for got in pages] == [page(path) for path in case.paths]
        else:
            assert all(got.error and not got.body for got in pages)
    assert counts == {("opaque", "connection"): len(asked)}


def test_http2_in_clear_passes_unharmed(scene: Scene, tmp_path: Path) -> None:
    """Envoy hands on HTTP/2 with prior knowledge byte by byte, and counts opaque connections."""
    need("curl")
    need("node")
    address, port = H2C_ADDRESS, scene.where["vendor-e"].port
    upstream = Ports.upstream_of(port)
    before = scene.mesh()
    with children() as family:
        command = ["node", str(Path(__file__).with_name("h2c_server.mjs")), address, str(upstream)]
        family.start("h2c server", command, log=tmp_path / "h2c.log")
        until(lambda: socket.socket().connect_ex((address, upstream)) == 0)
        straight, through = (
            curl_http2([f"http://{address}:{where}/p/{size}" for size in PAGE_BYTES])
            for where in (upstream, port)
        )
    assert [got.body for got in straight] == [
        hashlib.sha256(b"x" * size).hexdigest() for size in PAGE_BYTES
    ]
    assert through == straight
    assert scene.mesh() - before == {("vendor-e", "opaque", "connection"): len(PAGE_BYTES)}


@pytest.mark.parametrize(
    ("vendor", "proxy"), [("vendor-a", "https"), ("vendor-i", "http")], ids=["tls", "uninspected"]
)
def test_what_is_not_looked_into_is_counted_by_connections(
    scene: Scene, vendor: str, proxy: str
) -> None:
    """TLS to the proxy, and a vendor with `inspect: connections`, give the same answers."""
    need("curl")
    cases = (PAGES, *LOGINS, RATE_LIMITED)
    jobs = [case.job(scheme, proxy) for scheme in ("http", "https") for case in cases]
    seen, counts = both_ways(scene, curl, vendor, jobs)
    assert [pages[0].code for pages in seen] == [200, 407, 407, 429] * 2
    assert counts == {("opaque", "connection"): len(jobs)}


@pytest.mark.parametrize(
    ("program", "fetch"),
    [("curl", curl), ("wget", wget), ("go", go), ("java", java)],
    ids=["curl", "wget", "go", "java"],
)
def test_public_certificate_serves_clients_that_do_not_verify(
    tmp_path: Path, program: str, fetch: Client
) -> None:
    """`curl -k` and its like get a page inside CONNECT from a simulated vendor as it comes."""
    need(program)
    with vendor_process(tmp_path, {"a": {}}) as vendors:
        job = Case(name="page").job("https", "http")
        ((got,),) = fetch([job], f"127.0.0.1:{vendors.ports['a']}", None)
    assert (got.code, got.error, got.body) == (200, "", page("/p/5000"))
