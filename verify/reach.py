"""Reach the servers of a stack: behind kubectl's port-forward, with the login of a Secret."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from books.prometheus import PASSWORD, USER, Prometheus
from components.prometheus.config import PROMETHEUS_APP, PROMETHEUS_PORT
from components.tls import secret_name, server_name
from settings.namespaces import MONITORING_NAMESPACE
from settings.stack import StackSettings
from verify.cluster import Cluster
from verify.trust import trusting

IN_CLUSTER = re.compile(r"([a-z0-9-]+)\.([a-z0-9-]+)\.svc(\.[a-z0-9.-]+)?")


@contextmanager
def own_server(
    cluster: Cluster, settings: StackSettings, service: str, certified_as: str = PROMETHEUS_APP
) -> Iterator[Prometheus]:
    """Reach a Prometheus that this program runs; its password is shown to nobody.

    Args:
        service: its Service in `monitoring`.
        certified_as: whose name its certificate is asked for.
    """
    login = cluster.login(MONITORING_NAMESPACE, app=PROMETHEUS_APP)
    trust = None
    if settings.monitoring.tls:
        ca = cluster.ca(MONITORING_NAMESPACE, secret_name(PROMETHEUS_APP))
        trust = trusting(ca, server_name(certified_as))
    with cluster.forwarded(MONITORING_NAMESPACE, service, PROMETHEUS_PORT) as url:
        reached = url.replace("http:", "https:", 1) if trust else url
        yield Prometheus(reached, environment_of(login), trust)


@contextmanager
def others_server(cluster: Cluster, url: str, login_secret: str | None) -> Iterator[Prometheus]:
    """Reach another team's server, in the cluster or not, with the login of a Secret or none."""
    parts = urlsplit(url)
    login = cluster.login(MONITORING_NAMESPACE, name=login_secret) if login_secret else {}
    inside = IN_CLUSTER.fullmatch(parts.hostname or "")
    if inside is None:
        yield Prometheus(url, environment_of(login) or os.environ)
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with cluster.forwarded(inside[2], inside[1], port) as here:
        yield Prometheus(f"{here}{parts.path}", environment_of(login))


def environment_of(login: Mapping[str, str]) -> dict[str, str]:
    """Return the login as the environment variables that `Prometheus` reads."""
    return {USER: login["username"], PASSWORD: login["password"]} if login else {}
