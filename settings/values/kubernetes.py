"""Names as Kubernetes and Istio take them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StrictStr

from settings.values.checked_text import Text

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
TAG = r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
DIGEST = r"@sha256:[0-9a-f]{64}"
LABEL_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"

DNS_LABEL = Text(
    "DNS label",
    LABEL,
    "is not a DNS label; use 1 to 63 of a-z, 0-9 and '-', first and last no '-'",
)
DnsLabel = Annotated[StrictStr, DNS_LABEL]
LabelKey = Annotated[
    StrictStr,
    Text(
        "label key",
        rf"({DOMAIN}/)?{LABEL_NAME}",
        "is not the key of a Kubernetes label; write a name like app, "
        "or a domain and a name like example.com/app",
    ),
]
LabelValue = Annotated[
    StrictStr,
    Text(
        "label value",
        rf"({LABEL_NAME})?",
        "is not the value of a Kubernetes label; use at most 63 of letters, digits, "
        "'-', '_' and '.', first and last a letter or digit",
    ),
]
Image = Annotated[
    StrictStr,
    Text(
        "image",
        # One colon for the registry's port, one for the tag: a proxy's line has more.
        rf"[a-z0-9][A-Za-z0-9._-]*(:[0-9]{{1,5}}(?=/))?(/[A-Za-z0-9._-]+)*({TAG}({DIGEST})?|{DIGEST})",
        "does not name one image; write registry/name:tag, or registry/name@sha256:digest",
    ),
    Text(
        "image",
        r".*(?<!:latest)",
        "moves under its tag; name a version, so that every pod runs the same",
    ),
]


def release_from(major: int, minor: int) -> AfterValidator:
    """Refuse an image whose tag is an older release; a digest does not say."""

    def check(image: str) -> str:
        tag = re.search(r":v?([0-9]+)\.([0-9]+)[^@/:]*$", image)
        if tag and (int(tag[1]), int(tag[2])) < (major, minor):
            raise ValueError(
                f"is too old for the configuration made for it, which needs {major}.{minor}; "
                "name that version or a newer one"
            )
        return image

    return AfterValidator(check)


ObjectName = Annotated[
    StrictStr,
    Text(
        "name",
        DOMAIN,
        "is not the name of an object; use a-z, 0-9, '-' and '.', first and last a letter or digit",
    ),
]
SecretKey = Annotated[
    StrictStr,
    Text(
        "key",
        r"[A-Za-z0-9._-]{1,253}",
        "is not a key of a Secret; use letters, digits, '-', '_' and '.'",
    ),
]
EgressHost = Annotated[
    StrictStr,
    Text(
        "namespace/host",
        rf"(\*|\.|{LABEL})/(\*|(\*\.)?(?=.{{1,253}}$){LABEL}(\.{LABEL})*)",
        "does not name services of the mesh; write namespace/* or namespace/host, "
        "like data/* or */redis.example.com",
    ),
]
"""Services as the hosts of an Istio Sidecar's egress name them: "data/*"."""
