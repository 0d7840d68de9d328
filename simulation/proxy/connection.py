"""One accepted connection."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import random
import re
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from simulation.exposition import WIRE_COLUMNS
from simulation.pages import MAX_BODY_BYTES
from simulation.proxy.answers import (
    PAGE,
    SILENT,
    SOCKS_OUTCOMES,
    THROUGH_EXIT,
    Action,
    target_answer,
)
from simulation.proxy.books import REFUSED_OR_FAILED, Books
from simulation.proxy.customers import Customer, basic_login, check_login, pool_of
from simulation.proxy.plan import Listen, Plan
from simulation.proxy.requests import (
    MAX_HEAD_BYTES,
    Body,
    Request,
    fault_of,
    parse_request,
    visibility_of,
)
from simulation.proxy.stream import PAUSED_BY_FLOOD, Stream
from simulation.proxy.vendor import Vendor

RESET_INSIDE_DELAY_SECONDS = 0.02  # lets the headers travel before the RST, so it is "inside"
GARBAGE = b"\x00\xffthis is no HTTP at all\r\n\r\n"
SOCKS_VERSION, TLS_HANDSHAKE = 0x05, 0x16  # first bytes
SOCKS_NO_METHOD, SOCKS_PASSWORD, SOCKS_NO_AUTHENTICATION = 0xFF, 0x02, 0x00
SOCKS_OK, SOCKS_FAILURE, SOCKS_NOT_ALLOWED, SOCKS_NO_SUCH_COMMAND = 0, 1, 2, 7
SOCKS_ADDRESS_BYTES: Final = {1: 4, 4: 16}  # type 3 is a name with its length before it
OPAQUE_HOST = re.compile(r"opaque-(\d{1,7})-(\d{1,7})\.")
REFUSED_SECONDS = 1.0  # for a client that still sends to read why it was refused


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """What all connections of the process share."""

    plan: Plan
    books: Books
    tls: ssl.SSLContext
    chance: random.Random
    vendors: Mapping[str, Vendor]


class Connection(Stream):
    """One accepted connection: HTTP proxy and target in a tunnel, or SOCKS5."""

    def __init__(self, shared: Shared, vendor: Vendor, listen: Listen) -> None:
        super().__init__(vendor, shared.tls)
        self._shared, self._books = shared, shared.books
        self._take = self._detect
        self._opaque = listen.visible == "connections"
        self._reads_socks = listen.visible == "passive"
        self._listen, self._pool = listen, listen.pool
        self._protocol = "none"
        self.decided = False  # whether the protocol can no longer change in the books
        self._waiting: tuple[str, float] | None = None  # visibility and start of a late request
        self._asked: Request | None = None  # whose body is still to come
        self._asked_at = 0.0
        self._body: Body
        self._customer: Customer | None = None  # of SOCKS5
        self._payload = (0, 0)  # SOCKS5: bytes still to come, bytes to answer
        self._inner_fault = ""
        self._inner_headers = b""
        self._timer: asyncio.TimerHandle | None = None
        # For the bill: bytes of requests that are over, and of all bytes those for the proxy alone,
        # and those of requests that were refused or failed.
        self._settled = self._own = self._lost = 0
        self._outcome = "success"  # of the request that the next bytes are of

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._books.connections[self._vendor.name] += 1
        self._books.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._books.open.discard(self)
        self.add_to(self._books.wire)
        if self._timer:
            self._timer.cancel()
        if self._asked and self._take == self._http:  # the client left while it sent its body
            self._waiting = (visibility_of(self._asked), self._asked_at)
        if self._waiting:
            visibility, since = self._waiting
            waited = asyncio.get_running_loop().time() - since
            late = waited >= self._shared.plan.timeout_after_seconds
            self._outcome = "timeout" if late else "client_cancelled"
            self._count(visibility, self._outcome)
        self.bill(self._books.bills)
        if self._opaque:
            name = self._vendor.name
            self._books.opaque[name] += 1
            self._books.bytes[name, "sent"] += self._sent
            self._books.bytes[name, "received"] += self._received
        # They refer to this connection, which would wait for the garbage collector.
        del self._take
        self._timer = None

    def add_to(self, wire: Counter[tuple[str, str, str]]) -> None:
        for what, size in zip(WIRE_COLUMNS, (1, self._sent, self._received), strict=True):
            wire[self._vendor.name, self._protocol, what] += size

    def bill(self, bills: Counter[tuple[str, str]]) -> None:
        """Add what is billed of this connection up to now, by each rule."""
        name, wire = self._vendor.name, self._sent + self._received
        lost = self._lost + (wire - self._settled) * (self._outcome in REFUSED_OR_FAILED)
        bills[name, "wire"] += wire
        bills[name, "target"] += wire - self._own
        bills[name, "delivered"] += wire - lost

    def _settle(self, outcome: str) -> None:
        """End a request: its bytes are those since the one before, but for what has come early."""
        size = self._sent + self._received - len(self._buffer) - self._settled
        self._settled += size
        self._lost += size * (outcome in REFUSED_OR_FAILED)
        if outcome not in THROUGH_EXIT:  # the vendor's own answer
            self._own += size

    def _count(self, visibility: str, outcome: str) -> None:
        if not self._opaque:
            self._books.counts[self._vendor.name, visibility, outcome] += 1
            if self._pool:
                self._books.pools[self._vendor.name, self._pool, outcome] += 1

    def _book(self, visibility: str, action: Action) -> None:
        if action.outcome not in THROUGH_EXIT:
            self._books.refusals[self._vendor.name, action.status[:3].decode()] += 1
        self._count(visibility, action.outcome)

    def _detect(self) -> None:
        if self._buffer[0] == TLS_HANDSHAKE:
            self._protocol, self._opaque, self._take = "tls", True, self._http
            self.decided = True
            self._open_session()
            return
        if self._buffer[0] == SOCKS_VERSION:
            self._protocol, self._take = "socks5", self._socks_greeting
            self._opaque = not self._reads_socks
            self.decided = True
        else:
            self._protocol, self._take = "http", self._http
        self._take()

    # The vendor's behaviour

    def _after(self, seconds: float, visibility: str, then: Callable[[], None]) -> None:
        """Do `then` later; a client that leaves before is counted as leaving."""
        loop = asyncio.get_running_loop()
        take, self._take = self._take, self._keep
        self._waiting = (visibility, loop.time())

        def act() -> None:
            self._waiting, self._take = None, take
            self._resume(PAUSED_BY_FLOOD)
            then()
            self._go_on()

        self._timer = loop.call_later(seconds, act)

    def _fail_silently(self, kind: str, visibility: str) -> None:
        """Do a fault that gives no answer."""
        self._take = self._ignore
        if kind == "reset":
            self._reset()
        elif kind == "close":
            self._finish()
        elif kind == "garbage":
            self._write(GARBAGE)
            self._finish()
        else:  # stall
            self._waiting = (visibility, asyncio.get_running_loop().time())

    # HTTP proxy

    def _next_request(self) -> Request | None:
        """Take a complete request off the buffer; None if more bytes or the end follow."""
        if self._asked:
            return self._whole_request(self._asked)
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if len(head) > MAX_HEAD_BYTES:
            self._reject(b"431 Request Header Fields Too Large")
        elif blank:
            request = parse_request(head)
            if not request:
                self._reject(b"400 Bad Request")
            elif not request.body_bytes:
                self._buffer = rest
                return request
            else:
                self._buffer = rest
                self._asked, self._body = request, Body(request.body_bytes)
                self._asked_at = asyncio.get_running_loop().time()
                if request.expects and not rest:
                    self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return self._whole_request(request)
        return None

    def _whole_request(self, request: Request) -> Request | None:
        self._buffer = self._body.take(self._buffer)
        if self._body.bad:
            self._reject(b"400 Bad Request")
        if self._body.bad or not self._body.done:
            return None
        self._asked = None
        return request._replace(body_bytes=self._body.size)

    def _reject(self, status: bytes) -> None:
        """Refuse bytes that are no request; no book has them, as no sidecar would pass them on.

        The connection closes a little later: a client that still sends would get a reset instead.
        """
        self._write(b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status)
        self._take = self._ignore
        self._timer = asyncio.get_running_loop().call_later(REFUSED_SECONDS, self._close_cleanly)

    def _http(self) -> None:
        while self._take == self._http and (request := self._next_request()):
            missing = self._shared.chance.random() < 0.5
            self._pool = pool_of(self._listen, basic_login(request.authorization)[0])
            action, seconds = self._vendor.decide(request, self._customer, missing=missing)
            visibility = visibility_of(request)
            if not self.decided:
                self._protocol, self.decided = visibility, True
            if seconds:
                self._after(
                    seconds, visibility, functools.partial(self._act, action, request, visibility)
                )
            else:
                self._act(action, request, visibility)
            if self._choked():
                return

    def _act(self, action: Action, request: Request, visibility: str) -> None:
        if action.outcome:
            self._book(visibility, action)
            self._outcome = action.outcome
        if action.outcome in THROUGH_EXIT:
            self._own += request.own_bytes
        if action.kind == "tunnel":
            answer = b"HTTP/1.1 %b\r\n%b%b\r\n" % (
                *(action.status, self._vendor.signature, action.headers),
            )
            self._own += len(answer)
            self._write(answer)
            self._open_tunnel(action)
        elif action.kind in SILENT:
            self._fail_silently(action.kind, visibility)
        else:
            self._send_answer(action, request)
            self._settle(action.outcome)

    def _send_answer(self, action: Action, request: Request) -> None:
        """Answer, whole or not."""
        if action.kind == "answer":
            self._write(self._answer(action, request))
            if request.close:
                self._close_cleanly()
        elif action.kind == "answer-open":
            said = (action.status, b"\r\n", self._vendor.signature, action.headers, b"\r\n")
            self._write(b"".join((b"HTTP/1.1 ", *said, action.body)))
            self._close_cleanly()
        else:
            self._take = self._ignore
            answer = self._answer(action, request)
            self._write(answer[: answer.index(b"\r\n\r\n") + 4 + 32])
            end = self._reset if action.kind == "reset-inside" else self._finish
            self._timer = asyncio.get_running_loop().call_later(RESET_INSIDE_DELAY_SECONDS, end)

    def _answer(self, action: Action, request: Request) -> bytes:
        more = action.headers
        if request.body_bytes:
            more += b"X-Sim-Received-Bytes: %d\r\n" % request.body_bytes
        if request.close:
            more += b"Connection: close\r\n"
        head = b"HTTP/1.1 %b\r\n%b%bContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % (
            action.status,
            self._vendor.signature,
            more,
            len(action.body),
        )
        return head if request.method == b"HEAD" else b"".join((head, action.body))

    # The target inside a tunnel: TLS, or HTTP in clear

    def _open_tunnel(self, action: Action) -> None:
        self._inner_fault, self._inner_headers = action.inside, action.headers
        self._take = self._tunnel
        self._take()

    def _tunnel(self) -> None:
        if not self._buffer:
            return
        self._take = self._target
        if self._buffer[0] == TLS_HANDSHAKE:
            self._open_session()
        else:
            self._take()

    def _target(self) -> None:
        while self._take == self._target and (request := self._next_request()):
            missing = self._shared.chance.random() < 0.5
            action = target_answer(self._inner_fault, request, missing)
            self._send_answer(action._replace(headers=self._inner_headers), request)
            if self._choked():
                return

    # SOCKS5: opaque-<up>-<down>.<anything> wants <up> bytes taken and <down> bytes sent back;
    # any other host is a target, of HTTP or TLS.

    def _socks_greeting(self) -> None:
        if len(self._buffer) < 2 or len(self._buffer) < 2 + self._buffer[1]:
            return
        offered = self._buffer[2 : 2 + self._buffer[1]]
        self._buffer = self._buffer[2 + self._buffer[1] :]
        behaviour = self._vendor.behaviour
        # A login names the session even where it opens nothing.
        first, second = SOCKS_NO_AUTHENTICATION, SOCKS_PASSWORD
        if behaviour:
            first, second = second, SOCKS_NO_METHOD if behaviour.credentials else first
        method = next((each for each in (first, second) if each in offered), SOCKS_NO_METHOD)
        self._write(bytes([SOCKS_VERSION, method]))
        if method == SOCKS_NO_METHOD:
            self._refuse_socks_login()
            return
        self._take = self._socks_login if method == SOCKS_PASSWORD else self._socks_request
        self._take()

    def _socks_login(self) -> None:
        """RFC 1929: version 1, user and password, each behind its length."""
        said = self._buffer
        if len(said) < 2 or len(said) < 3 + said[1] or len(said) < 3 + said[1] + said[2 + said[1]]:
            return
        user, rest = said[2 : 2 + said[1]], said[2 + said[1] :]
        password, self._buffer = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        behaviour = self._vendor.behaviour
        self._pool = pool_of(self._listen, user)
        self._customer = check_login(behaviour, user, password) if behaviour else None
        refused = said[0] != 1 or fault_of(user.decode("latin-1")) == "auth-failed"
        refused = refused or (self._customer is not None and bool(self._customer.refusal))
        self._write(bytes([1, refused]))
        if refused:
            self._refuse_socks_login()
            return
        self._take = self._socks_request
        self._take()

    def _refuse_socks_login(self) -> None:
        self._books.refusals[self._vendor.name, "socks5"] += 1
        self._count("socks", "auth_failed")
        self._settle("auth_failed")
        self._close_cleanly()

    def _socks_request(self) -> None:
        head = self._buffer
        if len(head) < 5:
            return
        start, size = (5, head[4]) if head[3] == 3 else (4, SOCKS_ADDRESS_BYTES.get(head[3], 0))
        if len(head) < start + size + 2:
            return
        self._buffer = head[start + size + 2 :]
        said = head[start : start + size]
        if head[1] != 1 or not size:
            self._socks_refuse(SOCKS_NO_SUCH_COMMAND)
            return
        host = said.decode("latin-1").lower() if head[3] == 3 else str(ipaddress.ip_address(said))
        request = Request(b"CONNECT", host, b"", self._customer is not None, 0, False)
        if not self._customer:
            self._customer = Customer("", "", "")
        action, seconds = self._vendor.decide(request, self._customer, missing=False)
        act = functools.partial(self._socks_act, action, host)
        if seconds:
            self._after(seconds, "socks", act)
        else:
            act()

    def _socks_act(self, action: Action, host: str) -> None:
        if action.kind in SILENT:
            if action.outcome:
                self._count("socks", action.outcome)
                self._outcome = action.outcome
            self._fail_silently(action.kind, "socks")
            return
        if action.outcome not in THROUGH_EXIT:
            self._books.refusals[self._vendor.name, action.status[:3].decode()] += 1
        if action.kind != "tunnel":
            usual = SOCKS_FAILURE if action.outcome == "vendor_error" else SOCKS_NOT_ALLOWED
            self._socks_refuse(self._shared.chance.choice(action.replies or (usual,)))
            return
        self._count("socks", SOCKS_OUTCOMES[SOCKS_OK])
        self._socks_reply(SOCKS_OK, action.headers.removeprefix(b"X-Sim-Exit: ").strip())
        self._own = self._sent + self._received - len(self._buffer)
        if asked := OPAQUE_HOST.match(host):
            self._payload = (int(asked[1]), min(int(asked[2]), MAX_BODY_BYTES))
            self._take = self._socks_payload
            self._take()
        else:
            self._open_tunnel(action)

    def _socks_refuse(self, reply: int) -> None:
        outcome = SOCKS_OUTCOMES.get(reply, "vendor_error")
        self._count("socks", outcome)
        self._socks_reply(reply)
        self._settle(outcome)
        self._close_cleanly()

    def _socks_reply(self, reply: int, exit: bytes = b"") -> None:
        """Reply with the exit as the bound address: SOCKS5 has no other place for it."""
        bound = ipaddress.ip_address(exit.decode()).packed if exit else bytes(4)
        self._write(bytes([SOCKS_VERSION, reply, 0, 1]) + bound + bytes(2))

    def _socks_payload(self) -> None:
        missing, answer = self._payload
        missing -= len(self._buffer)
        self._buffer = b""
        if missing <= 0 and answer:
            self._write(bytes(PAGE[:answer]))
            answer = 0
        self._payload = (missing, answer)
