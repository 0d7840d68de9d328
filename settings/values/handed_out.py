"""What vendors hand out where one address or range is wanted, and what to write instead."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address, ip_network, summarize_address_range

from settings.masking import FROM_TO, HOST_NAME, LONGEST_FORM, NETMASK, kind_of_proxy

MOST_BLOCKS = 6  # that a message lists in place of "from-to"

CHANGE_IT = "and change the password if others can read this file"
REFUSALS = {
    "login": f"is a proxy with its login; write the address alone, its port under httpPorts, "
    f"{CHANGE_IT}",
    "JSON": "is JSON; write each address or range by itself, without brackets, quotes and logins",
    "heading": "is the heading of a table; remove it, and write each address or range by itself",
    "URL": "is a URL; write its address alone, or its name under hosts",
    "host name": "is a host name, whose addresses change; write it under hosts, like "
    "hosts: [gw.vendor.example]",
    "address and port": "is an address with a port; write the address alone, the port is for "
    "httpPorts",
    "several": "holds several values; write each address or range by itself",
}
# "203.0.113.5:8080:…": which characters stand between the parts, so that `cut` can part them.
ADDRESS_FIRST = re.compile(r"[0-9]+(?:\.[0-9]+){3}([:;,|\t])[0-9]+\1")
HOST_FIRST = re.compile(HOST_NAME.pattern.removesuffix("(:[0-9]{1,5})?") + r"[:;,|\s]+[0-9]+\b.*")


def refusal_of(text: str) -> str | None:
    """Return "reason; remedy" for a form of which the remedy is known, else None."""
    text = text[:LONGEST_FORM]
    kind = kind_of_proxy(text)
    if kind == "login":
        return _of_login(text)
    if kind == "netmask":
        return _of_netmask(text)
    if kind == "from-to":
        return _of_span(text)
    return REFUSALS.get(kind)


def _of_login(text: str) -> str:
    if HOST_FIRST.fullmatch(text) and not re.match(r"[0-9.]+\b[:;,|\s]", text):
        return f"is a proxy with its login; write its name and ports under hosts, {CHANGE_IT}"
    if first := ADDRESS_FIRST.match(text):
        option = {"\t": "", ":": "-d: ", ",": "-d, "}.get(first[1], f"-d'{first[1]}' ")
        return REFUSALS["login"].replace(
            "alone", f"alone (for a whole file run `cut {option}-f1`)", 1
        )
    return REFUSALS["login"]


def _of_netmask(text: str) -> str | None:
    found = NETMASK.fullmatch(text)
    with suppress(ValueError):
        if found:
            network = ip_network(f"{found[1]}/{found[2]}", strict=False)
            return f"is written with a netmask; write {network}"
    return None


def _of_span(text: str) -> str | None:
    found = FROM_TO.fullmatch(text.strip())
    if not found:
        return None
    first, last = found[1], found[2]
    if "." not in last and ":" not in last:  # 10.0.0.1-20
        last = re.sub(r"[^.:]*$", last, first, count=1)
    with suppress(ValueError, TypeError):
        blocks = [str(one) for one in summarize_address_range(ip_address(first), ip_address(last))]
        words = [one.removesuffix("/32").removesuffix("/128") for one in blocks]
        if len(blocks) <= MOST_BLOCKS:
            return f"is written from-to; write {', '.join(words)}"
        return (
            f"is written from-to, and needs {len(blocks)} CIDR blocks; write the blocks that the "
            f"vendor names, or these {len(blocks)}, from {words[0]} to {words[-1]}"
        )
    return "is written from-to, but not from a lower address to a higher one; write CIDR blocks"
