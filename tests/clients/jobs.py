"""The jobs of a client, and what it reports of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

USER, PASSWORD = "crawler", "hush"
RIGHT, WRONG, NOBODY = f"{USER}:{PASSWORD}", f"{USER}:guess", ""

TOLD_HEADERS = ("proxy-authenticate", "proxy-status", "retry-after", "x-sim-error")
"""Headers of an answer that are compared."""

CLIENT_SECONDS = 120.0
REQUEST_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """Pages that one session of a client fetches one after another, keeping its connections."""

    urls: tuple[str, ...]
    login: str = RIGHT
    """"user:password", or "" for none."""
    proxy: str = "http"
    """The proxy's protocol: http, https or socks5h (where the proxy resolves names)."""

    def proxy_url(self, authority: str) -> str:
        return f"{self.proxy}://{self.login and self.login + '@'}{authority}"


@dataclass(frozen=True)
class Seen:
    """What a client reports of one page: an answer, or the client's name for an error.

    `code` is the status, of the page or of the refused CONNECT, as far as the client tells it.
    """

    code: int | None
    error: str = ""
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


Client = Callable[[Sequence[Job], str, Any], list[list[Seen]]]
"""Does the jobs at the proxy of an authority, trusting a CA's file; a list of pages for each.

Those that are called with None instead of the file verify nothing.
"""


def answer(code: int, body: bytes, headers: Mapping[str, str]) -> Seen:
    told = {name.lower(): value for name, value in headers.items()}
    return Seen(
        code,
        body=hashlib.sha256(body).hexdigest(),
        headers={name: told[name] for name in TOLD_HEADERS if name in told},
    )


def as_json(jobs: Sequence[Job], authority: str) -> str:
    """Return jobs as JSON, for a client that is a program."""
    return json.dumps([{**asdict(job), "proxy": job.proxy_url(authority)} for job in jobs])


def from_json(text: str) -> list[list[Seen]]:
    """Read what such a program prints: for each job a list of {code, error, body, headers}."""
    found: list[list[dict[str, Any]]] = json.loads(text)
    return [[Seen(**page) for page in job] for job in found]
