"""Credentials and sticky sessions of the crawler."""

from __future__ import annotations

import base64
import math
import random
from collections import deque
from typing import Final, NamedTuple

from simulation.crawler.plan import Session, Vendor


class Login(NamedTuple):
    """What a request presents to a proxy; `field` is the header with its line end, or empty."""

    user: str
    password: str
    field: str

    @classmethod
    def basic(cls, user: str, password: str) -> Login:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        return cls(user, password, f"Proxy-Authorization: Basic {token}\r\n")


NOBODY: Final = Login("", "", "")  # for addresses of no vendor


class ActiveSession:
    """One sticky session, until its time or its requests are used up, or its exit is banned."""

    __slots__ = ("ends", "left", "login")

    def __init__(self, login: Login, left: float, ends: float) -> None:
        self.login, self.left, self.ends = login, left, ends


class Identity:
    """Chooses the login of each request to one vendor."""

    def __init__(self, vendor: Vendor, chance: random.Random) -> None:
        self._user, _, self._password = vendor.credentials.partition(":")
        self._sticky, self._chance = vendor.session, chance
        self._rotating = Login.basic(self._user, self._password)
        self._sessions: deque[ActiveSession] = deque()

    def login(self, now: float) -> Login:
        """Return the login of the next request; `now` is a clock's seconds."""
        if self._sticky is None:
            return self._rotating
        if len(self._sessions) < self._sticky.sessions:
            session = self._new(self._sticky, now)
        else:
            session = self._sessions.popleft()
            if session.left <= 0 or now >= session.ends:
                session = self._new(self._sticky, now)
        session.left -= 1
        self._sessions.append(session)
        return session.login

    def renew(self, banned: Login) -> None:
        """Stop using a login whose exit is banned."""
        for session in self._sessions:
            if session.login is banned:
                session.left = 0

    def _new(self, sticky: Session, now: float) -> ActiveSession:
        user = sticky.user.replace("{id}", f"{self._chance.getrandbits(32):08x}")
        login = Login.basic(user.replace("{user}", self._user), self._password)
        requests, seconds = sticky.requests or math.inf, sticky.seconds or math.inf
        return ActiveSession(login, requests, now + seconds)
