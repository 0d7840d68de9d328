"""Protocols with their usual shares, and faults with what each must look like."""

from __future__ import annotations

from typing import Final

# Fault -> the outcome a plain request shows. A CONNECT shows the same, but for INSIDE.
FAULTS: Final = {
    "target-error": "target_error",
    "vendor-error": "vendor_error",
    "vendor-error-502": "vendor_error",
    "vendor-error-504": "vendor_error",
    "vendor-error-522": "vendor_error",
    "vendor-error-525": "vendor_error",
    "rate-limited": "rate_limited",
    "blocked": "blocked",
    "auth-failed": "auth_failed",
    "auth-challenge": "auth_challenge",
    "quota": "quota_exhausted",
    "quota-dialect": "quota_exhausted",
    "reset": "reset",
    "close": "reset",
    "garbage": "reset",
    "stall": "client_cancelled",
    "slow": "timeout",
    "dead": "connect_failed",
    "reset-inside": "reset",
    "close-inside": "reset",
    "ban-page": "success",
    "captcha-page": "success",
    "refused-open": "vendor_error",
    "rejected": "rejected",
}
# In a tunnel nobody else sees them.
INSIDE: Final = {"target-error", "reset-inside", "close-inside", "ban-page", "captcha-page"}
HTTP_ONLY: Final = {"rejected"}  # not dealt to tunnels: they get that share without a fault
# A connection that such a fault kills is not shared with other counts.
OWN_CONNECTION: Final = {
    *("reset", "close", "garbage", "stall", "slow", "dead", "reset-inside"),
    *("close-inside", "refused-open", "rejected"),
}
# Default shares. HTTP and CONNECT in clear show what they carry, the others are opaque.
MIX: Final = {"http": 0.44, "tunnel": 0.42, "tls": 0.0, "socks5": 0.14}
OPAQUE: Final = ("tls", "socks5")
