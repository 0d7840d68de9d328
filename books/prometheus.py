"""Read raw samples from any Prometheus over HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import math
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from books.counters import Timestamp

TIMEOUT_SECONDS = 60.0
MOST_BYTES = 128 * 2**20
"""The most that is read of an answer, enough for a month of hours of 3,000 parts. Without it an
answer that does not end would fill the memory."""
SLICE_SECONDS = 60  # of samples in one answer, so that none is too large to hold
URL = "PROMETHEUS_URL"
TOKEN, USER, PASSWORD = "PROMETHEUS_BEARER_TOKEN", "PROMETHEUS_USERNAME", "PROMETHEUS_PASSWORD"
LONGEST_REASON = 500
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class PrometheusError(Exception):
    """No usable answer; one line with the reason and what to do."""


class Prometheus:
    """The HTTP API of one server. Credentials are never part of an address or a message.

    Each method raises PrometheusError if the server does not answer as it should.
    """

    def __init__(
        self, url: str, environment: Mapping[str, str], trust: ssl.SSLContext | None = None
    ) -> None:
        """Take the server's URL and, from the environment, a bearer token or user and password.

        Args:
            trust: for `https`; None for the machine's own CAs.

        Raises:
            PrometheusError: the URL or the credentials make no sense.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            host = parts.hostname
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise PrometheusError(f"{URL}: is no address; give one such as http://127.0.0.1:9090")
        if "@" in parts.netloc:
            raise PrometheusError(f"{URL}: holds credentials; give them in {USER} and {PASSWORD}")
        self._base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._headers = _credentials(environment)
        self._opener = opener(host, trust)

    def now(self) -> float:
        """Return the server's own time."""
        return float(self._ask("time()", None)["result"][0])

    def series(
        self, selector: str, begin: float, end: float
    ) -> Iterator[tuple[dict[str, str], dict[Timestamp, float]]]:
        """Yield every series that has samples after `begin`, up to `end`, with all of them."""
        found: dict[tuple[tuple[str, str], ...], dict[Timestamp, float]] = {}
        until = begin
        while until < end:
            seconds = min(SLICE_SECONDS, end - until)
            until += seconds
            # In whole milliseconds: a range is open at its start, so that slices do not overlap.
            window = f"[{math.ceil(seconds * 1000)}ms]"
            for series in self._ask(f"{selector}{window}", round(until, 3))["result"]:
                key = tuple(sorted(series["metric"].items()))
                found.setdefault(key, {}).update(
                    (round(at * 1000), float(value)) for at, value in series["values"]
                )
        for key, samples in found.items():
            yield dict(key), samples

    def _ask(self, expression: str, at: float | None) -> dict[str, Any]:
        parameters = {"query": expression} | ({"time": f"{at:.3f}"} if at is not None else {})
        return dict(self._data("query", urllib.parse.urlencode(parameters).encode()))

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the instant vector of an expression: [{metric, value}]."""
        return list(self._ask(expression, None)["result"])

    def get(self, path: str, **parameters: str) -> Any:
        """Return what a page of the API says; `path` is below /api/v1."""
        query = {key.replace("match", "match[]"): value for key, value in parameters.items()}
        return self._data(f"{path}?{urllib.parse.urlencode(query)}" if query else path)

    def _data(self, path: str, form: bytes | None = None) -> Any:
        request = urllib.request.Request(
            f"{self._base}/api/v1/{path}", data=form, headers=self._headers
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                answer = json.loads(_body(response))
            if answer["status"] == "success":
                return answer["data"]
            reason = answer.get("error", "no success")
        except urllib.error.HTTPError as error:
            reason = _reason(error)
        except TooMuchError:
            reason = f"answers with more than {MOST_BYTES >> 20} MiB"
        except (OSError, http.client.HTTPException) as error:
            reason = f"cannot be reached ({getattr(error, 'reason', error)}); is {URL} right?"
        except (ValueError, KeyError, TypeError, RecursionError):
            reason = "answers, but not as a Prometheus does"
        raise PrometheusError(f"{self._base}: {_one_line(str(reason))}")


class TooMuchError(Exception):
    """The answer would fill the memory."""


def _body(response: http.client.HTTPResponse) -> bytes:
    content = response.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise TooMuchError
    return content


def opener(host: str, trust: ssl.SSLContext | None = None) -> urllib.request.OpenerDirector:
    """Return what asks a host with credentials: it follows no redirect to another one."""
    # A proxy could not reach this machine's own loopback.
    direct = [urllib.request.ProxyHandler({})] if host in LOOPBACK else []
    tls = urllib.request.HTTPSHandler(context=trust)
    return urllib.request.build_opener(_NoRedirect(), tls, *direct)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would take the credentials to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _credentials(environment: Mapping[str, str]) -> dict[str, str]:
    token, user = environment.get(TOKEN, ""), environment.get(USER, "")
    if token and user:
        raise PrometheusError(f"{TOKEN} and {USER} are both set: unset one of them")
    for name in (TOKEN, USER, PASSWORD):
        if not environment.get(name, "").isprintable():  # the HTTP library would quote it
            raise PrometheusError(f"{name}: holds a line break or another such character")
    if token:
        return {"Authorization": f"Bearer {token}"}
    if user:
        both = f"{user}:{environment.get(PASSWORD, '')}"
        return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}
    return {}


def _one_line(text: str) -> str:
    """Return what a server wrote as a part of one line that no terminal obeys."""
    return "".join(each if each.isprintable() else " " for each in text[:LONGEST_REASON])


def _reason(error: urllib.error.HTTPError) -> str:
    if error.code in (401, 403):
        return f"answers {error.code}: set {TOKEN}, or {USER} and {PASSWORD}, to what it takes"
    if 300 <= error.code < 400:
        return f"redirects ({error.code}): give the address it leads to as {URL}"
    try:
        said = json.load(error).get("error", "")
    except (ValueError, AttributeError):
        said = ""
    return f"answers {error.code} {said or error.reason}"
