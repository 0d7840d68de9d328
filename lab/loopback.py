"""HTTP calls of the lab to its own parts on loopback."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from lab.processes import LabError

TIMEOUT_SECONDS = 30.0

# Without a proxy of the user's environment, which could not reach this loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get_text(url: str) -> str:
    """Return the text at `url`.

    Raises:
        LabError: no answer, or an error status.
    """
    return _read(url, urllib.request.Request(url)).decode()


def get_json(url: str) -> Any:
    """Return the JSON at `url`; errors as `get_text`, and for what is no JSON."""
    try:
        return json.loads(get_text(url))
    except ValueError as error:
        raise LabError(f"{url}: {error}") from None


def send(method: str, url: str, content: Any = None) -> None:
    """Send JSON to `url`; errors as `get_text`."""
    body = None if content is None else json.dumps(content).encode()
    _read(f"{method} {url}", urllib.request.Request(url, data=body, method=method))


def answers(url: str) -> bool:
    """Return whether `url` answers, and not with an error."""
    try:
        get_text(url)
    except LabError:
        return False
    return True


def _read(what: str, request: urllib.request.Request) -> bytes:
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            return bytes(response.read())
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"{what}: {error}") from None


def query(prometheus_url: str, expression: str, at_seconds: float | None = None) -> list[Any]:
    """Return Prometheus' instant vector for `expression`: a list of {metric, value}."""
    parameters = {"query": expression} | ({"time": str(at_seconds)} if at_seconds else {})
    url = f"{prometheus_url}/api/v1/query?{urllib.parse.urlencode(parameters)}"
    return list(get_json(url)["data"]["result"])
