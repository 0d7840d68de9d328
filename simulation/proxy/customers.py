"""Reads credentials and sessions out of a login."""

from __future__ import annotations

import base64
import fnmatch
import hmac
import re
from typing import NamedTuple

from simulation.proxy.plan import Behaviour, Listen

SESSION_OPTION = re.compile(r"-sess(?:ion|id)-([A-Za-z0-9_.]{1,64})")


class Customer(NamedTuple):
    """A customer; `refusal` is the fault that wrong credentials get, or empty."""

    refusal: str
    user: str
    session: str  # empty for a request without a session


def read_login(behaviour: Behaviour, authorization: bytes) -> Customer:
    """Read the value of Proxy-Authorization, which is empty if there was none."""
    if not authorization:
        return Customer("auth-challenge" if behaviour.credentials else "", "", "")
    return check_login(behaviour, *basic_login(authorization))


def basic_login(authorization: bytes) -> tuple[bytes, bytes]:
    """Return user and password of a header's value; both are empty if it holds none."""
    scheme, _, encoded = authorization.partition(b" ")
    try:
        login = (
            base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == b"basic" else b""
        )
    except ValueError:
        login = b""
    user, _, password = login.partition(b":")
    return user, password


def pool_of(listen: Listen, user: bytes) -> str:
    """Return the product that a user buys; the place's pool where no pattern fits."""
    name = user.decode("latin-1")
    for product in listen.products:
        if name and fnmatch.fnmatchcase(name, product.user):
            return product.name
    return listen.pool


def check_login(behaviour: Behaviour, user: bytes, password: bytes) -> Customer:
    """Check a login. Options follow the name: `user-country-de-session-abc123`."""
    given = user.decode("utf-8", "replace")
    found = SESSION_OPTION.search(given)
    session = found[1] if found else ""
    if not behaviour.credentials:
        return Customer("", given, session)
    fitting = [
        known for known in behaviour.credentials if given == known or given.startswith(known + "-")
    ]
    known = max(fitting, key=len, default="")
    right = behaviour.passwords.get(known, "").encode()
    good = bool(known) and hmac.compare_digest(password, right)
    return Customer("" if good else "auth-failed", known, session)
