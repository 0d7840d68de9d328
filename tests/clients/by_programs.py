"""Clients that are programs of their own: curl, Scrapy, Node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.clients.jobs import (
    CLIENT_SECONDS,
    REQUEST_SECONDS,
    Job,
    Seen,
    answer,
    as_json,
    from_json,
)

FOLDER = Path(__file__).parent


def curl(
    jobs: Sequence[Job], authority: str, ca: Path | None, options: Sequence[str] = ()
) -> list[list[Seen]]:
    trust = ["--cacert", str(ca), "--proxy-cacert", str(ca)] if ca else ["--insecure"]
    return [
        _curl(job.urls, ["--noproxy", "", "--proxy", job.proxy_url(authority), *trust, *options])
        for job in jobs
    ]


def curl_http2(urls: Sequence[str]) -> list[Seen]:
    """Speak HTTP/2 in clear from the first byte, without a proxy.

    Each page has a connection of its own: curl 7.88 cannot ask for two on one.
    """
    options = ["--noproxy", "*", "--http2-prior-knowledge"]
    return [page for url in urls for page in _curl([url], options)]


def _curl(urls: Sequence[str], options: Sequence[str]) -> list[Seen]:
    with tempfile.TemporaryDirectory() as folder:
        bodies = [Path(folder) / str(number) for number, _ in enumerate(urls)]
        done = subprocess.run(
            [
                *("curl", "--disable", "--silent", *options, "--max-time", str(REQUEST_SECONDS)),
                *("--write-out", '{"transfer":%{json},"headers":%{header_json}}'),
                *(
                    word
                    for url, body in zip(urls, bodies, strict=True)
                    for word in (url, "-o", str(body))
                ),
            ],
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=False,
        )
        return [
            _curl_page(told, body) for told, body in zip(_several(done.stdout), bodies, strict=True)
        ]


def _curl_page(told: Any, body: Path) -> Seen:
    transfer = told["transfer"]
    if transfer["exitcode"]:
        code = transfer["http_code"] or transfer["http_connect"] or None
        return Seen(code, f"curl {transfer['exitcode']}")
    headers = {name: ", ".join(values) for name, values in told["headers"].items()}
    return answer(transfer["http_code"], body.read_bytes() if body.exists() else b"", headers)


def _several(text: str) -> Iterator[Any]:
    """JSON values one behind the other."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value


def scrapy(jobs: Sequence[Job], authority: str, ca: Path) -> list[list[Seen]]:
    command = [sys.executable, "-m", "tests.clients.by_scrapy"]
    return _program(command, jobs, authority, SSL_CERT_FILE=str(ca))


def node(jobs: Sequence[Job], authority: str, ca: Path) -> list[list[Seen]]:
    """Node's own http and https, with the agents that most crawlers give them."""
    command = ["node", str(FOLDER / "by_node.mjs"), "agents"]
    return _program(command, jobs, authority, NODE_EXTRA_CA_CERTS=str(ca))


def undici(jobs: Sequence[Job], authority: str, ca: Path) -> list[list[Seen]]:
    """`fetch` with a ProxyAgent, which opens a tunnel for plain HTTP too."""
    command = ["node", str(FOLDER / "by_node.mjs"), "undici"]
    return _program(command, jobs, authority, NODE_EXTRA_CA_CERTS=str(ca))


def _program(
    command: Sequence[str], jobs: Sequence[Job], authority: str, **environment: str
) -> list[list[Seen]]:
    done = subprocess.run(
        command,
        cwd=FOLDER.parents[1],
        input=as_json(jobs, authority),
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        # Nothing of the machine's own proxy settings.
        env={"PATH": os.environ["PATH"], **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return from_json(done.stdout)
