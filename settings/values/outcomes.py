"""What an answer to a crawler can be called."""

from __future__ import annotations

from typing import Literal

VendorOutcome = Literal[
    "success",
    "auth_challenge",
    "auth_failed",
    "quota_exhausted",
    "rate_limited",
    "blocked",
    "policy",
    "vendor_error",
    "target_error",
]
"""What a vendor's own answer can be called; transport failures are Envoy's to name, and so is
`bad_answer`, which has no status."""
