"""TLS of both programs in memory: sessions resume, and other bytes end the connection."""

from __future__ import annotations

import ssl

import pytest

from simulation.crawler import tls
from simulation.crawler.tls import Tls as CrawlerTls
from simulation.proxy.reading import read_plan
from simulation.proxy.tls import Tls as VendorTls
from simulation.proxy.tls import tls_context

PLAN = {"listen": [{"vendor": "a", "address": "::1", "port": 1}], "control_port": 2}


@pytest.fixture
def context() -> ssl.SSLContext:
    return tls_context(read_plan(PLAN))


def shake_hands(
    client: CrawlerTls, context: ssl.SSLContext, host: str, step: int = 10_000
) -> tuple[ssl.SSLObject, bytes]:
    """A handshake and a few bytes up, in pieces of `step`; the bytes as the vendor reads them."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    mine, theirs = client.begin(incoming, outgoing, host), VendorTls(context)
    plain = b""
    for _ in range(4):
        try:
            mine.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            client.keep(mine)
            mine.write(b"GET")
        said = outgoing.read()
        plain += b"".join(theirs.open(said[at : at + step]) for at in range(0, len(said), step))
        incoming.write(theirs.pending())
        assert not theirs.ended
        if plain:
            break
    return mine, plain


@pytest.mark.parametrize("step", [10_000, 1])
def test_host_met_before_resumes_its_session(context: ssl.SSLContext, step: int) -> None:
    """Most of a handshake's CPU is saved; another host gets a session of its own."""
    client = CrawlerTls()
    reused = []
    for host in ("a.test", "a.test", "b.test", "a.test", "b.test"):
        session, plain = shake_hands(client, context, host, step)
        assert plain == b"GET"
        reused.append(session.session_reused)
    assert reused == [False, True, False, True, True]


def test_sessions_are_kept_of_few_hosts_and_looked_at_seldom(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory stays flat: CPython loses some at each look at a session, whoever keeps it."""
    monkeypatch.setattr(tls, "MAX_TLS_SESSIONS", 2)
    monkeypatch.setattr(tls, "MAX_TLS_SESSION_LOOKS", 3)
    client = CrawlerTls()

    def reused(host: str, where: ssl.SSLContext) -> bool:
        return bool(shake_hands(client, where, host)[0].session_reused)

    hosts = ("a.test", "b.test", "c.test")
    assert [reused(host, context) for host in hosts * 2] == [False] * 3 + [True, True, False]
    other = tls_context(read_plan(PLAN))
    assert [reused("a.test", other) for _ in range(2)] == [False, True]  # the third look
    assert [reused("b.test", other) for _ in range(2)] == [False, False]
