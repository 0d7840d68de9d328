"""Mutual TLS of the load generator, the only pods that this program adds to the mesh; pure.

Crawlers are not this program's: a policy for them would break callers without a sidecar.
"""

from __future__ import annotations

from typing import Any

from components.labels import COMPONENT
from components.prometheus.config import LOAD_GENERATOR_APP, LOAD_GENERATOR_PORT

Json = dict[str, Any]


def load_generator_peers() -> Json:
    """Return the spec of the load generator's PeerAuthentication.

    The sidecar's own ports (15020, 15021, 15090) do not pass its listeners.
    """
    return {
        "selector": {"matchLabels": {COMPONENT: LOAD_GENERATOR_APP}},
        "mtls": {"mode": "STRICT"},
        # Prometheus, which has no sidecar, scrapes it in plain text.
        "portLevelMtls": {str(LOAD_GENERATOR_PORT): {"mode": "DISABLE"}},
    }
