"""What came of a request's bytes: label `proxy_result`, which contracts bill by.

The labels of traffic and the module of `inspect: passive` are made from this table too. It stands
in money/, and imports nothing, since the exporter's pod has none of their modules.
"""

from __future__ import annotations

from collections.abc import Mapping

DELIVERED, REFUSED, FAILED = "delivered", "refused", "failed"

RESULT_OF: Mapping[str, str] = {
    # An answer of the target came, or what no vendor is blamed for.
    "success": DELIVERED,
    "target_error": DELIVERED,
    "auth_challenge": DELIVERED,
    "bad_answer": DELIVERED,
    "client_cancelled": DELIVERED,
    "rejected": DELIVERED,
    # The vendor or the target would not serve it.
    "blocked": REFUSED,
    "policy": REFUSED,
    "rate_limited": REFUSED,
    # Nothing came of it.
    "auth_failed": FAILED,
    "connect_failed": FAILED,
    "quota_exhausted": FAILED,
    "reset": FAILED,
    "timeout": FAILED,
    "vendor_error": FAILED,
}
"""Result by outcome (label `proxy_outcome`), for every outcome there is."""

RESULTS = (DELIVERED, REFUSED, FAILED, "")
"""Values of the label `proxy_result` of bytes; empty where nothing could be read (opaque)."""

LOST = (REFUSED, FAILED)
"""Results of traffic that brought nothing."""
