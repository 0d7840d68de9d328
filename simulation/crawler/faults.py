"""Protocols with their default shares, and faults with the outcome of each."""

from __future__ import annotations

from typing import Final

# Fault -> the outcome that a sidecar sees of a plain request, and of a CONNECT but for INSIDE.
FAULTS: Final = {
    "target-error": "target_error",
    "vendor-error": "vendor_error",
    "vendor-error-403": "vendor_error",
    "vendor-error-502": "vendor_error",
    "vendor-error-504": "vendor_error",
    "vendor-error-522": "vendor_error",
    "vendor-error-525": "vendor_error",
    "rate-limited": "rate_limited",
    "blocked": "blocked",
    "blocked-999": "blocked",
    "auth-failed": "auth_failed",
    "auth-challenge": "auth_challenge",
    "quota": "quota_exhausted",
    "quota-dialect": "quota_exhausted",
    "reset": "reset",
    "close": "reset",
    "garbage": "bad_answer",
    "stall": "client_cancelled",
    "slow": "timeout",
    "dead": "connect_failed",
    "reset-inside": "reset",
    "close-inside": "reset",
    "ban-page": "success",
    "captcha-page": "success",
    "refused-open": "vendor_error",
    "policy": "policy",
    "policy-402": "policy",
    "unreachable": "vendor_error",
    "rejected": "rejected",
}
# The same of a SOCKS5 connection whose handshake a sidecar reads; it has no other faults.
SOCKS_FAULTS: Final = {
    "auth-challenge": "auth_failed",  # no method that the vendor takes is offered
    "auth-failed": "auth_failed",  # RFC 1929: the password is wrong
    "vendor-error": "vendor_error",  # RFC 1928, reply 1
    "policy": "policy",  # reply 2
    "unreachable": "connect_failed",  # replies 4 and 5
    **{fault: FAULTS[fault] for fault in ("reset", "close", "garbage", "stall", "slow", "dead")},
}
# In a tunnel only the crawler and the target see them.
INSIDE: Final = {"target-error", "reset-inside", "close-inside", "ban-page", "captcha-page"}
HTTP_ONLY: Final = {"rejected"}  # tunnels have no fault in place of it
# These faults end a connection, so no other request shares it.
OWN_CONNECTION: Final = {
    *("reset", "close", "garbage", "stall", "slow", "dead", "reset-inside"),
    *("close-inside", "refused-open", "rejected"),
}
# A sidecar sees the requests of HTTP and CONNECT in clear, and the connections of the others; a
# passive one reads SOCKS5's handshake too.
MIX: Final = {"http": 0.44, "tunnel": 0.42, "tls": 0.0, "socks5": 0.14}
OPAQUE: Final = ("tls", "socks5")
