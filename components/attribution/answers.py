"""Envoy notes two things of each answer: its set-up time, and whether a header explains a status.

CEL cannot read the time to a CONNECT's answer, and a Lua hook at each answer costs a tenth of a
request's CPU. So the router writes Envoy's figure into a header, and one filter moves it into
metadata before the crawler sees it. The same filter looks for ANSWER_HEADERS. They are sent once
for all chains: a further header ends no connection.
"""

from __future__ import annotations

from components.attribution.discovery import http_filter
from components.attribution.envoy import TYPE, Json
from components.attribution.outcome import ANSWER_HEADERS, HAS_HEADER_KEY, METADATA, SETUP_KEY

ANSWERS = "proxy_observability.answers"
SETUP_HEADER = "x-proxyobs-setup-milliseconds"
"""Inside Envoy only. A vendor's own header of that name does not reach the crawler."""

_ANSWERS_TYPE = f"{TYPE}.extensions.filters.http.header_to_metadata.v3.Config"
_SETUP_RULE: Json = {
    "header": SETUP_HEADER,
    "on_header_present": {"metadata_namespace": METADATA, "key": SETUP_KEY, "type": "NUMBER"},
    "remove": True,
}


def setup_header() -> Json:
    """Return the header that the router adds to each answer."""
    return {
        "header": {"key": SETUP_HEADER, "value": "%RESPONSE_DURATION%"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def http_answers() -> Json:
    """Return the filter that notes it.

    Until istiod has answered it takes the header away all the same: no crawler may see it.
    """
    return http_filter(ANSWERS, _ANSWERS_TYPE, _config(_SETUP_RULE))


def answers_config() -> Json:
    """Return the configuration that istiod sends to all chains."""
    named = {"metadata_namespace": METADATA, "key": HAS_HEADER_KEY, "value": "yes"}
    headers = ({"header": name, "on_header_present": named} for name in ANSWER_HEADERS)
    return _config(_SETUP_RULE, *headers)


def _config(*rules: Json) -> Json:
    return {"@type": _ANSWERS_TYPE, "response_rules": list(rules)}
