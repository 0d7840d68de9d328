"""Decides which values a message may quote.

Vendors sell proxies as lines like `203.0.113.5:8080:user:password`, and webhooks carry a token in
their path. Such a text, pasted in the wrong place, must not reach a terminal or the log of a CI
job. So only harmless text is quoted, and all other is described.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_network
from typing import Literal

LONGEST = 60  # characters of a text that is quoted
# One word, a host with its port, or an image with its tag.
HARMLESS = re.compile(rf"(?=.{{0,{LONGEST}}}$) *[\w./%#*+-]*(:[0-9]{{1,5}})?,? *")
IMAGE = re.compile(rf"(?=.{{0,{LONGEST}}}$)[\w.-]+(/[\w.-]+)+:(latest|v?[0-9]+(\.[0-9]+)*)")
IPV6_AND_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](:[0-9]{1,5})?")
ORIGIN = re.compile(r"(\w+://[A-Za-z0-9.-]{1,60}(:[0-9]{1,5})?)([/?#].*)?", re.DOTALL)

LOGIN_AFTER_PORT = re.compile(
    r"(\[[^\]]*\]|([a-z0-9]+[:,\s]+)?\"?[\w.-]+)\"?[:;,|\s]\"?[0-9]{1,5}\"?[:;,|\s].+", re.DOTALL
)
LOGIN_BEFORE_PORT = re.compile(r"[^:;,|\s]+[:;,|][^:;,|\s]+[:;,|]([\w.-]+[:;,|][0-9]{1,5})")
HOST_NAME = re.compile(r"(?=.*[A-Za-z])[\w-]+(\.[\w-]+)+(:[0-9]{1,5})?")
ADDRESS_AND_PORT = re.compile(r"([0-9]+(\.[0-9]+){3}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


def is_harmless(text: str) -> bool:
    """Whether a text can hold no user name with a password, and no token of a URL."""
    if HARMLESS.fullmatch(text) or IMAGE.fullmatch(text):
        return True
    match = IPV6_AND_PORT.fullmatch(text)
    with suppress(ValueError):
        # A zone ("::1%eth0") is free text.
        return "%" not in text and bool(ip_network(match[1] if match else text, strict=False))
    url = ORIGIN.fullmatch(text)
    return url is not None and "@" not in text and not url[3]


def quoted(text: str) -> str:
    """Return a text in quotes if it is harmless, else what can be said of it without its words."""
    if is_harmless(text):
        return repr(text)
    url = ORIGIN.fullmatch(text)
    if url and "@" not in text:
        return f"a URL at {url[1]}"
    return f"text of {len(text)} characters" + " with a space" * bool(re.search(r"\s", text))


def without_quotes(reason: str) -> str:
    """Leave out what a YAML parser quotes of the file; a character and `<a token>` stay."""
    return re.sub(r"""(['"])(?![<\\])\S{2,}\1""", "…", reason)


def kind_of_proxy(text: str) -> Literal["login", "host name", "address and port", "other"]:
    """Say which of the forms in which vendors sell proxies the text has."""
    if "@" in text or LOGIN_AFTER_PORT.fullmatch(text) or LOGIN_BEFORE_PORT.fullmatch(text):
        with suppress(ValueError):  # "2001:db8:2::/48" has the form of a login, too
            ip_network(text, strict=False)
            return "other"
        return "login"
    if HOST_NAME.fullmatch(text):
        return "host name"
    return "address and port" if ADDRESS_AND_PORT.fullmatch(text) else "other"
