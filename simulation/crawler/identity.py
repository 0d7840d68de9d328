"""Credentials and sticky sessions of the crawler."""

from __future__ import annotations

import base64
import math
import random
from typing import Final, NamedTuple

from simulation.crawler.plan import Vendor

SESSION_SECONDS = 600.0  # vendors keep a sticky exit this long by default


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


class Identity:
    """Chooses the login of each request to one vendor.

    A sticky session has an id in its user name. It ends with its time, or when its exit is banned.
    """

    def __init__(self, vendor: Vendor, chance: random.Random) -> None:
        self._user, _, self._password = vendor.credentials.partition(":")
        self._sticky, self._chance = vendor.session == "sticky", chance
        self._login = Login.basic(self._user, self._password)
        self._ends = -math.inf if self._sticky else math.inf

    def login(self, now: float) -> Login:
        """Return the login of the next request; `now` is a clock's seconds."""
        if now >= self._ends:
            user = f"{self._user}-session-{self._chance.getrandbits(32):08x}"
            self._login = Login.basic(user, self._password)
            self._ends = now + SESSION_SECONDS
        return self._login

    def renew(self, banned: Login) -> None:
        """Stop using a session whose exit is banned."""
        if self._sticky and banned is self._login:
            self._ends = -math.inf
