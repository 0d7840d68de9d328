"""The Prometheus servers of a stack and the files of each; pure.

Usually one. With shards, one more for each, which scrapes a part of the sidecars; the first server
scrapes everything else and federates from them.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.alertmanager.config import ALERTMANAGER_USER
from components.file_text import yaml_text
from components.labels import PROJECT, selector
from components.prometheus.config import (
    PROMETHEUS_APP,
    PROMETHEUS_PORT,
    SHARD_APP,
    BasicAuth,
    prometheus_config,
)
from components.prometheus.federation import Source, server_config, shard_config
from components.prometheus.rules import Files, server_rules, shard_rules
from components.tls import Tls, server_name
from settings.prometheus import OwnPrometheus
from settings.stack import StackSettings

USER = "prometheus"
SHARD_LABEL = f"{PROJECT}/shard"

# Where Secrets are mounted.
AUTH = "/etc/prometheus/auth"
DATA = "/prometheus"
ALERTMANAGER_AUTH = "/etc/prometheus/alertmanager"
FEDERATION_AUTH = "/etc/prometheus/federation"
TLS = "/etc/prometheus/tls"
OWN_TLS = Tls(app=PROMETHEUS_APP, folder=TLS)
OWN_LOGIN = BasicAuth(username=USER, password_file=f"{AUTH}/password")
ALERTMANAGER_LOGIN = BasicAuth(
    username=ALERTMANAGER_USER, password_file=f"{ALERTMANAGER_AUTH}/password"
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """One Prometheus: `name` is that of its StatefulSet and Service, `app` selects its pods."""

    name: str
    app: dict[str, str]
    config: str
    """Text of prometheus.yml."""
    rules: dict[str, str]
    """Texts of the rule files, by file name."""
    shard: int | None = None
    """Counted from 0; None for the server that Grafana queries."""


def servers_of(
    settings: StackSettings, prometheus: OwnPrometheus, own_rules: Files
) -> tuple[Server, ...]:
    """Return the servers that this program runs: the one that Grafana queries, then its shards.

    Raises:
        SettingsError: a rule of the user's, `own_rules`, selects series that no server has.
    """
    with_tls = settings.monitoring.tls is not None
    config = prometheus_config(
        settings,
        prometheus_auth=OWN_LOGIN,
        alertmanager_auth=ALERTMANAGER_LOGIN,
        tls_folder=TLS if with_tls else None,
    )
    shards = [_shard_source(n, with_tls=with_tls) for n in prometheus.shard_numbers]
    queried = Server(
        name=PROMETHEUS_APP,
        app=selector(PROMETHEUS_APP),
        config=yaml_text(
            server_config(
                config,
                [*shards, *_cluster_sources(prometheus)],
                crawlers_here=settings.has_crawlers,
            )
        ),
        rules=server_rules(settings, own_rules),
    )
    others = (
        Server(
            name=f"{SHARD_APP}-{number}",
            app={**selector(SHARD_APP), SHARD_LABEL: str(number)},
            config=yaml_text(shard_config(config, number, prometheus.shards)),
            rules=shard_rules(settings),
            shard=number,
        )
        for number in prometheus.shard_numbers
    )
    return (queried, *others)


def claims_of(stateful_set: str, replicas: int) -> tuple[str, ...]:
    """Return the claims that Kubernetes makes for volume `data` of a StatefulSet."""
    return tuple(f"data-{stateful_set}-{number}" for number in range(replicas))


def _shard_source(number: int, *, with_tls: bool) -> Source:
    host = f"{server_name(f'{SHARD_APP}-{number}')}:{PROMETHEUS_PORT}"
    if with_tls:
        return Source(url=f"https://{host}", auth=OWN_LOGIN, tls=OWN_TLS, shard=number)
    return Source(url=f"http://{host}", auth=OWN_LOGIN, shard=number)


def _cluster_sources(prometheus: OwnPrometheus) -> tuple[Source, ...]:
    return tuple(
        Source(
            url=source.url,
            auth=BasicAuth(username=USER, password_file=f"{FEDERATION_AUTH}/{source.cluster}"),
            cluster=source.cluster,
        )
        for source in prometheus.federate_from
    )
