"""What the crawler and the simulated vendors must agree on."""

from __future__ import annotations

MAX_BODY_BYTES = 4 * 1024 * 1024  # the largest page a vendor gives
# How pages with status 200 begin that are none; the second is no longer than the first.
BAN_MARK = b"<title>Access denied</title>"
CAPTCHA_MARK = b"<title>Are you a robot?"
