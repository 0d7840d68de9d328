"""Clients that are programs of their own: curl, wget, Scrapy, Node, Go, Java."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.clients.jobs import (
    REQUEST_SECONDS,
    Job,
    Seen,
    answer,
    as_json,
    from_json,
)
from tests.programs import run_to_end

FOLDER = Path(__file__).parent
WGET_GOT_AN_ERROR_STATUS = 8  # wget(1), exit status


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
        done = run_to_end(
            *("curl", "--disable", "--silent", *options, "--max-time", REQUEST_SECONDS),
            *("--write-out", '{"transfer":%{json},"headers":%{header_json}}'),
            *(word for url, body in zip(urls, bodies, strict=True) for word in (url, "-o", body)),
            status=None,
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
    """Yield JSON values that follow each other."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value


def wget(jobs: Sequence[Job], authority: str, ca: Path | None) -> list[list[Seen]]:
    return [[_wget(job, url, authority, ca) for url in job.urls] for job in jobs]


def _wget(job: Job, url: str, authority: str, ca: Path | None) -> Seen:
    user, _, password = job.login.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body"
        done = run_to_end(
            *("wget", "--no-config", "--quiet", "--server-response", "--tries=1"),
            *("--content-on-error", f"--timeout={REQUEST_SECONDS:.0f}"),
            f"--output-document={body}",
            f"--ca-certificate={ca}" if ca else "--no-check-certificate",
            *("-e", "use_proxy=yes", "-e", f"http_proxy=http://{authority}"),
            *("-e", f"https_proxy=http://{authority}"),
            *([f"--proxy-user={user}", f"--proxy-password={password}"] if user else []),
            url,
            status=None,
        )
        status = re.search(r"HTTP/1\.1 (\d{3})", done.stderr)
        code = int(status[1]) if status else None
        if code is None or done.returncode not in (0, WGET_GOT_AN_ERROR_STATUS):
            return Seen(code, f"wget {done.returncode}")
        headers = dict(re.findall(r"^ +([\w-]+): (.*)$", done.stderr, re.MULTILINE))
        return answer(code, body.read_bytes(), headers)


def go(jobs: Sequence[Job], authority: str, ca: Path | None) -> list[list[Seen]]:
    """Go's net/http; `go run` compiles it once and keeps the result in Go's own cache."""
    trust = {"TRUST": str(ca) if ca else "", "HOME": str(Path.home()), "GOTOOLCHAIN": "local"}
    return _program(["go", "run", str(FOLDER / "by_go.go")], jobs, authority, **trust)


def java(jobs: Sequence[Job], authority: str, ca: Path | None) -> list[list[Seen]]:
    """Java's HttpClient, from one source file."""
    words = [
        word
        for job in jobs
        for word in (f"{job.proxy}://{authority}", job.login or "-", ",".join(job.urls))
    ]
    done = run_to_end(
        # Without it Java sends no Basic login with a CONNECT.
        *("java", "-Djdk.http.auth.tunneling.disabledSchemes=", FOLDER / "ByJava.java", *words),
        env={"PATH": os.environ["PATH"], "TRUST": str(ca) if ca else ""},
    )
    found: list[list[Seen]] = [[] for _ in jobs]
    for line in done.stdout.splitlines():
        first, *headers = line.split("\t")
        number, code, error, body = (word.strip("-") for word in first.split(" "))
        told = dict(header.split("=", 1) for header in headers)
        status = None if code == "1" else int(code)
        found[int(number)].append(Seen(status, error, body, told))
    return found


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
    done = run_to_end(
        *command,
        cwd=FOLDER.parents[1],
        input=as_json(jobs, authority),
        # Nothing of the machine's own proxy settings.
        env={"PATH": os.environ["PATH"], **environment},
    )
    return from_json(done.stdout)
