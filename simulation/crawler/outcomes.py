"""How an exchange ended, and the outcome that a sidecar and a crawler see in it."""

from __future__ import annotations

from typing import Final, NamedTuple

from simulation.crawler.faults import FAULTS, INSIDE, SOCKS_FAULTS
from simulation.crawler.http1 import Answer
from simulation.crawler.identity import Login
from simulation.crawler.plan import Retries, Vendor
from simulation.crawler.sequence import PlannedRequest

OUTCOMES: Final = frozenset((*FAULTS.values(), *SOCKS_FAULTS.values(), "success"))
PROXY_AUTHENTICATION_REQUIRED, BAD_GATEWAY = 407, 502
SOCKS_VERSION, SOCKS_LOGIN_VERSION, SOCKS_NO_METHOD = 5, 1, 0xFF
# RFC 1928, 6: the reply's code. The others are the vendor's own failures.
SOCKS_OUTCOMES: Final = {
    0: "success",
    6: "timeout",
    **dict.fromkeys((2, 7, 8), "policy"),
    **dict.fromkeys((3, 4, 5), "connect_failed"),
}
NO_SOCKS_USER: Final = ("auth-challenge", "auth-failed", "dead")
# What a vendor that refuses by its own rules says: RFC 9209's errors, and Bright Data's code.
POLICY_ERRORS: Final = (
    b"error=http_request_denied",
    b"error=destination_ip_prohibited",
    b"policy_",
)


class Seen(NamedTuple):
    """How an exchange ended.

    `end` is answered, garbage (not HTTP), lost (the other side ended the connection), left (the
    crawler did, after `seconds`), refused, or local (this machine ran out of ports or files). An
    opaque exchange may also end as auth_failed, and any answer but a success there is refused.
    `said` is the outcome that an answer of SOCKS5 says, where a sidecar reads it.
    """

    end: str
    answer: Answer
    seconds: float = 0.0
    said: str = ""


def status_outcome(status: int, error: bytes | None, *, connect: bool, authorized: bool) -> str:
    """Return the outcome of an answered request; the simulated vendors' dialect comes first."""
    if status == PROXY_AUTHENTICATION_REQUIRED and error and b"traffic" in error:
        return "quota_exhausted"
    if status == PROXY_AUTHENTICATION_REQUIRED:
        return "auth_failed" if authorized else "auth_challenge"
    if error and any(name in error for name in POLICY_ERRORS):
        return "policy"
    known = {402: "quota_exhausted", 429: "rate_limited"}
    if status in known:
        return known[status]
    if error:
        return "vendor_error"
    if status in (403, 451, 999):
        return "blocked"
    if connect and not 200 <= status < 300:
        return "vendor_error"
    return "target_error" if status >= 400 else "success"


def socks_outcome(step: str, reply: bytes) -> str:
    """Return what a reply to a step of a SOCKS5 handshake says; "" if it is no SOCKS5.

    Args:
        step: "method", "login" or "request" of `simulation.crawler.socks5`.
        reply: its first two bytes.
    """
    if reply[0] != (SOCKS_LOGIN_VERSION if step == "login" else SOCKS_VERSION):
        return ""
    if step == "request":
        return SOCKS_OUTCOMES.get(reply[1], "vendor_error")
    refused = reply[1] == SOCKS_NO_METHOD if step == "method" else reply[1] != 0
    return "auth_failed" if refused else "success"


def visible_outcome(planned: PlannedRequest, seen: Seen, timeout_after_seconds: float) -> str:
    """Return the outcome that a sidecar should see.

    It follows from the vendor's bytes and from the crawler's leaving. Where the sidecar answered
    or cut the connection, it follows from the intent of the request.
    """
    answer = seen.answer
    if seen.said:
        return seen.said
    if seen.end == "refused":
        return "connect_failed"
    if seen.end == "left" and not answer.status:
        return "timeout" if seen.seconds >= timeout_after_seconds else "client_cancelled"
    if answer.by_vendor and seen.end == "lost":
        return "reset"
    if answer.by_vendor and answer.meant in OUTCOMES:
        return answer.meant
    if answer.by_vendor:
        return status_outcome(
            answer.status,
            answer.error,
            connect=planned.protocol == "tunnel",
            authorized=planned.fault != "auth-challenge",
        )
    intended = intended_outcome(planned)
    if seen.end != "local" and intended in ("reset", "connect_failed"):
        return intended
    # A sidecar that parses HTTP answers 502 in its place, and 503 for a vendor that is not there.
    if intended == "bad_answer" and (seen.end == "garbage" or answer.status == BAD_GATEWAY):
        return intended
    if seen.end == "answered" and 400 <= answer.status < 500 and intended == "rejected":
        return intended
    return "unexpected"


def pool_of(vendor: Vendor, planned: PlannedRequest, login: Login) -> str:
    """Return what a sidecar calls the product of a request: by its user, else by its place."""
    if planned.fault == "rejected":
        return ""  # Envoy refuses it before its script reads anything
    shown = planned.fault != "auth-challenge"
    if planned.protocol == "socks5":
        # With the fault auth-failed the user is another; a vendor that is not there gets no login.
        shown = vendor.socks5_auth and planned.fault not in NO_SOCKS_USER
    return (login.pool if shown else "") or vendor.pool


def opaque_end(seen: Seen) -> str:
    """Return how an opaque exchange ended, as `end` of Seen: only a vendor's 2xx is answered."""
    if seen.end != "answered":
        return seen.end
    if seen.answer.status == PROXY_AUTHENTICATION_REQUIRED:
        return "auth_failed"
    good = seen.answer.by_vendor and 200 <= seen.answer.status < 300
    return "answered" if good else "refused"


def intended_outcome(planned: PlannedRequest) -> str:
    if planned.protocol == "socks5":
        return SOCKS_FAULTS.get(planned.fault, "success")
    if planned.protocol == "tunnel" and planned.fault in INSIDE:
        return "success"
    return FAULTS.get(planned.fault, "success")


def true_outcome(seen: Seen) -> str:
    """Return what a visible success was to a crawler that looks at the page."""
    if seen.end == "left":
        return "true_timeout"
    if seen.end != "answered":
        return "true_reset"
    if seen.answer.banned:
        return "true_blocked"
    return "true_target_error" if seen.answer.status >= 400 else "true_success"


def asks_for_retry(planned: PlannedRequest, seen: Seen, retries: Retries) -> bool:
    """Return whether a crawler sends the request again, as Scrapy decides it."""
    status = seen.answer.status
    if planned.vendor < 0 or (planned.fault == "stall" and seen.end == "left"):
        return False  # outside every vendor, or the crawler's own decision
    if status in retries.codes or seen.answer.banned:
        return True
    # Scrapy's RETRY_EXCEPTIONS: connections refused, lost or timed out, and tunnels not opened.
    unanswered = not status and seen.end != "answered"
    return unanswered or seen.end in ("lost", "left", "garbage") or seen.answer.refused()


def unexpected_reason(seen: Seen, *, connected: bool = True) -> str:
    """Return why: the sidecar gave an "own-answer", the vendor an "other-answer"."""
    ends = {"left": "timeout", "lost": "reset", "garbage": "garbage", "local": "local"}
    if seen.end in ends:
        return ends[seen.end]
    if not connected:
        return "refused"
    if seen.end == "auth_failed" or seen.answer.status == PROXY_AUTHENTICATION_REQUIRED:
        return "credentials"
    return "own-answer" if seen.answer.status and not seen.answer.by_vendor else "other-answer"
