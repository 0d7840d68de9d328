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
LONGEST_FORM = 1000  # that decide on a form: for a line of a megabyte the patterns take hours
# One word, a host with its port, or an image with its tag.
HARMLESS = re.compile(rf"(?=.{{0,{LONGEST}}}$) *[\w./%#*+-]*(:[0-9]{{1,5}})?,? *")
IMAGE = re.compile(rf"(?=.{{0,{LONGEST}}}$)[\w.-]+(/[\w.-]+)+:(latest|v?[0-9]+(\.[0-9]+)*)")
IPV6_AND_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](:[0-9]{1,5})?")
ORIGIN = re.compile(r"(\w+://[A-Za-z0-9.-]{1,60}(:[0-9]{1,5})?)([/?#].*)?", re.DOTALL)

_BETWEEN = r"[:;,|\s]"  # what stands between the parts of a proxy in a list
LOGIN_AFTER_PORT = re.compile(
    rf"(\[[^\]]*\]|([a-z0-9]+[:,\s]+)?[\w.-]+){_BETWEEN}+[0-9]{{1,5}}{_BETWEEN}.+", re.DOTALL
)
LOGIN_BEFORE_PORT = re.compile(
    rf"[^:;,|\s]+{_BETWEEN}[^:;,|\s]+{_BETWEEN}([\w-]+(\.[\w-]+)+{_BETWEEN}[0-9]{{1,5}})"
)
HOST_NAME = re.compile(r"(?=.*[A-Za-z])[\w-]+(\.[\w-]+)+(:[0-9]{1,5})?")
ADDRESS_AND_PORT = re.compile(
    r"([0-9]+(\.[0-9]+){3}|\[[0-9A-Fa-f:.]+\])(:|\s*[;,|]\s*|\s+)[0-9]{1,5}"
)
JSON_TEXT = re.compile(r"""\s*(\{|\[\s*([\[{"'\]]|$)|"[^"]*"\s*:)""")
HEADING = re.compile(
    r"(ip|host|hostname|address|proxy|server|gateway|endpoint|protocol|type|country|id|port|user"
    r"|username|login)([ _-]?(ip|address|host|name))?\s*[:;,|\t].*",
    re.IGNORECASE | re.DOTALL,
)
FROM_TO = re.compile(r"([0-9A-Fa-f:.]*[.:][0-9A-Fa-f:.]*)\s*[-\N{EN DASH}]\s*([0-9A-Fa-f:.]+)")
NETMASK = re.compile(r"([0-9]+(?:\.[0-9]+){3})\s*[/\s]\s*([0-9]+(?:\.[0-9]+){3})")
# Of an address, a range, ports or a host's name, however wrong. Another word may be a password.
LIKE_AN_ADDRESS = re.compile(
    r"[0-9]{1,5}([-:, ]+[0-9]{1,5})?|"
    rf"(?=.{{0,{LONGEST}}}$) *(\*\.)?[0-9]*(\.[0-9]*)+(-[0-9.]+)?(/[0-9.]*)*(:[0-9]{{1,5}})?,? *"
    rf"|(?=.{{0,{LONGEST}}}$) *(\*\.)?([\w-]+\.)+[A-Za-z]{{2,63}}(:[0-9]{{1,5}})?[.,]? *"
)


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
    return repr(text) if is_harmless(text) else described(text)


def quoted_address(text: str) -> str:
    """Return a text in quotes if it has the form of an address, a range, a host or ports.

    It is for places where an address is wanted. There a single word can be a password too: YAML
    reads `[203.0.113.5, 8080, user, password]` as a list of four. One that has itself the form of
    a host's name, as `my.password`, is quoted.
    """
    url = ORIGIN.fullmatch(text)
    host = url[1].rpartition("/")[2] if url else text
    if LIKE_AN_ADDRESS.fullmatch(host) or (host.count(":") > 1 and is_harmless(host)):
        return quoted(text)
    return of_length(text) if text else "''"


def described(text: str) -> str:
    url = ORIGIN.fullmatch(text)
    return f"a URL at {url[1]}" if url and "@" not in text else of_length(text)


def of_length(text: str) -> str:
    return f"text of {len(text)} characters" + " with a space" * bool(re.search(r"\s", text))


def without_quotes(reason: str) -> str:
    """Leave out what a YAML parser quotes of the file; a character and `<a token>` stay."""
    return re.sub(r"""(['"])(?![<\\])\S{2,}\1""", "…", reason)


Kind = Literal[
    "JSON",
    "login",
    "heading",
    "from-to",
    "netmask",
    "URL",
    "host name",
    "address and port",
    "several",
    "other",
]


def kind_of_proxy(text: str) -> Kind:
    """Say which of the forms in which vendors hand out proxies the text has, by its beginning."""
    text = text[:LONGEST_FORM]
    with suppress(ValueError):  # "2001:db8:2::/48" has the form of a login, too
        ip_network(text, strict=False)
        return "netmask" if NETMASK.fullmatch(text) else "other"
    if JSON_TEXT.match(text):
        return "JSON"
    bare = re.sub(r"""["'\ufeff]""", "", text).strip(" \t\r\n,;")
    if "@" in bare or LOGIN_AFTER_PORT.fullmatch(bare) or LOGIN_BEFORE_PORT.fullmatch(bare):
        return "login"
    forms: tuple[tuple[re.Pattern[str], Kind], ...] = (
        (HEADING, "heading"),
        (NETMASK, "netmask"),
        (FROM_TO, "from-to"),
        (HOST_NAME, "host name"),
        (ADDRESS_AND_PORT, "address and port"),
        (re.compile(r"\w+://.*", re.DOTALL), "URL"),
        (re.compile(r".*[^;,|][;,|][^;,|].*", re.DOTALL), "several"),
    )
    return next((kind for form, kind in forms if form.fullmatch(bare)), "other")
