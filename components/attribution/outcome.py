"""The labels of a proxied request, as CEL expressions over Envoy's attributes.

Every expression has a value for every request. For one that cannot be evaluated istio.stats would
write `unknown`. Envoy says what happened in `response.code_details`; the texts matched here were
seen on Envoy 1.40, and the HTTP connection manager's page "Response Code Details" documents them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from money.results import DELIVERED, FAILED, REFUSED, RESULT_OF

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


@dataclass(frozen=True)
class Answer:
    """A row of the table: the answers to which it applies, and what they count as."""

    first: int
    last: int
    """Statuses, both included."""
    outcome: str
    condition: str = "-"
    """`-` is none; `credentials` and `no-credentials` ask whether the request had
    Proxy-Authorization; `header:name` whether the answer has that header, and `header:name:text`
    whether its value contains the text, in this case."""
    kind: Literal["any", "plain", "tunnel"] = "any"
    """`tunnel` is the answer to a CONNECT, which no target gives."""

    @property
    def header(self) -> str:
        """The header that it looks for, or none."""
        asked, _, name = self.condition.partition(":")
        return name.partition(":")[0] if asked == "header" else ""

    def line(self) -> str:
        return f"answer {self.first} {self.last} {self.kind} {self.condition} {self.outcome}"


def _with_header(outcome: str, header: str, text: str = "", *, first: int = 400) -> Answer:
    return Answer(first, 999, outcome, f"header:{header}:{text}" if text else f"header:{header}")


# What an answer counts as, from which both the CEL below and the passive module's configuration are
# made. The first row that matches decides; a vendor's own rules (`vendors[].outcomes`) come before.
#
# Only a vendor's own headers tell its answer to a plain request from the target's. They count from
# 400 on, as a target's page may have one by accident; what a vendor says with 200, and with a
# status alone, is in its preset (presets/, which name their sources). Proxy-Status is RFC 9209's,
# for every status: without `error=` it is information, and sites send it too.
ANSWERS = (
    # The crawler's account.
    Answer(407, 407, "quota_exhausted", "header:x-error-description:traffic"),
    Answer(407, 407, "auth_challenge", "no-credentials"),
    Answer(407, 407, "auth_failed", "credentials"),
    _with_header("auth_failed", "zyte-error-type", "/auth/"),
    Answer(429, 429, "rate_limited"),
    _with_header("rate_limited", "zyte-error-type", "/limits/"),
    # Refused by the vendor's own rules. Bright Data words RFC 9209's token as a text.
    _with_header("policy", "x-brd-err-code", "policy_"),
    _with_header("policy", "x-brd-error", "bad_endpoint"),
    _with_header("policy", "proxy-status", "error=http_request_denied", first=100),
    _with_header("policy", "proxy-status", 'error="http_request_denied', first=100),
    _with_header("policy", "proxy-status", "error=destination_ip_prohibited", first=100),
    _with_header("policy", "proxy-status", 'error="destination_ip_prohibited', first=100),
    Answer(403, 403, "policy", "header:x-error-description"),
    _with_header("policy", "x-webshare-error-reason", "forbidden"),
    _with_header("policy", "zyte-error-type", "domain-forbidden"),
    # Banned: Zyte says so of the site's answer.
    _with_header("blocked", "zyte-error-type", "website-ban"),
    # The vendor failed, or the exit that it chose did not reach the site.
    _with_header("vendor_error", "proxy-status", "error=", first=100),
    _with_header("vendor_error", "x-brd-error"),
    _with_header("vendor_error", "x-brd-err-code"),
    _with_header("vendor_error", "x-luminati-error"),
    _with_header("vendor_error", "x-crawlera-error"),
    _with_header("vendor_error", "zyte-error-type"),
    _with_header("vendor_error", "x-error-description"),
    _with_header("vendor_error", "x-soax-error"),
    _with_header("vendor_error", "x-webshare-error-reason"),
    # The status alone.
    Answer(402, 402, "quota_exhausted"),
    Answer(403, 403, "blocked"),
    Answer(451, 451, "blocked"),
    Answer(999, 999, "blocked"),  # LinkedIn's, to crawlers
    Answer(200, 299, "success"),
    Answer(100, 999, "vendor_error", kind="tunnel"),
    Answer(100, 399, "success"),
    Answer(100, 999, "target_error"),
)

ANSWER_HEADERS = tuple(dict.fromkeys(row.header for row in ANSWERS if row.header))
"""Headers of an answer that the table looks for."""


@dataclass(frozen=True)
class Socks:
    """A row for what a SOCKS5 vendor says: in its choice of method, of the login, in its reply."""

    said: Literal["method", "auth", "reply"]
    first: int
    last: int
    outcome: str

    def line(self) -> str:
        return f"socks {self.said} {self.first} {self.last} {self.outcome}"


# RFC 1928 and 1929. Only the passive module reads it.
SOCKS = (
    Socks("method", 255, 255, "auth_failed"),  # none of the methods that the crawler offers
    Socks("auth", 1, 255, "auth_failed"),
    Socks("reply", 0, 0, "success"),
    Socks("reply", 2, 2, "policy"),  # connection not allowed by ruleset
    Socks("reply", 3, 5, "connect_failed"),  # network or host unreachable, connection refused
    Socks("reply", 6, 6, "timeout"),  # TTL expired
    Socks("reply", 7, 8, "policy"),  # command or type of address not supported
    Socks("reply", 1, 255, "vendor_error"),
)


def answer_lines() -> list[str]:
    """Return the tables as directives of the passive module's configuration."""
    codes = " ".join(str(code) for code in RESPONSE_CODES)
    results = [f"result {outcome} {result}" for outcome, result in RESULT_OF.items()]
    return [f"codes {codes}", *(row.line() for row in (*ANSWERS, *SOCKS)), *results]


# CEL sees filter state as bytes. Emit it as it is: compared with a text it is never equal.
PROXY_VENDOR = f"'{VENDOR_KEY}' in filter_state ? filter_state['{VENDOR_KEY}'] : b''"

_IS_TUNNEL = "has(request.method) && request.method == 'CONNECT'"
PROXY_VISIBILITY = f"{_IS_TUNNEL} ? 'tunnel' : 'http'"


_OWN = f"metadata.filter_metadata['{METADATA}']"


def _has_metadata(key: str) -> str:
    return f"'{METADATA}' in metadata.filter_metadata && '{key}' in {_OWN}"


def _metadata(key: str, default: str) -> str:
    return f"{_has_metadata(key)} ? {_OWN}['{key}'] : {default}"


PROXY_POOL = _metadata("proxy_pool", "''")
PROXY_TARGET = _metadata("proxy_target", "'other'")
SETUP_KEY = "setup_milliseconds"
SETUP_MILLISECONDS = _metadata(SETUP_KEY, "0.0")
_HAS_SETUP = _has_metadata(SETUP_KEY)
HAS_HEADER_KEY = "has_header"
"""Metadata of an answer with one of ANSWER_HEADERS. The chain's header_to_metadata filter looks for
them, since CEL would need a twentieth of a request's CPU for it."""


def _details(prefix: str) -> str:
    return f"has(response.code_details) && response.code_details.startsWith('{prefix}')"


# 100 and 103 announce an answer that is still to come; 101 is an answer.
_FINAL = "has(response.code) && (response.code >= 200 || response.code == 101)"
_RESET_INSIDE = "upstream_reset_after_response_started"

VERDICTS = {
    "verdict": "",
    "verdict_tunnel": f" && ({_IS_TUNNEL})",
    "verdict_plain": f" && !({_IS_TUNNEL})",
}
"""Metadata with the outcome by a vendor's own rules, and the condition under which it applies.

The Lua script sees an answer without its request, and so not whether that was a CONNECT."""

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


# Bytes of a stream as they pass between Envoy and the vendor, as near as CEL can tell.
#
# Envoy writes a request's head as `GET http://host/path HTTP/1.1`, `host: host` and the headers,
# each with `: ` and a line end. `total_size` has of these the names and values alone, and those of
# `:method`, `:scheme`, `:authority` and, but of a CONNECT, `:path`. An answer's reason is taken for
# `OK`, and Envoy adds 37 bytes of `date` to one without. The framing of chunks is not seen.
REQUEST_BYTES = (
    "has(request.host) ? request.total_size + size(request.host) + 4 * size(request.headers)"
    f" - (({_IS_TUNNEL}) ? 18 : 20) : 0"
)
RESPONSE_BYTES = "response.total_size + 4 * size(response.headers) + 5"
REACHED_VENDOR = "has(upstream.local_address)"
VENDOR_SPOKE = (
    "has(response.code) && has(response.code_details)"
    " && (response.code_details == 'via_upstream'"
    f" || {_details('downstream_')} || {_details(_RESET_INSIDE)}"
    " || response.code_details == 'websocket_handshake_unsuccessful')"
)
"""Whether the answer is the vendor's, and not Envoy's own."""
BYTES_VISIBILITY = (
    f"({_IS_TUNNEL}) && has(response.code) && response.code < 300 ? 'tunnel' : 'http'"
)
"""A refused CONNECT is an exchange in plain HTTP. Told apart it would double its series."""


def _choose(cases: Iterable[tuple[str, str]], otherwise: str) -> str:
    """Return a chain of conditionals: the value of the first condition that holds.

    Each case is one step of recursion for CEL's parser, which refuses more than 32. Parentheses
    around the rest of the chain would cost a second one.
    """
    return "".join(f"({condition}) ? ({value}) : " for condition, value in cases) + otherwise


def _matches(row: Answer) -> str:
    """Return the CEL condition of a row. It tells apart what ANSWERED lets through: 101, 200 up."""
    conditions = []
    if row.first == row.last:
        conditions.append(f"response.code == {row.first}")
    else:
        conditions += [f"response.code >= {row.first}"] if row.first > 101 else []
        conditions += [f"response.code <= {row.last}"] if row.last < 999 else []
    if row.kind != "any":
        conditions.append(f"({_IS_TUNNEL})" if row.kind == "tunnel" else f"!({_IS_TUNNEL})")
    if row.header:
        _, name, *text = row.condition.split(":", 2)
        conditions.append(f"'{name}' in response.headers")
        conditions += [f"response.headers['{name}'].contains('{each}')" for each in text]
    elif row.condition != "-":
        has = "'proxy-authorization' in request.headers"
        conditions.append(has if row.condition == "credentials" else f"!({has})")
    return " && ".join(conditions) or "true"


def _by_table(named: Callable[[str], str]) -> str:
    """Return the CEL of ANSWERS.

    Most answers have none of the headers, and skip the rows with one.
    """
    by_status = [row for row in ANSWERS if not row.header]
    # The most frequent first; no row before it is about the same statuses.
    by_status.sort(key=lambda row: (row.first, row.last) != (200, 299))
    with_header, without = _rows(ANSWERS, named), _rows(by_status, named)
    return f"({_has_metadata(HAS_HEADER_KEY)}) ? ({with_header}) : ({without})"


def _rows(rows: Iterable[Answer], named: Callable[[str], str]) -> str:
    """Return the CEL of some rows, with one condition for neighbours of the same name."""
    cases = []
    for name, neighbours in groupby(rows, lambda row: named(row.outcome)):
        conditions = [_matches(row) for row in neighbours]
        either = " || ".join(f"({each})" for each in conditions)
        cases.append((either if len(conditions) > 1 else conditions[0], f"'{name}'"))
    *others, (_, otherwise) = cases  # the last row matches every answer
    return _choose(others, otherwise)


def proxy_outcome(timeout_after_seconds: int) -> str:
    """Return the CEL expression for `proxy_outcome`; the first match wins.

    Args:
        timeout_after_seconds: a crawler that left without an answer counts as `timeout` if it
            waited at least this long, and as `client_cancelled` if it left sooner.
    """
    return _by_what_happened(timeout_after_seconds, lambda outcome: outcome, lambda said: said)


def proxy_result(timeout_after_seconds: int) -> str:
    """Return the CEL expression for `proxy_result`: what RESULT_OF makes of the outcome."""

    def of_verdict(said: str) -> str:
        of = {
            result: [outcome for outcome, its in RESULT_OF.items() if its == result]
            for result in (REFUSED, FAILED)
        }
        return _choose(
            [(f"{said} in {outcomes}", f"'{result}'") for result, outcomes in of.items()],
            f"'{DELIVERED}'",
        )

    return _by_what_happened(timeout_after_seconds, RESULT_OF.__getitem__, of_verdict)


def _by_what_happened(
    timeout_after_seconds: int, named: Callable[[str], str], of_verdict: Callable[[str], str]
) -> str:
    """Return the CEL expression for an outcome under another name.

    Args:
        named: the name of an outcome.
        of_verdict: the CEL expression for that of a CEL expression for an outcome.
    """
    before, after = "upstream_reset_before_response_started", _RESET_INSIDE
    left_unanswered = f"{_details('downstream_')} && !({_FINAL})"
    # Envoy calls a connection that ends inside a body a protocol error too. Chunks that it cannot
    # read are mostly so from the first one.
    no_body_yet = "!('content-length' in response.headers) && response.size == 0"
    waited = f"has(request.duration) && request.duration >= duration('{timeout_after_seconds}s')"
    # A vendor's name that DNS does not know (Envoy 1.40), now or when it was asked last.
    unresolved = f"{_details('dns_resolution_failure')} || {_details('no_healthy_upstream')}"
    cases = [
        (unresolved, "connect_failed"),
        (_details(f"{before}{{remote_connection_failure"), "connect_failed"),
        (_details(f"{before}{{local_connection_failure"), "connect_failed"),
        (_details(f"{before}{{connection_timeout"), "timeout"),
        (_details(f"{before}{{overflow"), "rejected"),
        # Envoy refused the answer, which is not HTTP or not strictly so.
        (_details(f"{before}{{protocol_error"), "bad_answer"),
        (f"{_details(f'{after}{{protocol_error')} && {no_body_yet}", "bad_answer"),
        (_details("upstream_reset_"), "reset"),
        (f"{left_unanswered} && {waited}", "timeout"),
        (left_unanswered, "client_cancelled"),
    ]
    transport = _choose(
        [(condition, f"'{named(outcome)}'") for condition, outcome in cases],
        f"'{named('rejected')}'",  # Envoy answered the request itself
    )
    answered = _choose(
        [
            (f"{_has_metadata(key)}{only}", of_verdict(f"{_OWN}['{key}']"))
            for key, only in VERDICTS.items()
        ],
        f"({_by_table(named)})",
    )
    return f"({ANSWERED}) ? ({answered}) : ({transport})"


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
