"""Decides what a vendor does with a request, without a socket."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from simulation.pages import BAN_MARK, CAPTCHA_MARK, MAX_BODY_BYTES
from simulation.proxy.requests import Request

PAGE = memoryview(b"<!doctype html>" + b"x" * MAX_BODY_BYTES)
BAN_PAGE = BAN_MARK + b"<p>Unusual traffic from your network.</p>"
CAPTCHA_PAGE = CAPTCHA_MARK + b"</title><form><input name=captcha></form>"
PAGE_PATH = re.compile(rb"/p/(\d{1,9})")
PROXY_AUTHENTICATION_REQUIRED = 407
REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
AUTHENTICATE = b'Proxy-Authenticate: Basic realm="sim"\r\n'


class Action(NamedTuple):
    """What the vendor does with a request.

    `kind` is `answer`, `answer-open` (which ends with the connection), `tunnel`, or the name of a
    fault that gives no whole answer. `inside` is the fault of the target in a tunnel. `replies` are
    codes of SOCKS5, one of which it gets; else the outcome decides.
    """

    kind: str
    outcome: str
    status: bytes = b"200 OK"
    headers: bytes = b""
    body: bytes | memoryview = b""
    inside: str = ""
    replies: tuple[int, ...] = ()


# Proxy-Status is RFC 9209's; the sidecar's outcomes know both it and the headers of vendors.
PROXY_STATUS = b"Proxy-Status: sim; error=%b\r\n"
VENDOR_ERROR = b"X-BRD-Error: %b\r\nX-Sim-Error: %b\r\n"
REFUSALS: Final = {
    "vendor-error": (
        "vendor_error",
        b"502 Bad Gateway",
        PROXY_STATUS % b"destination_unavailable",
    ),
    "vendor-error-504": (
        "vendor_error",
        b"504 Gateway Timeout",
        PROXY_STATUS % b"connection_timeout",
    ),
    "vendor-error-502": ("vendor_error", b"502 Bad Gateway", VENDOR_ERROR % ((b"peer lost",) * 2)),
    "vendor-error-522": ("vendor_error", b"522 Timeout", VENDOR_ERROR % ((b"exit timeout",) * 2)),
    "vendor-error-525": (
        "vendor_error",
        b"525 No Exit Found",
        VENDOR_ERROR % ((b"no exit found",) * 2),
    ),
    "vendor-error-403": ("vendor_error", b"403 Forbidden", PROXY_STATUS % b"connection_refused"),
    "rate-limited": ("rate_limited", b"429 Too Many Requests", b"Retry-After: 1\r\n"),
    "blocked": ("blocked", b"403 Forbidden", b""),
    "blocked-999": ("blocked", b"999 Request Denied", b""),  # LinkedIn's
    "quota": ("quota_exhausted", b"402 Payment Required", b""),
    "policy": ("policy", b"403 Forbidden", PROXY_STATUS % b"http_request_denied"),
    "policy-402": (
        "policy",
        b"402 Payment Required",
        b"X-BRD-Err-Code: policy_20140\r\nX-Sim-Error: policy_20140\r\n",
    ),
    "unreachable": (
        "vendor_error",
        b"502 Bad Gateway",
        PROXY_STATUS % b"destination_ip_unroutable",
    ),
    "quota-dialect": (
        "quota_exhausted",
        b"407 Proxy Authentication Required",
        b"X-Sim-Error: traffic limit reached\r\n",
    ),
}
# RFC 1928, 6: host unreachable, connection refused.
SOCKS_REPLIES: Final = {"unreachable": (4, 5)}
# What a sidecar that reads SOCKS5 calls each reply; what is left out is the vendor's own failure.
SOCKS_OUTCOMES: Final = {
    0: "success",
    6: "timeout",
    **dict.fromkeys((2, 7, 8), "policy"),
    **dict.fromkeys((3, 4, 5), "connect_failed"),
}
SILENT: Final = {
    "reset": "reset",
    "close": "reset",
    "garbage": "bad_answer",
    "stall": "",  # the outcome follows from how long the other side waits
    "slow": "",
}
INSIDE: Final = ("target-error", "ban-page", "captcha-page", "reset-inside", "close-inside")
THROUGH_EXIT: Final = ("success", "target_error", "reset")  # outcomes that left by an exit
CUT_SHORT: Final = ("reset-inside", "close-inside")
AUTHENTICATION: Final = ("auth-failed", "auth-challenge")
FAULTS: Final = (*REFUSALS, *AUTHENTICATION, *SILENT, *INSIDE, "refused-open")
# A vendor may word these in its own way: `answers` of its behaviour.
WORDED: Final = (*REFUSALS, *AUTHENTICATION)
# Other wordings of a fault, by their names in a plan.
DIALECTS: Final = {
    "quota": {"402": "quota", "407-traffic": "quota-dialect"},
    "policy": {"402": "policy-402", "403": "policy"},
    "blocked": {
        "403": "blocked",
        "999": "blocked-999",
        "ban-page": "ban-page",
        "captcha-page": "captcha-page",
    },
    "vendor-error": {
        "502-proxy-status": "vendor-error",
        "504-proxy-status": "vendor-error-504",
        "502": "vendor-error-502",
        "522": "vendor-error-522",
        "525": "vendor-error-525",
    },
}


def page_answer(fault: str, path: bytes, missing: bool) -> Action:
    """Return the target's answer to a GET; `missing` picks 404 over 503 for its errors."""
    if fault == "target-error":
        status = b"404 Not Found" if missing else b"503 Service Unavailable"
        return Action("answer", "target_error", status, b"", b"the target is unwell\n")
    if fault == "ban-page":
        return Action("answer", "success", body=BAN_PAGE)
    if fault == "captcha-page":
        return Action("answer", "success", body=CAPTCHA_PAGE)
    asked = PAGE_PATH.match(path)
    size = min(int(asked[1]), MAX_BODY_BYTES) if asked else 1000
    if fault in CUT_SHORT:
        return Action(fault, "reset", body=PAGE[: max(size, 64)])
    return Action("answer", "success", body=PAGE[:size])


def target_answer(fault: str, request: Request, missing: bool) -> Action:
    if request.method == b"HEAD" and fault in CUT_SHORT:  # there is no body to cut
        fault = ""
    return page_answer(fault, request.path, missing)


def in_words(action: Action, status: int, headers: Mapping[str, str]) -> Action:
    """Say the same in a vendor's own words; X-Sim-Outcome tells the crawler what is meant."""
    reason = REASONS.get(status, "Refused")
    lines = {**headers, "X-Sim-Outcome": action.outcome}
    said = "".join(f"{name}: {content}\r\n" for name, content in lines.items()).encode()
    authenticate = AUTHENTICATE if status == PROXY_AUTHENTICATION_REQUIRED else b""
    return action._replace(
        kind="answer", status=f"{status} {reason}".encode(), headers=authenticate + said
    )


def action_of(fault: str, request: Request, missing: bool) -> Action:
    if fault in REFUSALS:
        outcome, status, headers = REFUSALS[fault]
        replies = SOCKS_REPLIES.get(fault, ())
        return Action("answer", outcome, status, headers, status + b"\n", replies=replies)
    if fault == "refused-open":
        outcome, status, headers = REFUSALS["vendor-error"]
        body = b"" if request.method == b"CONNECT" else status + b"\n"
        return Action("answer-open", outcome, status, headers, body)
    if fault in AUTHENTICATION:
        outcome = "auth_failed" if request.authorized else "auth_challenge"
        status = b"407 Proxy Authentication Required"
        return Action("answer", outcome, status, AUTHENTICATE, status + b"\n")
    if fault in SILENT:
        return Action(fault, SILENT[fault])
    if (fault and fault not in INSIDE) or not request.host:
        body = b"give an absolute URL, and a fault this vendor knows\n"
        outcome = "vendor_error" if request.method == b"CONNECT" else "target_error"
        return Action("answer", outcome, b"400 Bad Request", b"", body)
    if request.method == b"CONNECT":
        return Action("tunnel", "success", b"200 Connection established", inside=fault)
    return target_answer(fault, request, missing)
