"""What a vendor does with each request by its behaviour."""

from __future__ import annotations

import ipaddress
import math
import random
import time
from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from simulation.plans import keys_of
from simulation.proxy.answers import SILENT, THROUGH_EXIT, Action, action_of, in_words
from simulation.proxy.books import Books
from simulation.proxy.customers import Customer, read_login
from simulation.proxy.plan import SESSION_SECONDS, Behaviour, Plan
from simulation.proxy.requests import Request, fault_of

EXITS = ipaddress.ip_network("198.18.0.0/16")  # kept for tests by RFC 2544
MAX_SESSIONS = 65_536  # of a vendor; the oldest ends when there is another


class Bucket:
    """A token bucket: `rate` tokens a second come back, up to a second's worth and at least one."""

    __slots__ = ("_at", "_rate", "_room", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._at = rate, now
        self._tokens = self._room = max(1.0, rate)

    def wait(self, now: float) -> float:
        """Return the seconds until there is a token; 0 if there is one."""
        self._tokens = min(self._room, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (1 - self._tokens) / self._rate)

    def take(self) -> None:
        self._tokens -= 1


class Session(NamedTuple):
    exit: int
    until: float


class Vendor:
    """One vendor: its behaviour, and the sessions, rates and bytes that this needs."""

    def __init__(self, name: str, plan: Plan, books: Books) -> None:
        self.name, self.planned = name, plan.vendors.get(name)
        self.signature = b"X-Sim-Vendor: %b\r\n" % name.encode()
        self.bytes = 0  # of all its sockets
        self._said: Counter[tuple[str, bool]] = Counter()  # wordings, which come in turn
        self._books, self._slow_seconds = books, plan.slow_seconds
        # Each has random numbers of its own, so that none changes what another draws.
        self._exit_chance, self._fault_chance, self._latency_chance = (
            random.Random(f"{plan.seed} {name} {what}") for what in ("exit", "fault", "latency")
        )
        self.adopt(self.planned, keys_of(Behaviour))

    def adopt(self, behaviour: Behaviour | None, touched: Collection[str]) -> None:
        """Behave so from the next request on; a quota or sessions that are `touched` begin anew."""
        self.behaviour = behaviour if behaviour and behaviour.raw else None
        if "limits" in touched:
            rate = behaviour.limits.requests_per_second if behaviour else None
            self._bucket = Bucket(rate, time.monotonic()) if rate else None
            self._bytes_before_quota = self.bytes
        if "exits" in touched:
            self._sessions: dict[tuple[str, str], Session] = {}

    def raw(self) -> Mapping[str, object]:
        return self.behaviour.raw if self.behaviour else {}

    def decide(
        self, request: Request, customer: Customer | None, *, missing: bool
    ) -> tuple[Action, float]:
        """Return what is done with a request, and after how many seconds.

        `customer` is None unless SOCKS5 has named one.
        """
        behaviour, fault = self.behaviour, fault_of(request.host)
        if behaviour:
            customer = customer or read_login(behaviour, request.authorization)
            now = time.monotonic()
            session = self._session(behaviour, customer, now)
            if refusal := self._refusal(behaviour, request, customer, now):
                return refusal, 0.0
            fault = fault or self._draw_fault(behaviour)
            fault = behaviour.dialect.get(fault, fault)
        slow = fault == "slow"
        action = self._answer("" if slow else fault, request, missing=missing)
        seconds = self._slow_seconds if slow else 0.0
        if not behaviour or action.kind in SILENT:
            return action, seconds
        if behaviour.latency_seconds:
            seconds += behaviour.latency_seconds.draw(self._latency_chance)
        if behaviour.exits and request.host and action.outcome in THROUGH_EXIT:
            chosen = session.exit if session else self._exit_chance.randrange(behaviour.exits.count)
            self._books.exits[self.name].add(chosen)
            action = action._replace(headers=b"X-Sim-Exit: %b\r\n" % exit_address(chosen))
        return action, seconds

    def _answer(self, fault: str, request: Request, *, missing: bool = False) -> Action:
        """Return what a fault gives, in the vendor's own words if it has any for such a request."""
        action = action_of(fault, request, missing)
        connect = request.method == b"CONNECT"
        worded = self.behaviour.answers.get(fault, ()) if self.behaviour else ()
        fitting = [each for each in worded if each.connect in (None, connect)]
        if not fitting:
            return action
        self._said[fault, connect] += 1
        said = fitting[self._said[fault, connect] % len(fitting)]
        return in_words(action, said.status, said.headers)

    def _refusal(
        self, behaviour: Behaviour, request: Request, customer: Customer, now: float
    ) -> Action | None:
        if customer.refusal:
            return self._answer(customer.refusal, request)
        if self._bucket and (wait := self._bucket.wait(now)):
            action = self._answer("rate-limited", request)
            if "rate-limited" in behaviour.answers:
                return action
            return action._replace(headers=b"Retry-After: %d\r\n" % max(1, math.ceil(wait)))
        quota = behaviour.limits.quota_bytes
        if quota is not None and self.bytes - self._bytes_before_quota >= quota:
            return self._answer(behaviour.dialect.get("quota", "quota"), request)
        if self._bucket:
            self._bucket.take()
        return None

    def _session(self, behaviour: Behaviour, customer: Customer, now: float) -> Session | None:
        """Return the customer's session, or a new one with another exit if it has ended."""
        if not customer.session or customer.refusal:
            return None
        key = (customer.user, customer.session)
        held = self._sessions.get(key)
        if held and now < held.until:
            return held
        self._sessions.pop(key, None)
        if len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        exits = behaviour.exits
        count = exits.count if exits else 1
        chosen = self._exit_chance.randrange(count - 1 if held and count > 1 else count)
        session = Session(
            exit=chosen + 1 if held and count > 1 and chosen >= held.exit else chosen,
            until=now + (exits.session_seconds if exits else SESSION_SECONDS),
        )
        self._sessions[key] = session
        self._books.sessions[self.name] += 1
        return session

    def _draw_fault(self, behaviour: Behaviour) -> str:
        if not behaviour.faults:
            return ""
        drawn = self._fault_chance.random()
        return next((fault for until, fault in behaviour.faults if drawn < until), "")


def exit_address(number: int) -> bytes:
    return str(EXITS[number]).encode()
