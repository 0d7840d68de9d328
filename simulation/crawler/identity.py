"""Credentials and sticky sessions of the crawler."""

from __future__ import annotations

import base64
import itertools
import math
import random
from typing import Final, NamedTuple

from simulation.crawler.plan import Vendor

SESSION_SECONDS = 600.0  # vendors keep a sticky exit this long by default
NUMBER = "{n}"  # in a user's name: the number of a session


class Login(NamedTuple):
    """What a request presents to a proxy; `field` is the header with its line end, or empty.

    `pool` is what a sidecar calls the product of this user, or empty.
    """

    user: str
    password: str
    field: str
    pool: str = ""

    @classmethod
    def basic(cls, credentials: str, ending: str = "", pool: str = "", number: str = "") -> Login:
        """Make a login of `user:password`, with an ending and a number in the user's name."""
        user, _, password = credentials.partition(":")
        user = user.replace(NUMBER, number) + ending
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        return cls(user, password, f"Proxy-Authorization: Basic {token}\r\n", pool)


NOBODY: Final = Login("", "", "")  # for addresses of no vendor


class Identity:
    """Chooses the login of each request to one vendor.

    A sticky session has an id in its user name. It ends with its time, or when its exit is banned.
    Where a vendor has users, each request draws one, with a session of its own.
    """

    def __init__(self, vendor: Vendor, chance: random.Random) -> None:
        self._credentials, self._users = vendor.credentials, vendor.users
        self._weights = [*itertools.accumulate(user.weight for user in vendor.users)]
        self._sticky, self._chance = vendor.session == "sticky", chance
        self._login = Login.basic(vendor.credentials)
        self._ends = -math.inf if self._sticky else math.inf

    def login(self, now: float) -> Login:
        """Return the login of the next request; `now` is a clock's seconds."""
        if self._users:
            [user] = self._chance.choices(self._users, cum_weights=self._weights)
            return Login.basic(user.credentials, pool=user.pool, number=self._number())
        if now >= self._ends:
            self._login = Login.basic(self._credentials, f"-session-{self._number()}")
            self._ends = now + SESSION_SECONDS
        return self._login

    def _number(self) -> str:
        return f"{self._chance.getrandbits(32):08x}"

    def renew(self, banned: Login) -> None:
        """Stop using a session whose exit is banned."""
        if self._sticky and banned is self._login:
            self._ends = -math.inf
