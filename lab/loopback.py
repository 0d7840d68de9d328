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


def get_json(url: str) -> Any:
    """Return the JSON at `url`.

    Raises:
        LabError: no answer, an error status, or no JSON.
    """
    try:
        with _OPENER.open(url, timeout=TIMEOUT_SECONDS) as response:
            return json.load(response)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise LabError(f"{url}: {error}") from None


def send(method: str, url: str, content: Any = None) -> None:
    """Send JSON to `url`; errors as `get_json`."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data=body, method=method)
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS):
            return
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"{method} {url}: {error}") from None


def get_text(url: str) -> str:
    """Return the text at `url`; errors as `get_json`."""
    try:
        with _OPENER.open(url, timeout=TIMEOUT_SECONDS) as response:
            return str(response.read().decode())
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"{url}: {error}") from None


def answers(url: str) -> bool:
    """Return whether `url` answers 200."""
    try:
        with _OPENER.open(url, timeout=TIMEOUT_SECONDS) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def query(prometheus_url: str, expression: str, at_seconds: float | None = None) -> list[Any]:
    """Return Prometheus' instant vector for `expression`: a list of {metric, value}."""
    parameters = {"query": expression} | ({"time": str(at_seconds)} if at_seconds else {})
    url = f"{prometheus_url}/api/v1/query?{urllib.parse.urlencode(parameters)}"
    answer = get_json(url)
    return list(answer["data"]["result"])
