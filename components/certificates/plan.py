"""Which certificates cert-manager is asked for; pure."""

from __future__ import annotations

from typing import Any

from components.prometheus.config import (
    ALERTMANAGER_APP,
    GRAFANA_APP,
    LEDGER_APP,
    PROMETHEUS_APP,
    SHARD_APP,
)
from components.tls import secret_name, server_name
from settings.prometheus import OwnPrometheus
from settings.stack import StackSettings


def certificates(settings: StackSettings) -> dict[str, dict[str, Any]]:
    """Return the spec of each Certificate by its name; none without `monitoring.tls`.

    Shards and the ledger share the certificate of the server that people query: one scrape job asks
    all shards for one name. It has the names of that server's pods too, for who must reach one of
    two.
    """
    tls, prometheus = settings.monitoring.tls, settings.prometheus
    if tls is None or not isinstance(prometheus, OwnPrometheus):
        return {}
    names = {
        PROMETHEUS_APP: [
            *(f"{PROMETHEUS_APP}-{n}.{PROMETHEUS_APP}-pods" for n in range(prometheus.replicas)),
            *(f"{SHARD_APP}-{n}" for n in prometheus.shard_numbers),
            *([LEDGER_APP] if settings.runs_ledger else ()),
        ],
        ALERTMANAGER_APP: [],
        **({GRAFANA_APP: []} if settings.runs_grafana else {}),
    }
    issuer = {"group": "cert-manager.io", "kind": tls.issuer.kind, "name": tls.issuer.name}
    return {
        app: {
            "secretName": secret_name(app),
            "dnsNames": [server_name(name) for name in (app, *more)],
            "issuerRef": issuer,
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "usages": ["digital signature", "server auth"],
        }
        for app, more in names.items()
    }
