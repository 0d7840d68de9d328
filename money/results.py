"""Whether the target answered: the label `proxy_result` of bytes, by the outcome of a request.

components/attribution has the same table for Envoy; tests/money compares both.
"""

from __future__ import annotations

REFUSED = frozenset({"blocked", "policy", "rate_limited"})
FAILED = frozenset(
    {"connect_failed", "timeout", "reset", "auth_failed", "quota_exhausted", "vendor_error"}
)
LOST = ("refused", "failed")
"""The results of traffic that brought nothing."""


def result_of(outcome: str) -> str:
    """Return `refused`, `failed`, or `delivered` for any other outcome."""
    if outcome in REFUSED:
        return "refused"
    return "failed" if outcome in FAILED else "delivered"
