"""The crawler: sends the planned requests and keeps the books."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable

from simulation.crawler.admission import RefusalPause, first_of, tracked
from simulation.crawler.arrival import start_times
from simulation.crawler.books import Books, Wire
from simulation.crawler.budget import GB, Budget
from simulation.crawler.connection import Connection
from simulation.crawler.durations import Durations
from simulation.crawler.faults import OWN_CONNECTION
from simulation.crawler.http1 import Answer, plain_get
from simulation.crawler.identity import NOBODY, Identity, Login
from simulation.crawler.opening import Opener
from simulation.crawler.outcomes import (
    Seen,
    asks_for_retry,
    intended_outcome,
    opaque_end,
    pool_of,
    socks_outcome,
    true_outcome,
    unexpected_reason,
    visible_outcome,
)
from simulation.crawler.plan import Plan
from simulation.crawler.sequence import PlannedRequest, host_of, planned_requests, retry_of
from simulation.crawler.socks5 import socks_steps
from simulation.crawler.tls import Tls

# When the crawler leaves a vendor that stalls: late enough for its request to arrive on a busy
# machine, and well before the sidecar's time-out.
STALL_SECONDS, STALL_SHARE = 0.4, 0.4
IDLE_SECONDS = 10.0  # an older kept-alive connection may be about to be closed by its peer
LEAST_REFUSALS = 8  # in a row; fewer may be chance if there are several vendors
LONGEST_NAP_SECONDS = 60.0
UNREACHABLE_SECONDS = 3.0  # a sidecar that starts with the crawler listens by then
LEAVING_SECONDS = 0.3
# Returns what came of a request for a connection to a target, and of what was sent through it.
Ask = Callable[[Connection, PlannedRequest, Login], Awaitable[tuple[Seen, Seen | None]]]


class Crawler:
    """Sends the planned requests, with as many workers as may be in flight."""

    def __init__(self, plan: Plan) -> None:
        """Raise PlanError if the budget's file can be neither read nor written."""
        self.plan = plan
        self.books = Books()
        self._wire_outside = Wire()  # the books have it as `outside`
        self._budget = None
        if plan.max_gb_per_day is not None:
            limit = round(plan.max_gb_per_day * GB)
            self._budget = Budget(limit, self._wire_bytes, plan.budget_file)
        self.books.budget = self._budget
        self.in_flight = 0
        self.lag_seconds = 0.0
        self._requests = planned_requests(plan)
        self._start_times = None if plan.arrival == "closed" else start_times(plan)
        if self._start_times:
            self.books.start_lag = Durations()
        self._tls = Tls()
        # Retries and sessions have random numbers of their own: they change no planned request.
        self._retry_chance = random.Random(f"{plan.seed} retries")
        sessions = random.Random(f"{plan.seed} sessions")
        self._identities = [Identity(vendor, sessions) for vendor in plan.vendors]
        self._slots: defaultdict[int, asyncio.Semaphore] | None = None  # by host
        if slots := plan.per_host_concurrency:
            self._slots = defaultdict(lambda: asyncio.Semaphore(slots))
        self._limit_seconds = plan.limit_seconds()
        self._stall_seconds = min(STALL_SECONDS, STALL_SHARE * plan.timeout_after_seconds)
        self._idle: list[list[Connection]] = [[] for _ in plan.vendors]
        self._busy: set[Connection] = set()
        self._sleeping: set[asyncio.Task[None]] = set()  # workers that wait for a start
        self._refusals = RefusalPause(max(plan.concurrency, LEAST_REFUSALS))
        self._opener = Opener(plan, self._refusals, self.books.trouble)
        self._bounded = bool(plan.count or plan.duration_seconds)
        self._stopping = False
        self._end = math.inf  # by the loop's clock

    async def run(self, stop: asyncio.Event, at_once: asyncio.Event) -> None:
        """Run until every request is done, time is up, or `stop` is set.

        Requests in flight may then end for `drain_seconds`, less if `at_once` is set.
        """
        self._loop = asyncio.get_running_loop()
        # The first request takes long to plan, so it is planned before the clock starts.
        self._requests = itertools.chain([next(self._requests)], self._requests)
        self._first_start = self._loop.time()
        if self.plan.duration_seconds:
            self._end = self._first_start + self.plan.duration_seconds
        workers = {asyncio.create_task(self._work()) for _ in range(self.plan.most_in_flight())}
        await first_of(asyncio.wait(workers), stop.wait())
        stopped = not all(worker.done() for worker in workers)
        timed_out = self._loop.time() >= self._end
        self._stop_starting()
        await first_of(asyncio.wait(workers), at_once.wait(), seconds=self.plan.drain_seconds)
        for task in self._opener.connecting:
            task.cancel()
        for connection in self._busy:
            connection.leave()
        await asyncio.wait(workers, timeout=LEAVING_SECONDS)
        for connection in itertools.chain(*self._idle):
            connection.close()
        await asyncio.sleep(0)  # lets the transports close
        self.books.ended_seconds = time.time()
        done = timed_out or self.books.requests == self.plan.count
        self.books.partial = stopped and self._bounded and not done
        for worker in workers:
            if worker.done() and not worker.cancelled():
                worker.result()  # raises where this program has a defect

    async def _work(self) -> None:
        loop = self._loop
        for planned in self._requests:
            due = next(self._start_times, None) if self._start_times else 0.0
            if due is None:
                return
            if self._start_times:
                await self._sleep(self._first_start + due - loop.time())
            slot = self._slots[planned.host] if self._slots is not None else None
            if slot:
                with tracked(self._sleeping):
                    await slot.acquire()
            if self._budget and self._budget.spent():
                due = await self._next_day(due)
            if not self._start_times:
                await self._pause_while_refused()
            elif self._refusals.unreachable:
                self._end_if_unreachable()
            now = loop.time()
            is_over = not self._start_times and now >= self._end
            late = due is None or is_over or self.books.unreachable
            if not self._stopping and not late:
                assert due is not None
                if self.books.start_lag:
                    self.lag_seconds = max(0.0, now - self._first_start - due)
                    self.books.start_lag.add(self.lag_seconds)
                await self._send_with_retries(planned)
            if slot:
                slot.release()
            if self._stopping or late or self.books.unreachable:
                return

    def _stop_starting(self) -> None:
        """Cancel every worker that waits for a start: none has begun, so none is lost."""
        self._stopping = True
        for task in self._sleeping:
            if task is not asyncio.current_task():
                task.cancel()

    async def _pause_while_refused(self) -> None:
        """Pause while every connection is refused; end a bounded run that never had one."""
        while (seconds := self._refusals.wait(self._loop.time())) and not self._stopping:
            self._end_if_unreachable()
            if self.books.unreachable or self._loop.time() >= self._end:
                return
            await self._sleep(min(seconds, self._end - self._loop.time()))

    def _end_if_unreachable(self) -> None:
        """End a bounded run that has been refused long enough and never had a connection."""
        passed = self._loop.time() - self._first_start
        if self._bounded and not self._refusals.ever_connected and passed > UNREACHABLE_SECONDS:
            self.books.unreachable = True
            self._stop_starting()

    async def _next_day(self, due: float) -> float | None:
        """Wait for the next day's budget; return the next due start, or None if the run ends first.

        Starts that were missed meanwhile are left out.
        """
        budget, loop, ends = self._budget, self._loop, self.plan.duration_seconds or math.inf
        assert budget
        while budget.spent():
            left = self._first_start + ends - loop.time()
            if self._stopping or left <= 0:
                return None
            # It waits in steps, because the clock may be set meanwhile.
            await self._sleep(min(max(budget.seconds_left(), 0.01), left, LONGEST_NAP_SECONDS))
        if not self._start_times:
            return due
        missed = loop.time() - self._first_start
        if due >= missed:
            return due
        for at, upcoming in enumerate(self._start_times):
            if upcoming >= missed:
                await self._sleep(self._first_start + upcoming - loop.time())
                return upcoming
            if at % 1000 == 999:
                await asyncio.sleep(0)
        return None

    async def _send_with_retries(self, planned: PlannedRequest) -> None:
        """Send one request of the plan, and its retries."""
        self.books.requests += 1
        self.in_flight += 1
        if self.in_flight > self.books.in_flight_most:
            self.books.in_flight_most = self.in_flight
        seen = await self._attempt(planned)
        retries = self.plan.retries
        for _ in range(retries.maximum if retries else 0):
            assert retries
            if self._budget and self._budget.spent():
                break
            if self._stopping or not asks_for_retry(planned, seen, retries):
                break
            planned = retry_of(self.plan, planned, self._retry_chance)
            self.books.retries[self.plan.vendors[planned.vendor].name, planned.protocol] += 1
            seen = await self._attempt(planned)
        self.in_flight -= 1

    async def _attempt(self, planned: PlannedRequest) -> Seen:
        """Make one count; return what the crawler saw, inside the tunnel if one was opened."""
        started = self._loop.time()
        if planned.vendor < 0:
            self.books.places[self.plan.outside[~planned.vendor].name] += 1
            return await self._opaque(planned, "outside", NOBODY)
        vendor, identity = self.plan.vendors[planned.vendor], self._identities[planned.vendor]
        login = identity.login(started)
        visibility = vendor.visibility_of(planned.protocol)
        if visibility == "opaque":
            seen = await self._opaque(planned, vendor.name, login)
        elif visibility == "http":
            seen = await self._plain(planned, login)
        elif visibility == "tunnel":
            seen = await self._tunnel(planned, login, self._ask_tunnel)
        else:
            seen = await self._tunnel(planned, login, self._ask_socks)
        self.books.protocols[vendor.name, planned.protocol] += 1
        if seen.end == "answered":
            self.books.latency[planned.protocol].add(self._loop.time() - started)
        if seen.answer.banned:
            self.books.bans[vendor.name] += 1
            identity.renew(login)
        return seen

    async def _sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        with tracked(self._sleeping):
            await asyncio.sleep(seconds)

    async def _open(self, planned: PlannedRequest) -> Connection | Seen:
        return await self._opener.open(planned, self._wire(planned))

    def _wire(self, planned: PlannedRequest) -> Wire:
        if planned.vendor < 0:
            return self._wire_outside
        return self.books.wire[self.plan.vendors[planned.vendor].name, planned.protocol]

    def _wire_bytes(self) -> int:
        wires = (*self.books.wire.values(), self._wire_outside)
        return sum(wire.sent + wire.received for wire in wires)

    def _seconds(self, planned: PlannedRequest) -> float:
        return self._stall_seconds if planned.fault == "stall" else self._limit_seconds

    def _book(self, planned: PlannedRequest, login: Login, seen: Seen, truth: Seen | None) -> None:
        vendor = self.plan.vendors[planned.vendor]
        self._trust_real_vendor(planned, seen)
        outcome = visible_outcome(planned, seen, self.plan.timeout_after_seconds)
        self.books.counts[vendor.name, vendor.visibility_of(planned.protocol), outcome] += 1
        if pool := pool_of(vendor, planned, login):
            self.books.pools[vendor.name, pool, outcome] += 1
        if outcome == "success" and truth:
            self.books.truth[vendor.name, true_outcome(truth)] += 1
        if outcome != intended_outcome(planned):
            self.books.unexpected[vendor.name, intended_outcome(planned), outcome] += 1
            reason = unexpected_reason(seen, connected=seen.end != "refused")
            self.books.reasons[vendor.name, reason] += 1

    def _trust_real_vendor(self, planned: PlannedRequest, seen: Seen) -> None:
        """Take an answer of a vendor that is not simulated, and so has no mark, as the vendor's."""
        real = planned.vendor >= 0 and not self.plan.vendors[planned.vendor].simulated
        if seen.answer.status and real:
            seen.answer.by_vendor = True

    # One plain request

    def _kept_alive(self, vendor: int) -> Connection | None:
        idle = self._idle[vendor]
        now = self._loop.time()
        while idle:
            connection = idle.pop()
            if not connection.lost and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _plain(self, planned: PlannedRequest, login: Login) -> Seen:
        own = planned.fault in OWN_CONNECTION
        connection: Connection | Seen | None = None if own else self._kept_alive(planned.vendor)
        if connection is None:
            connection = await self._open(planned)
        if isinstance(connection, Seen):
            self._book(planned, login, connection, None)
            return connection
        self._busy.add(connection)
        request = plain_get(planned, self.plan.target.host_suffix, login)
        seen = await connection.request(request, Answer(), self._seconds(planned))
        self._busy.discard(connection)
        self._book(planned, login, seen, seen)
        connection.uses += 1
        spent = own or connection.uses >= self.plan.connection_reuse or self._stopping
        if spent or seen.end != "answered" or seen.answer.closes:
            connection.close()
        else:
            connection.idle_since = self._loop.time()
            self._idle[planned.vendor].append(connection)
        return seen

    # One CONNECT, TLS and one GET inside; or a SOCKS5 handshake that a sidecar reads

    async def _tunnel(self, planned: PlannedRequest, login: Login, ask: Ask) -> Seen:
        connection = await self._open(planned)
        if isinstance(connection, Seen):
            self._book(planned, login, connection, None)
            return connection
        self._busy.add(connection)
        seen, truth = await ask(connection, planned, login)
        self._busy.discard(connection)
        self._book(planned, login, seen, truth)
        connection.close()
        return truth or seen

    async def _ask_tunnel(
        self, connection: Connection, planned: PlannedRequest, login: Login
    ) -> tuple[Seen, Seen | None]:
        """Send a CONNECT and, if it opens a tunnel, a GET inside; return what came of each."""
        host = host_of(planned, self.plan.target.host_suffix)
        field = "" if planned.fault == "auth-challenge" else login.field
        head = (
            f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\nUser-Agent: crawler\r\n{field}\r\n"
        )
        answer = Answer(connect=True)
        seen = await connection.request(head.encode(), answer, self._seconds(planned))
        if seen.end != "answered" or not 200 <= answer.status < 300:
            return seen, None
        page = f"GET /p/{planned.size_bytes} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n"
        truth = await connection.request_inside(
            self._tls, host, page.encode(), Answer(), self._limit_seconds
        )
        return seen, truth

    async def _ask_socks(
        self, connection: Connection, planned: PlannedRequest, login: Login
    ) -> tuple[Seen, Seen | None]:
        """Do a SOCKS5 handshake and, if it opens a connection, send bytes and get some."""
        auth = self.plan.vendors[planned.vendor].socks5_auth or planned.fault == "auth-failed"
        started, seconds = self._loop.time(), self._seconds(planned)
        *handshake, payload = socks_steps(
            planned, self.plan.target.host_suffix, login if auth else None
        )
        for step in handshake:
            end = await connection.ask(step.said, step.reply, seconds)
            said = socks_outcome(step.name, step.reply.start) if end == "answered" else ""
            if said != "success":
                end = "garbage" if end == "answered" and not said else end
                return Seen(end, Answer(), self._loop.time() - started, said), None
        end = await connection.ask(payload.said, payload.reply, self._limit_seconds)
        return Seen("answered", Answer(), said="success"), Seen(end, Answer())

    # One opaque connection, in any protocol

    async def _opaque(self, planned: PlannedRequest, who: str, login: Login) -> Seen:
        connection = await self._open(planned)
        self.books.connections[who] += 1
        if isinstance(connection, Seen):
            self.books.unexpected[who, planned.protocol, connection.end] += 1
            self.books.reasons[who, unexpected_reason(connection, connected=False)] += 1
            return connection
        self._busy.add(connection)
        seen = await self._exchange(connection, planned, login)
        self._busy.discard(connection)
        connection.close()
        self.books.bytes[who, "sent"] += connection.sent
        self.books.bytes[who, "received"] += connection.received
        if seen.end != "answered":
            self.books.unexpected[who, planned.protocol, seen.end] += 1
            self.books.reasons[who, unexpected_reason(seen)] += 1
        return seen

    async def _exchange(
        self, connection: Connection, planned: PlannedRequest, login: Login
    ) -> Seen:
        """Return how an opaque exchange went, with `end` as `opaque_end` gives it."""
        if planned.protocol == "socks5":
            return Seen(await self._socks(connection, planned, login), Answer())
        request = plain_get(planned, self.plan.target.host_suffix, login)
        if planned.protocol == "http":
            seen = await connection.request(request, Answer(), self._limit_seconds)
        elif planned.protocol == "tunnel":
            outer, truth = await self._ask_tunnel(connection, planned, login)
            seen = truth or outer
        else:
            name = f"proxy.{self.plan.target.host_suffix}"
            inside = Answer(), self._limit_seconds
            seen = await connection.request_inside(self._tls, name, request, *inside)
        self._trust_real_vendor(planned, seen)
        return seen._replace(end=opaque_end(seen))

    async def _socks(self, connection: Connection, planned: PlannedRequest, login: Login) -> str:
        auth = planned.vendor >= 0 and self.plan.vendors[planned.vendor].socks5_auth
        steps = socks_steps(planned, self.plan.target.host_suffix, login if auth else None)
        for step in steps:
            end = await connection.ask(step.said, step.reply, self._limit_seconds)
            if end != "answered":
                return end
            if not step.reply.start.startswith(step.start):
                return step.otherwise
        return "answered"
