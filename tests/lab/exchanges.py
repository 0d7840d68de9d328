"""What vendors answer, and what each answer counts as: the table that every mode has to keep."""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab.scripted import GOOD, PLAIN

CONNECT = "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n\r\n"
LOGIN = "Proxy-Authorization: Basic eDp5"
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket"
POST = "POST http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Exchange:
    name: str
    request: str
    answer: str
    outcome: str
    code: str
    """Label `response_code`. Where the vendor sent none, it is that of Envoy's own answer."""
    to_end: bool = False
    """Whether the crawler reads until the end of the connection."""

    @property
    def visibility(self) -> str:
        return "tunnel" if self.request.startswith("CONNECT") else "http"


def _headed(head: str, *lines: str) -> str:
    return head.replace("\r\n\r\n", "".join(f"\r\n{line}" for line in lines) + "\r\n\r\n")


def _answered(
    outcome: str, status: int, *headers: str, request: str = PLAIN, code: str = "", name: str = ""
) -> Exchange:
    method = request.split()[0]
    answer = _headed(f"HTTP/1.1 {status} Word\r\nContent-Length: 0\r\n\r\n", *headers)
    title = name or " ".join([method, str(status), *headers])
    return Exchange(title, request, answer, outcome, code or str(status))


STATUSES = (
    *((status, "success") for status in (200, 201, 204, 206, 226, 299, 302, 304, 399)),
    *((status, "target_error") for status in (400, 401, 404, 405, 418, 490, 491, 499)),
    *((status, "target_error") for status in (500, 502, 503, 520, 522, 525, 599, 600, 777, 998)),
    *((402, "quota_exhausted"), (429, "rate_limited"), (407, "auth_challenge")),
    *((status, "blocked") for status in (403, 451, 999)),
)
OF_CLASS = {201, 226, 299, 399, 418, 490, 491, 599}  # without a value of `response_code` of its own


def _code(status: int) -> str:
    if status >= 600:
        return "other"
    return f"{status // 100}xx" if status in OF_CLASS else str(status)


def _tunnel(status: int, outcome: str) -> str:
    if outcome == "target_error" or (outcome == "success" and status >= 300):
        return "vendor_error"
    return outcome


BY_STATUS = (
    *(_answered(outcome, status, code=_code(status)) for status, outcome in STATUSES),
    *(
        _answered(_tunnel(status, outcome), status, request=CONNECT, code=_code(status))
        for status, outcome in STATUSES
        if status not in (201, 204, 206)  # as 200, which the last rows have
    ),
    _answered("auth_failed", 407, request=_headed(PLAIN, LOGIN), name="GET 407 with a login"),
    _answered("auth_failed", 407, request=_headed(CONNECT, LOGIN), name="CONNECT 407 with a login"),
    Exchange("a tunnel", CONNECT, "HTTP/1.1 200 Connection established\r\n\r\n", "success", "200"),
    # Many proxies refuse without a length and close at once.
    Exchange("CONNECT 403, then FIN", CONNECT, "HTTP/1.1 403 No\r\n\r\n", "blocked", "403"),
    Exchange("CONNECT 502, then FIN", CONNECT, "HTTP/1.1 502 No\r\n\r\n", "vendor_error", "502"),
    Exchange("a page until FIN", PLAIN, "HTTP/1.0 200 OK\r\n\r\npage", "success", "200"),
    # The vendor that closes a websocket, or answers it with a page, has not failed.
    Exchange(
        *("a websocket", _headed(PLAIN, UPGRADE), f"HTTP/1.1 101 Go\r\n{UPGRADE}\r\n\r\n"),
        *("success", "1xx"),
    ),
    Exchange("a page for a websocket", _headed(PLAIN, UPGRADE), GOOD, "success", "200"),
)

PROXY_STATUS = (
    _answered("vendor_error", 502, "Proxy-Status: brd; error=destination_unavailable"),
    _answered("vendor_error", 504, "Proxy-Status: brd;error=connection_timeout"),
    _answered("vendor_error", 400, "PROXY-STATUS: brd; error=http_request_error"),
    _answered("vendor_error", 403, "Proxy-Status: brd; error=proxy_internal_error"),
    _answered("vendor_error", 404, 'Proxy-Status: "1.2.3.4"; error=dns_error; rcode="NXDOMAIN"'),
    _answered("vendor_error", 200, "Proxy-Status: brd; error=http_response_incomplete"),
    _answered("vendor_error", 999, "Proxy-Status: brd; error=dns_timeout", code="other"),
    _answered("vendor_error", 403, "Proxy-Status: brd; error=tls_alert_received", request=CONNECT),
    _answered("policy", 403, "Proxy-Status: brd; error=http_request_denied"),
    _answered("policy", 403, "Proxy-Status: brd; error=http_request_denied", request=CONNECT),
    _answered("policy", 403, 'Proxy-Status: brd; error="http_request_denied"; details="x"'),
    _answered("policy", 502, "Proxy-Status: brd; error=destination_ip_prohibited"),
    _answered("policy", 402, "Proxy-Status: brd; error=http_request_denied"),
    _answered("policy", 200, "Proxy-Status: brd; error=http_request_denied"),
    # Several members and lines: one says it.
    _answered("vendor_error", 502, "Proxy-Status: cdn; received-status=502, brd; error=dns_error"),
    _answered("vendor_error", 502, "Proxy-Status: cdn", "Proxy-Status: brd; error=dns_error"),
    _answered("policy", 403, "Proxy-Status: brd; error=http_request_denied", "Proxy-Status: cdn"),
    # The account's refusals are what they are, whatever else the answer says.
    _answered("auth_challenge", 407, "Proxy-Status: brd; error=http_request_denied"),
    _answered("rate_limited", 429, "Proxy-Status: brd; error=http_request_denied"),
    # Without `error=` it is information. Facebook's own page has the word of a draft.
    _answered("success", 200, "Proxy-Status: brd; received-status=200; next-hop=1.2.3.4"),
    _answered("target_error", 404, "Proxy-Status: brd; received-status=404"),
    _answered("target_error", 500, "Proxy-Status: brd"),
    _answered("target_error", 400, 'Proxy-Status: http_request_error; e_fb_vipport="AcI"'),
    _answered("blocked", 403, "Proxy-Status: brd; next-hop=shop.test"),
)

BAD_ENDPOINT = "X-BRD-Error: Residential Failed (bad_endpoint): robots.txt"
LIMIT_REACHED = "X-Error-Description: Access denied: traffic limit reached."
WRONG_PASSWORD = "X-Error-Description: Access denied: user authentication failed."
RESTRICTED = "X-Error-Description: Access denied: restricted target."
NO_PEER = "X-Error-Description: Bad gateway: no peer."

BY_VENDOR = (
    # Bright Data
    _answered("policy", 402, BAD_ENDPOINT, "X-BRD-Err-Code: policy_20140"),
    _answered("policy", 403, "x-brd-err-code: policy_20050", request=CONNECT),
    _answered("vendor_error", 502, "x-brd-err-code: peer_30010"),
    _answered("success", 200, "x-brd-err-code: client_10070"),  # with 200 by preset alone
    _answered("policy", 402, BAD_ENDPOINT),
    _answered("vendor_error", 402, "x-brd-error: no peers"),
    _answered("vendor_error", 503, "x-brd-error: no peers"),
    _answered("vendor_error", 403, "X-Luminati-Error: forbidden host"),
    # Oxylabs
    _answered("quota_exhausted", 407, LIMIT_REACHED, request=_headed(PLAIN, LOGIN)),
    _answered("quota_exhausted", 407, LIMIT_REACHED, request=_headed(CONNECT, LOGIN)),
    _answered(
        "auth_failed", 407, WRONG_PASSWORD, request=_headed(PLAIN, LOGIN), name="a wrong password"
    ),
    _answered("auth_challenge", 407, WRONG_PASSWORD),
    _answered("policy", 403, RESTRICTED),
    _answered("policy", 403, RESTRICTED, request=CONNECT),
    *(_answered("vendor_error", status, NO_PEER) for status in (502, 522, 525)),
    _answered("success", 200, "X-Error-Description: none"),  # a target's page may have it
    # Zyte
    _answered("blocked", 520, "Zyte-Error-Type: /download/website-ban"),
    _answered("auth_failed", 401, "Zyte-Error-Type: /auth/key-not-found"),
    _answered("auth_failed", 403, "Zyte-Error-Type: /auth/account-suspended"),
    _answered("rate_limited", 503, "Zyte-Error-Type: /limits/over-global-limit"),
    _answered("policy", 451, "Zyte-Error-Type: /download/domain-forbidden"),
    _answered("vendor_error", 500, "Zyte-Error-Type: /download/internal-error"),
    _answered("vendor_error", 503, "X-Crawlera-Error: noslaves"),
    # SOAX, Webshare
    _answered("vendor_error", 502, "X-SOAX-Error: NODE_OFFLINE"),
    _answered("vendor_error", 502, "X-Webshare-Error-Reason: upstream"),
    _answered("policy", 403, "X-Webshare-Error-Reason: client_connect_forbidden_host"),
)

CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNANSWERED = (
    Exchange("a FIN for an answer", PLAIN, "", "reset", "503"),
    Exchange("no HTTP", PLAIN, "SSH-2.0-OpenSSH_9.2\r\n\r\n", "bad_answer", "502"),
    Exchange("no HTTP for a CONNECT", CONNECT, "hello\r\n\r\n", "bad_answer", "502"),
)
CUT_SHORT = (
    # The word keeps the scripted vendor from hanging up. A crawler that leaves after `100 Continue`
    # was not served.
    Exchange(
        *("an interim answer", POST, "HTTP/1.1 100 Content-Length\r\n\r\n"),
        *("client_cancelled", "1xx"),
    ),
    Exchange(
        *("a FIN in the body", PLAIN, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"),
        *("reset", "200", True),
    ),
    Exchange("a FIN between chunks", PLAIN, f"{CHUNKED}4\r\nhalf\r\n", "reset", "200", True),
)
# By vendor-a's own rules (OWN_RULES of the test), which come before the table.
BY_OWN_RULES = (
    _answered("policy", 778, "X-OWN: in two words", code="other"),
    _answered("policy", 778, "x-own: in two words", request=CONNECT, code="other"),
    _answered("quota_exhausted", 778, "x-own: in Two Words", code="other"),
    _answered("quota_exhausted", 778, "Proxy-Status: brd; error=dns_error", code="other"),
    _answered("policy", 779, "x-own: 1", request=CONNECT, code="other"),
    _answered("vendor_error", 779, request=CONNECT, code="other"),
    _answered("auth_failed", 779, "x-own: 1", code="other"),
    _answered("blocked", 200, "x-own: "),
    _answered("auth_failed", 403, "x-own: login", "Proxy-Status: brd; error=http_request_denied"),
    _answered("blocked", 403, "x-own: Login"),
)
# What Envoy's parser refuses, where another reader may get on.
REFUSED_BY_ENVOY = (
    Exchange("a FIN in the head", PLAIN, "HTTP/1.1 200 OK\r\nServ", "bad_answer", "502"),
    Exchange("a name that is no token", PLAIN, _headed(GOOD, "A : b"), "bad_answer", "502"),
    Exchange("a 204 with a length", PLAIN, GOOD.replace("200", "204"), "bad_answer", "502"),
    Exchange("chunks of LF", PLAIN, f"{CHUNKED}2\nok\n0\n\n", "bad_answer", "200", True),
    Exchange(
        *("a tunnel with a name that is no token", CONNECT),
        *("HTTP/1.1 200 OK\r\nProxy Connection: keep-alive\r\n\r\n", "bad_answer", "502"),
    ),
)
EXCHANGES = (
    *(*BY_STATUS, *PROXY_STATUS, *BY_VENDOR),
    *(*BY_OWN_RULES, *UNANSWERED, *CUT_SHORT),
)
