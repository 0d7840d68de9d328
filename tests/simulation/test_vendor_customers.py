"""Credentials, sessions and exits of simulated vendors."""

from __future__ import annotations

import itertools
import socket
import time
from collections import Counter
from typing import Any

import pytest

from tests.simulation.vendor_process import RIGHT, Client, VendorProcess, for_all_tests, is_likely

LOGIN = {"credentials": {"crawler": "PASSWORD_A", "crawler-b": "PASSWORD_B"}}
EXITS = {**LOGIN, "exits": {"count": 8}}
BEHAVIOURS = {
    **dict.fromkeys(("http", "tunnel", "tls", "socks5", "names"), LOGIN),
    **dict.fromkeys(("rotating", "sticky", "socks5-exit", "books"), EXITS),
    "ending": {"exits": {"count": 2, "session_seconds": 0.15}},
}
vendors = for_all_tests(BEHAVIOURS)


@pytest.mark.parametrize("vendor", ["http", "tunnel", "tls"])
def test_credentials_open_the_proxy(vendors: VendorProcess, vendor: str) -> None:
    """No login gives a challenge and a wrong one a failure; the connection stays open."""
    asked: dict[str, Any] = (
        {"target": "site.sim.test:443", "method": "CONNECT"} if vendor == "tunnel" else {}
    )
    with vendors.client(vendor, tls=vendor == "tls") as client:
        none, wrong, right = (
            client.ask(**asked, user=user) for user in ("", "crawler:guess", RIGHT)
        )
    assert [answer.status for answer in (none, wrong, right)] == [407, 407, 200]
    assert none.headers["proxy-authenticate"] == 'Basic realm="sim"'
    outcomes = {(vendor, name): 1 for name in ("auth_challenge", "auth_failed", "success")}
    assert vendors.counts(vendor) == ({} if vendor == "tls" else outcomes)
    assert vendors.refusals(vendor) == {"407": 2}


@pytest.mark.parametrize(
    ("user", "status"),
    [
        ("crawler-country-de-session-a1:hush", 200),
        ("crawler-b:quiet", 200),  # the longest user that fits
        ("crawler-b-session-9:quiet", 200),
        ("crawler-b:hush", 407),
        ("crawlers:hush", 407),
        ("nobody:hush", 407),
        ("crawler", 407),
        (":", 407),
        ("crawler:hush:hush", 407),
        ("crawler-\u00fc:hush", 200),
    ],
)
def test_options_follow_the_user(vendors: VendorProcess, user: str, status: int) -> None:
    """A user name may have options; the name without them must be known."""
    assert vendors.one("names", user=user).status == status


@pytest.mark.parametrize(
    "value", ["Bearer x", "Basic", "Basic !!!!", "Basic \u00e9", "x" * 5000, "Basic " + "QQ" * 3000]
)
def test_login_that_is_none_fails(vendors: VendorProcess, value: str) -> None:
    """A header that is no Basic login gets 407."""
    answer = vendors.one("names", fields=f"Proxy-Authorization: {value}\r\n")
    assert answer.status == 407


def test_socks5_asks_for_the_password(vendors: VendorProcess) -> None:
    """A SOCKS5 client without a login gets no method, one with a wrong login a failure."""
    said = {}
    for user in ("", "crawler:guess", RIGHT):
        with vendors.client("socks5") as client:
            said[user] = client.socks(user)
            if said[user][1:2] != b"\x00":
                assert client.rest() == b""
                continue
            client.send(b"GET /p/9 HTTP/1.1\r\n\r\n")
            assert len(client.answer().body) == 9
    assert said == {
        "": b"\x05\xff",
        "crawler:guess": b"\x01\x01",
        RIGHT: b"\x05\x00\x00\x01" + bytes(6),
    }
    assert vendors.refusals("socks5") == {"socks5": 2}
    assert vendors.books("socks5")["opaque"][0]["connections"] == 3


@pytest.mark.parametrize("head", [b"\x05\x02\x00", b"\x05\x01\x02\x01\x07", b"\x05\x01\x02\x02"])
def test_socks5_cut_or_bent_holds_nothing(vendors: VendorProcess, head: bytes) -> None:
    """A greeting or login that is cut or of another version holds no memory."""
    with vendors.client("socks5") as client:
        client.send(head + bytes(20) * (head[-1] == 2))
        client.socket.shutdown(socket.SHUT_WR)
        client.rest()
    assert vendors.books("socks5")["counts"] == []


def exit_of(client: Client, **how: str) -> str:
    return client.ask(**how).headers["x-sim-exit"]  # type: ignore[arg-type]


def test_rotating_exits_are_all_used_alike(vendors: VendorProcess) -> None:
    """Eight exits, 400 requests without a session: chi-square at level 0.001, seed fixed."""
    with vendors.client("rotating") as client:
        used = Counter(exit_of(client, user=RIGHT) for _ in range(400))
    assert len(used) == 8
    assert is_likely(list(used.values()), [50] * 8)
    assert all(address.startswith("198.18.0.") for address in used)
    assert vendors.books("rotating")["exits"] == [{"sessions": 0, "used": 8}]


def test_session_keeps_its_exit_in_every_protocol(vendors: VendorProcess) -> None:
    """A session has one exit in plain requests, in CONNECT and inside the tunnel."""
    user = "crawler-country-de-session-abc123:hush"
    seen = set()
    for _ in range(5):
        with vendors.client("sticky") as client:
            seen.add(exit_of(client, user=user))
            seen.add(client.connect(user=user).headers["x-sim-exit"])
            client.wrap()
            seen.add(exit_of(client, target="/p/5"))
    assert len(seen) == 1
    others = {
        vendors.one("sticky", user=f"crawler-sessid-{number}:hush").headers["x-sim-exit"]
        for number in range(10)
    }
    assert len(others) > 1
    assert vendors.books("sticky")["exits"][0]["sessions"] == 11


def test_socks5_tells_the_exit_as_its_bound_address(vendors: VendorProcess) -> None:
    """SOCKS5 names the exit as its bound address, the same as HTTP in that session."""
    user = "crawler-session-s5:hush"
    bound = set()
    for _ in range(4):
        with vendors.client("socks5-exit") as client:
            bound.add(socket.inet_ntoa(client.socks(user)[4:8]))
    assert bound == {vendors.one("socks5-exit", user=user).headers["x-sim-exit"]}


def test_session_that_ends_gets_another_exit(vendors: VendorProcess) -> None:
    """With two exits one follows the other, and each stays as long as the plan says."""
    turns: list[tuple[float, float, str]] = []  # asked, answered, exit
    with vendors.client("ending") as client:
        while len(turns) < 4:
            asked = time.monotonic()
            found = exit_of(client, user="anybody-session-1:")
            if not turns or turns[-1][2] != found:
                turns.append((asked, time.monotonic(), found))
            time.sleep(0.005)
    assert [turn[2] for turn in turns] == [turns[0][2], turns[1][2]] * 2
    for before, after in itertools.pairwise(turns):
        assert after[1] - before[0] >= 0.15
    assert vendors.books("ending")["exits"] == [{"sessions": 4, "used": 2}]


def test_refusals_and_bad_requests_use_no_exit(vendors: VendorProcess) -> None:
    """The vendor's refusals leave by no exit, and no metric has an address."""
    with vendors.client("books") as client:
        for how in ({}, {"target": "http://fault-blocked.sim.test/", "user": RIGHT}):
            assert "x-sim-exit" not in client.ask(**how).headers  # type: ignore[arg-type]
        assert "x-sim-exit" not in client.ask(target="/", user=RIGHT).headers
        assert "x-sim-exit" in client.ask(user=RIGHT).headers
    assert vendors.books("books")["exits"] == [{"sessions": 0, "used": 1}]
    exposition = vendors.control("GET", "/metrics")[1]
    assert '\nvendor_exits_used{vendor="books"} 1\n' in exposition
    assert '\nvendor_refusals_total{vendor="books",code="407"} 1\n' in exposition
    assert "198.18" not in exposition
    assert "hush" not in exposition
