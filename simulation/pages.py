"""The pages of simulated vendors, as both the vendors and the crawler know them."""

from __future__ import annotations

MAX_BODY_BYTES = 4 * 1024 * 1024  # the largest page a vendor gives
# A ban or captcha page has status 200 and begins so; the second is no longer than the first.
BAN_MARK = b"<title>Access denied</title>"
CAPTCHA_MARK = b"<title>Are you a robot?"
