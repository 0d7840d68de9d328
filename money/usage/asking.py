"""Ask a vendor's HTTP API for JSON. No credential and no answer is ever part of a message."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from books.prometheus import LOOPBACK, opener
from money.usage.account import URL
from money.usage.answers import Answer
from money.usage.figures import UsageError

SOCKET_SECONDS = 30.0
ANSWER_SECONDS = 120.0
"""Of a whole answer: a vendor that sends a byte now and then must not hold the exporter."""

MOST_BYTES = 16 * 2**20
"""A month of hours is below 1 MB; a page without end must not fill the memory."""


def basic(login: str) -> str:
    """Return the header Authorization for "user:password"."""
    return f"Basic {base64.b64encode(login.encode()).decode()}"


class Client:
    """One vendor's API: TLS is verified, redirects are refused, and calls are spaced.

    Each method raises UsageError if there is no answer, or if it is no JSON.
    """

    def __init__(
        self, vendor: str, url: str, authorization: str, *, pause_seconds: float = 0.0
    ) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:  # brackets without an address in them
            parts = urllib.parse.urlsplit("")
        schemes = ("http", "https") if parts.hostname in LOOPBACK else ("https",)
        if not parts.hostname or parts.scheme not in schemes:
            raise UsageError(f"{URL}: is no address; give one that begins with https://")
        if "@" in parts.netloc or parts.query:
            raise UsageError(f"{URL}: holds credentials or a query; give the address alone")
        self.vendor = vendor
        self.authorization = authorization
        self._base = url.rstrip("/")
        self._pause, self._asked = pause_seconds, False
        self._opener = opener(parts.hostname)

    def get(self, path: str, **parameters: str) -> Answer:
        """Ask by GET; the parameters become the query."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        return self._ask(path, urllib.request.Request(f"{self._base}{path}{query}"))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Ask by POST, with a JSON body."""
        request = urllib.request.Request(
            f"{self._base}{path}", json.dumps(body or {}).encode(), method="POST"
        )
        request.add_header("Content-Type", "application/json")
        return self._ask(path, request)

    def _ask(self, path: str, request: urllib.request.Request) -> Answer:
        if self._asked and self._pause:
            time.sleep(self._pause)
        self._asked = True
        request.add_header("Authorization", self.authorization)
        request.add_header("Accept", "application/json")
        try:
            with self._opener.open(request, timeout=SOCKET_SECONDS) as response:
                return Answer(self.vendor, parsed(_body(response)), path)
        except urllib.error.HTTPError as error:
            reason = _refusal(error.code)
            error.close()
        except (TooMuchError, NoJsonError) as error:
            reason = str(error)
        except (OSError, http.client.HTTPException) as error:
            # Only the kind: a library's text may quote what was sent.
            cause = getattr(error, "reason", error)
            reason = f"cannot be reached ({type(cause).__name__}); try again, or is {URL} right?"
        except ValueError:
            # The library's text quotes the header with the credential. A vendor's own token, which
            # its login answers with, can hold a line break too.
            reason = f"cannot be asked: the token, or {URL}, holds a character that none can hold"
        raise UsageError(f"{self.vendor}: {path}: {reason}")


class TooMuchError(OSError):
    """The answer has no end, or takes too long."""


class NoJsonError(ValueError):
    """The answer is something else."""


def _body(response: http.client.HTTPResponse) -> bytes:
    until = time.monotonic() + ANSWER_SECONDS
    found = bytearray()
    while chunk := response.read1(2**16):
        found += chunk
        if len(found) > MOST_BYTES:
            raise TooMuchError(f"answers with more than {MOST_BYTES >> 20} MiB; is {URL} right?")
        if time.monotonic() > until:
            raise TooMuchError(f"takes longer than {ANSWER_SECONDS:.0f} s; try again later")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) != len(found):
        raise TooMuchError("breaks off within its answer; try again")
    return bytes(found)


def parsed(body: bytes) -> Any:
    """Read JSON, numbers as `Decimal`.

    Raises:
        NoJsonError: it is none; the message quotes nothing of it.
    """
    text = body.decode("utf-8", errors="replace").lstrip("\ufeff \r\n\t")
    if text.startswith("<"):
        raise NoJsonError(f"answers with a page of HTML, not with JSON; is {URL} right?")
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError):  # 1e9999999999999999999 is no Decimal
        raise NoJsonError("answers with what is no JSON, or half of one; try again") from None


def _no_number(_: str) -> Any:
    raise ValueError


def _refusal(status: int) -> str:
    if status in (401, 403, 407):
        return f"answers {status}: the credentials are wrong, or may not read the usage"
    if status == 429:
        return "answers 429, was asked too often; try again in some minutes"
    if 300 <= status < 400:
        return f"redirects ({status}), and credentials must not follow; set {URL} to where it leads"
    return f"answers {status}; try again later"
