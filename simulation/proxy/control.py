"""The control endpoint: books, metrics, and the behaviour of running vendors."""

from __future__ import annotations

import json
import os

from simulation.endpoint import METRICS_KIND, Page
from simulation.plans import PlanError, keys_of
from simulation.proxy.connection import Shared
from simulation.proxy.plan import Behaviour
from simulation.proxy.reading import read_behaviour
from simulation.proxy.vendor import Vendor

BEHAVIOUR_KEYS = keys_of(Behaviour)


def control_page(shared: Shared, method: str, path: str, body: bytes) -> Page:
    """Answer one request to the control endpoint."""
    if path == "/books":
        return Page(json.dumps(shared.books.as_json()))
    if path == "/metrics":
        return Page(shared.books.as_metrics(), METRICS_KIND)
    if path == "/healthz":
        return Page("ok\n", "text/plain")
    if not path.startswith("/vendors/"):
        known = "GET /books, /metrics, /healthz or /vendors/NAME\n"
        return Page(known, "text/plain", "404 Not Found")
    vendor = shared.vendors.get(path.removeprefix("/vendors/"))
    if not vendor:
        known = ", ".join(sorted(shared.vendors))
        return _findings("404 Not Found", f"{path}: is no vendor of the plan: use one of {known}")
    try:
        if method == "POST":
            change(vendor, body)
        elif method == "DELETE":
            vendor.adopt(vendor.planned, BEHAVIOUR_KEYS)
        elif method != "GET":
            return _findings("405 Method Not Allowed", f"{method}: use GET, POST or DELETE")
    except PlanError as error:
        return _findings("400 Bad Request", *error.findings)
    return Page(json.dumps(vendor.raw()) + "\n")


def _findings(status: str, *findings: str) -> Page:
    return Page(json.dumps({"findings": findings}) + "\n", status=status)


def change(vendor: Vendor, body: bytes) -> None:
    """Change some keys of a vendor's behaviour; null takes a key away.

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
    kept = {**vendor.raw(), **given}
    raw = {key: value for key, value in kept.items() if value is not None}
    findings: list[str] = []
    behaviour = read_behaviour(raw, "", findings, os.environ)
    if findings:
        raise PlanError(sorted(findings))
    vendor.adopt(behaviour, given.keys())
