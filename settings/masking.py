"""Masks credentials in values before they are printed.

Vendors sell proxies as lines like `203.0.113.5:8080:user:password` or
`http://user:password@203.0.113.5:8080`. Such a line, pasted in the wrong place, must not reach
a terminal or the log of a CI job.
"""

from __future__ import annotations

import re
from typing import Literal

LOGIN_BEFORE_HOST = re.compile(r"^(\w+://)?.*@(?=.)", re.DOTALL)
LOGIN_AFTER_PORT = re.compile(
    r"^((?:\w+://)?(?:\*\*\*@)?(?:\[[^\]]*\]|[\w.-]+)[:;,|\s][0-9]{1,5})[:;,|\s].+$", re.DOTALL
)
LOGIN_BEFORE_PORT = re.compile(r"^[^:;,|\s/]+[:;,|][^:;,|\s/]+[:;,|]([\w.-]+[:;,|][0-9]{1,5})$")
HOST_NAME = re.compile(r"(?=.*[A-Za-z])[\w-]+(\.[\w-]+)+(:[0-9]{1,5})?")
ADDRESS_AND_PORT = re.compile(r"([0-9]+(\.[0-9]+){3}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


def masked(text: str) -> str:
    """Return the text with everything that may be a user name or a password as `***`."""
    text = LOGIN_BEFORE_PORT.sub(r"***:\1", text)
    text = LOGIN_BEFORE_HOST.sub(r"\1***@", text)
    return LOGIN_AFTER_PORT.sub(r"\1:***", text)


def kind_of_proxy(text: str) -> Literal["login", "host name", "address and port", "other"]:
    """Say which of the forms in which vendors sell proxies the text has."""
    if masked(text) != text:
        return "login"
    if HOST_NAME.fullmatch(text):
        return "host name"
    return "address and port" if ADDRESS_AND_PORT.fullmatch(text) else "other"
