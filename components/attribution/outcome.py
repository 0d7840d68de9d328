"""The labels of a proxied request, as CEL expressions over Envoy's attributes.

Every expression has a value for every request. For one that cannot be evaluated istio.stats would
write `unknown`. Envoy says what happened in `response.code_details`; the texts matched here were
seen on Envoy 1.40, and the HTTP connection manager's page "Response Code Details" documents them.
"""

from __future__ import annotations

VENDOR_KEY = "proxy_observability.proxy_vendor"
"""Filter state in which a chain names the vendor of each of its connections."""

METADATA = "proxy_observability"
"""Dynamic metadata namespace that the Lua script writes."""

RESPONSE_CODES = (
    *(200, 204, 206, 301, 302, 303, 304, 307, 308),
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 412, 413, 414, 416, 422, 425, 429),
    *(431, 444, 451, 499, 500, 501, 502, 503, 504),
    *(520, 521, 522, 523, 524, 525, 526, 527, 530),  # Cloudflare's, met daily by crawlers
)
"""Codes with a label value of their own; the rest share `1xx` … `5xx` and `other`.

Envoy passes any code on, 299 or 777 too: the raw code would be a label without a bound.
"""

VENDOR_ERROR_HEADERS = ("proxy-status", "x-brd-error", "x-luminati-error", "x-crawlera-error")
"""A 5xx with one of these headers comes from the proxy and not from the target.

RFC 9209 defines Proxy-Status; Bright Data and Zyte document the others. For another vendor's
header the stack file has outcome rules.
"""

# CEL sees filter state as bytes. Emit it as it is: compared with a text it is never equal.
PROXY_VENDOR = f"'{VENDOR_KEY}' in filter_state ? filter_state['{VENDOR_KEY}'] : b''"

_IS_TUNNEL = "has(request.method) && request.method == 'CONNECT'"
PROXY_VISIBILITY = f"{_IS_TUNNEL} ? 'tunnel' : 'http'"


def _metadata(key: str, default: str) -> str:
    own = f"metadata.filter_metadata['{METADATA}']"
    return (
        f"'{METADATA}' in metadata.filter_metadata && '{key}' in {own} ? {own}['{key}'] : {default}"
    )


PROXY_POOL = _metadata("proxy_pool", "''")
PROXY_TARGET = _metadata("proxy_target", "'other'")
SETUP_KEY = "setup_milliseconds"
SETUP_MILLISECONDS = _metadata(SETUP_KEY, "0.0")
_HAS_SETUP = (
    f"'{METADATA}' in metadata.filter_metadata"
    f" && '{SETUP_KEY}' in metadata.filter_metadata['{METADATA}']"
)


def _details(prefix: str) -> str:
    return f"has(response.code_details) && response.code_details.startsWith('{prefix}')"


# 100 and 103 announce an answer that is still to come; 101 is an answer.
_FINAL = "has(response.code) && (response.code >= 200 || response.code == 101)"
_RESET_INSIDE = "upstream_reset_after_response_started"

# The vendor answered, and the answer reached the crawler, whole or until the crawler left. A tunnel
# and a websocket are answered once they are open, however they end. So is a refused CONNECT without
# a length: the vendor's close ends it, and Envoy often takes that for a reset.
ANSWERED = (
    "(has(response.code_details) && (response.code_details == 'via_upstream'"
    " || response.code_details == 'websocket_handshake_unsuccessful'))"
    f" || ({_details('downstream_')} && {_FINAL})"
    f" || ({_details(_RESET_INSIDE)} && {_FINAL} && (response.code == 101"
    f" || (({_IS_TUNNEL}) && (response.code < 300"
    f" || {_details(_RESET_INSIDE + '{connection_termination')}))))"
)


SETUP_IS_KNOWN = f"({ANSWERED}) && ({_HAS_SETUP})"
"""False where no vendor answered: the set-up time would be recorded as 0, which looks fast."""


def _choose(cases: list[tuple[str, str]], otherwise: str) -> str:
    """Return nested conditionals: the value of the first condition that holds."""
    for condition, value in reversed(cases):
        otherwise = f"({condition}) ? ({value}) : ({otherwise})"
    return otherwise


def proxy_outcome(timeout_after_seconds: int) -> str:
    """Return the CEL expression for `proxy_outcome`; the first match wins.

    Args:
        timeout_after_seconds: a crawler that left without an answer counts as `timeout` if it
            waited at least this long, and as `client_cancelled` if it left sooner.
    """
    before = "upstream_reset_before_response_started"
    left_unanswered = f"{_details('downstream_')} && !({_FINAL})"
    waited = f"has(request.duration) && request.duration >= duration('{timeout_after_seconds}s')"
    transport = _choose(
        [
            (_details(f"{before}{{remote_connection_failure"), "'connect_failed'"),
            (_details(f"{before}{{local_connection_failure"), "'connect_failed'"),
            (_details(f"{before}{{connection_timeout"), "'timeout'"),
            (_details(f"{before}{{overflow"), "'rejected'"),
            (_details("upstream_reset_"), "'reset'"),
            (left_unanswered, f"({waited}) ? 'timeout' : 'client_cancelled'"),
        ],
        "'rejected'",  # Envoy answered the request itself
    )
    verdict = f"metadata.filter_metadata['{METADATA}']['verdict']"
    has_verdict = (
        f"'{METADATA}' in metadata.filter_metadata"
        f" && 'verdict' in metadata.filter_metadata['{METADATA}']"
    )
    vendor_answers = " || ".join(f"'{name}' in response.headers" for name in VENDOR_ERROR_HEADERS)
    status = _choose(
        [
            (has_verdict, verdict),
            ("response.code < 400 && !(" + _IS_TUNNEL + ")", "'success'"),
            ("response.code >= 200 && response.code < 300", "'success'"),
            (
                "response.code == 407",
                "'proxy-authorization' in request.headers ? 'auth_failed' : 'auth_challenge'",
            ),
            ("response.code == 402", "'quota_exhausted'"),
            ("response.code == 429", "'rate_limited'"),
            ("response.code == 403 || response.code == 451", "'blocked'"),
            (f"({_IS_TUNNEL}) || (response.code >= 500 && ({vendor_answers}))", "'vendor_error'"),
        ],
        "'target_error'",
    )
    return f"({ANSWERED}) ? ({status}) : ({transport})"


def response_code() -> str:
    """Return the CEL expression for `response_code`: a listed code, its class, or `other`.

    `0` is no answer at all, as Istio writes it. The expression is a binary search of at most seven
    comparisons: CEL's parser refuses a chain of more than 32.
    """
    starts = {0: "0", 1: "other", 600: "other"} | {c * 100: f"{c}xx" for c in range(1, 6)}
    for code in reversed(RESPONSE_CODES):  # so that a listed neighbour is not overwritten
        starts[code] = str(code)
        starts.setdefault(code + 1, f"{code // 100}xx")
    tree = _lookup(sorted(starts.items()))
    return f"!has(response.code) ? '0' : (response.code == 200 ? '200' : ({tree}))"


def _lookup(starts: list[tuple[int, str]]) -> str:
    """Return a binary search for `response.code` over (first code, label), sorted."""
    if len(starts) == 1:
        return f"'{starts[0][1]}'"
    middle = len(starts) // 2
    below, above = _lookup(starts[:middle]), _lookup(starts[middle:])
    return f"response.code < {starts[middle][0]} ? ({below}) : ({above})"
