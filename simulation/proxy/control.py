"""The control endpoint: books, metrics, and the behaviour of running vendors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os

from simulation.plans import PlanError, keys_of
from simulation.proxy.connection import Shared
from simulation.proxy.plan import Behaviour
from simulation.proxy.reading import read_behaviour
from simulation.proxy.requests import body_length
from simulation.proxy.vendor import Vendor

MAX_CONTROL_BYTES = 64 * 1024
BEHAVIOUR_KEYS = keys_of(Behaviour)
CONTROL_SECONDS = 5


async def serve_control(
    shared: Shared, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(
        *(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError),
        # At the program's end Python 3.11 would print a traceback of a cancelled handler.
        asyncio.CancelledError,
    ):
        async with asyncio.timeout(CONTROL_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, *_ = (*head.decode("latin-1").split(" ", 2), "", "")
            body = b""
            size = body_length(b"\r\n" + head.lower())
            if size is None or not 0 <= size <= MAX_CONTROL_BYTES:
                fix = f"give Content-Length, at most {MAX_CONTROL_BYTES}"
                status, kind, said = _findings("413 Content Too Large", f"body: {fix}")
            else:
                if size and b"\r\nexpect: 100-continue" in head.lower():
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                if size:
                    body = await reader.readexactly(size)
                status, kind, said = control(shared, method, path, body)
            answer = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(said)}\r\n"
            writer.write(f"{answer}Connection: close\r\n\r\n{said}".encode())
            await writer.drain()
    writer.close()


def _findings(status: str, *findings: str) -> tuple[str, str, str]:
    return status, "application/json", json.dumps({"findings": findings}) + "\n"


def control(shared: Shared, method: str, path: str, body: bytes) -> tuple[str, str, str]:
    """Answer one request to the control endpoint: status, content type, content."""
    if path == "/books":
        return "200 OK", "application/json", json.dumps(shared.books.as_json())
    if path == "/metrics":
        return "200 OK", "text/plain; version=0.0.4", shared.books.as_metrics()
    if path == "/healthz":
        return "200 OK", "text/plain", "ok\n"
    if path == "/vendors" and method == "GET":
        every = {name: vendor.raw() for name, vendor in sorted(shared.vendors.items())}
        return "200 OK", "application/json", json.dumps(every) + "\n"
    if not path.startswith("/vendors/"):
        return "404 Not Found", "text/plain", "GET /books, /metrics, /healthz or /vendors\n"
    vendor = shared.vendors.get(path.removeprefix("/vendors/"))
    if not vendor:
        known = ", ".join(sorted(shared.vendors))
        return _findings("404 Not Found", f"{path}: is no vendor of the plan: use one of {known}")
    try:
        if method in ("PUT", "POST"):
            change(vendor, method, body)
        elif method == "DELETE":
            vendor.adopt(vendor.planned, BEHAVIOUR_KEYS)
        elif method != "GET":
            return _findings("405 Method Not Allowed", f"{method}: use GET, PUT, POST or DELETE")
    except PlanError as error:
        return _findings("400 Bad Request", *error.findings)
    return "200 OK", "application/json", json.dumps(vendor.raw()) + "\n"


def change(vendor: Vendor, method: str, body: bytes) -> None:
    """Change a vendor's behaviour: PUT gives all of it, POST some keys; null takes a key away.

    Raises:
        PlanError: with every finding; nothing has changed then.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PlanError([f"body: cannot be read as JSON: {error}"]) from None
    if not isinstance(given, dict):
        keys = ", ".join(BEHAVIOUR_KEYS)
        raise PlanError([f"body: {json.dumps(given)} is not an object: give {{{keys}}}"])
    touched, raw = set(BEHAVIOUR_KEYS), given
    if method == "POST":
        kept = {**vendor.raw(), **given}
        raw = {key: value for key, value in kept.items() if value is not None}
        touched = set(given)
    findings: list[str] = []
    behaviour = read_behaviour(raw, "", findings, os.environ)
    if findings:
        raise PlanError(sorted(findings))
    vendor.adopt(behaviour, touched)
