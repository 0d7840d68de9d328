"""Names as Kubernetes and Istio take them.

Every check raises `ValueError` with "reason; remedy".
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StrictStr

from settings.values.checked_text import matching, titled

LABEL_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"


def check_dns_label(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise ValueError(
            "is not a DNS label; use 1 to 63 of a-z, 0-9 and '-', first and last no '-'"
        )
    return text


def check_label_key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    dns = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
    if not re.fullmatch(LABEL_NAME, name) or (slash and not re.fullmatch(dns, prefix)):
        raise ValueError(
            "is not the key of a Kubernetes label; write a name like app, "
            "or a domain and a name like example.com/app"
        )
    return text


def check_label_value(text: str) -> str:
    if text and not re.fullmatch(LABEL_NAME, text):
        raise ValueError(
            "is not the value of a Kubernetes label; use at most 63 of letters, digits, "
            "'-', '_' and '.', first and last a letter or digit"
        )
    return text


def check_image(text: str) -> str:
    if not re.fullmatch(
        r"[a-z0-9][A-Za-z0-9._/:-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})",
        text,
    ):
        raise ValueError(
            "does not name one image; write registry/name:tag, or registry/name@sha256:digest"
        )
    if text.endswith(":latest"):
        raise ValueError("moves under its tag; name a version, so that every pod runs the same")
    return text


def check_egress_host(text: str) -> str:
    """Services as the hosts of an Istio Sidecar's egress name them: "data/*"."""
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    name = rf"(?=.{{1,253}}$){label}(\.{label})*"
    if not re.fullmatch(rf"(\*|\.|{label})/(\*|(\*\.)?{name})", text):
        raise ValueError(
            "does not name services of the mesh; write namespace/* or namespace/host, "
            "like data/* or */redis.example.com"
        )
    return text


DnsLabel = Annotated[StrictStr, AfterValidator(check_dns_label), titled("DNS label")]
LabelKey = Annotated[StrictStr, AfterValidator(check_label_key), titled("label key")]
LabelValue = Annotated[StrictStr, AfterValidator(check_label_value), titled("label value")]
Image = Annotated[StrictStr, AfterValidator(check_image), titled("image")]
ObjectName = Annotated[
    StrictStr,
    matching(
        r"(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?",
        "is not the name of an object; use a-z, 0-9, '-' and '.', first and last a letter or digit",
    ),
    titled("name"),
]
SecretKey = Annotated[
    StrictStr,
    matching(
        r"[A-Za-z0-9._-]{1,253}", "is not a key of a Secret; use letters, digits, '-', '_' and '.'"
    ),
    titled("key"),
]
EgressHost = Annotated[StrictStr, AfterValidator(check_egress_host), titled("namespace/host")]
