"""Four products of a vendor on one address and port, told by the proxy user, in a real Envoy."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from components.attribution.dry_run import basic
from settings.products import Product, product_of
from settings.stack import StackSettings
from tests.lab.conftest import Sidecar, running_sidecar, until
from tests.lab.scripted import GOOD, vendor

GATEWAY = "127.6.0.10"  # vendor-f has one port there, vendor-g ten others
POOLED = "127.2.128.10"  # vendor-b's, in its pool `residential`
SOLD = (
    Product(user="*-zone-resi*", name="residential"),
    Product(user="*-zone-dc*", name="datacenter"),
    Product(user="*-zone-mob*", name="mobile"),
    Product(user="acme-unblocker", name="unblocker"),
)
USERS = (
    *("c-1-zone-resi-session-7", "c-1-zone-resi_us", "c-1-zone-dc_9", "c-2-zone-mob-country-de"),
    *("acme-unblocker", "acme-unblocker-2", "c-1-ZONE-dc", "", "x" * 300),
)
KEEP_ALIVE = 400

Counts = Counter[tuple[str, ...]]


@pytest.fixture(scope="module", params=["http", "passive"])
def selling(request, tmp_path_factory) -> Iterator[tuple[str, Sidecar]]:
    """Return a sidecar whose vendors are read in this mode, and sell by user."""
    own = {
        "vendor-b": (Product(user="*-zone-mob*", name="mobile"),),
        "vendor-f": SOLD,
        "vendor-g": (Product(user="acme*", name="of-g"),),
    }

    def changed(settings: StackSettings) -> StackSettings:
        vendors = tuple(
            one.model_copy(update={"products": own[one.name], "inspect": request.param})
            if one.name in own
            else one
            for one in settings.vendors
        )
        return settings.model_copy(update={"vendors": vendors})

    folder = tmp_path_factory.mktemp(request.param)
    addresses = (GATEWAY, POOLED)
    with running_sidecar(folder, change_settings=changed, addresses=addresses) as sidecar:
        yield request.param, sidecar


def counted(sidecar: Sidecar) -> Counts:
    return sidecar.by("proxy_vendor", "proxy_visibility", "proxy_pool")


def bytes_by_pool(sidecar: Sidecar) -> Counter[str]:
    """Return what vendor-f's crawlers sent, by pool."""
    found = sidecar.by("proxy_vendor", "proxy_pool", of="istio_proxy_request_bytes_total")
    return Counter({pool: sent for (vendor, pool), sent in found.items() if vendor == "vendor-f"})


def request_of(user: str | None, method: str = "GET") -> bytes:
    target = "shop.test:443" if method == "CONNECT" else "http://shop.test/"
    login = "" if user is None else f"Proxy-Authorization: {basic(user, 'x-zone-resi-x')}\r\n"
    return f"{method} {target} HTTP/1.1\r\nHost: shop.test\r\n{login}\r\n".encode()


def exchange(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    answer = b""
    while not answer.endswith(b"ok"):
        more = connection.recv(4096)
        assert more
        answer += more


def test_each_user_counts_for_its_product(selling):
    """Plain requests and tunnels; an unknown user, or none, has the address's pool."""
    _, sidecar = selling
    ports, before = sidecar.ports, counted(sidecar)
    places = (
        (GATEWAY, ports.vendor, "vendor-f", SOLD, ""),
        (GATEWAY, ports.moved(3140), "vendor-g", (Product(user="acme*", name="of-g"),), ""),
        (
            *(POOLED, ports.vendor, "vendor-b"),
            *((Product(user="*-zone-mob*", name="mobile"),), "residential"),
        ),
    )
    expected: Counts = Counter()
    for address, port, name, sold, pool in places:
        with vendor(address, ports.upstream_of(port), GOOD):
            for user in (*USERS, None):
                for method, visibility in (("GET", "http"), ("CONNECT", "tunnel")):
                    with socket.create_connection((address, port), timeout=10) as connection:
                        exchange(connection, request_of(user, method))
                    product = product_of(sold, user) if user is not None else ""
                    expected[name, visibility, product or pool] += 1
            until(lambda: (counted(sidecar) - before).total() == expected.total())
    assert counted(sidecar) - before == expected


def test_users_may_change_on_one_connection(selling):
    """The pool is the request's: nothing of the user before stays, in counts and in bytes."""
    mode, sidecar = selling
    chance = random.Random(15)
    before, bytes_before = counted(sidecar), bytes_by_pool(sidecar)
    expected: Counts = Counter()
    sent: Counter[str] = Counter()
    with (
        vendor(GATEWAY, sidecar.ports.vendor_upstream, GOOD),
        socket.create_connection((GATEWAY, sidecar.ports.vendor), timeout=10) as connection,
    ):
        for _ in range(KEEP_ALIVE):
            user = chance.choice((*USERS, None))
            product = product_of(SOLD, user) if user is not None else ""
            request = request_of(user)
            exchange(connection, request)
            expected["vendor-f", "http", product] += 1
            sent[product] += len(request)
    until(lambda: (counted(sidecar) - before).total() == KEEP_ALIVE)
    assert counted(sidecar) - before == expected
    if mode == "passive":
        until(lambda: (bytes_by_pool(sidecar) - bytes_before).total() == sent.total())
        assert bytes_by_pool(sidecar) - bytes_before == sent


def test_a_socks5_user_counts_for_its_product(selling):
    """In clear text (RFC 1929); where HTTP alone is read, the connection stays opaque."""
    mode, sidecar = selling
    before = counted(sidecar)
    expected: Counts = Counter()
    for user in USERS[:7]:
        login = b"\x01%c%b\x06secret" % (len(user), user.encode())
        with (
            socket.create_server((GATEWAY, sidecar.ports.vendor_upstream)) as server,
            socket.create_connection((GATEWAY, sidecar.ports.vendor), timeout=10) as crawler,
        ):
            steps = (
                (b"\x05\x01\x02", b"\x05\x02"),
                (login, b"\x01\x00"),
                (b"\x05\x01\x00\x03\x09shop.test\x01\xbb", b"\x05\x00\x00\x01" + bytes(6)),
            )
            crawler.sendall(steps[0][0])
            accepted, _ = server.accept()
            with accepted:
                for number, (asked, answered) in enumerate(steps):
                    if number:
                        crawler.sendall(asked)
                    assert accepted.recv(4096) == asked
                    accepted.sendall(answered)
                    assert crawler.recv(4096) == answered
        expected["vendor-f", "socks", product_of(SOLD, user)] += 1
    if mode == "http":
        until(lambda: sidecar.opaque_connections("vendor-f") >= expected.total())
        assert counted(sidecar) == before
        return
    until(lambda: (counted(sidecar) - before).total() == expected.total())
    assert counted(sidecar) - before == expected
