"""Open the ledger of a stack, for the commands about money."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from books.prometheus import Prometheus, PrometheusError
from components.prometheus.config import LEDGER_APP
from settings.stack import StackSettings
from verify.cluster import Cluster
from verify.reach import others_server, own_server

URL = "LEDGER_URL"


@contextmanager
def opened(
    settings: StackSettings, context: str = "", environment: Mapping[str, str] = os.environ
) -> Iterator[Prometheus]:
    """Reach the server that keeps a stack's hours; pass `settings.cluster` to `read_book`.

    Args:
        context: of kubectl; empty is its current one.
        environment: LEDGER_URL takes precedence over the stack, with LEDGER_USERNAME and
            LEDGER_PASSWORD, or LEDGER_BEARER_TOKEN. So lost hours can be read from Prometheus.

    Raises:
        PrometheusError: the stack keeps no hours, or the server does not answer as it should.
        KubectlError: the cluster does not let it be reached.
    """
    url = environment.get(URL)
    ledger = settings.ledger
    if url:
        try:
            yield Prometheus(url, _as_prometheus(environment))
        except PrometheusError as error:
            raise PrometheusError(str(error).replace("PROMETHEUS_", "LEDGER_")) from None
    elif ledger.url:
        with others_server(Cluster(context), ledger.url, ledger.login_secret) as store:
            yield store
    elif settings.runs_ledger:
        with own_server(Cluster(context), settings, LEDGER_APP, LEDGER_APP) as own:
            yield own
    else:
        raise PrometheusError(
            f"ledger: this stack keeps no hours; set ledger.enabled, or name a server in {URL}"
        )


def _as_prometheus(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the ledger's login under the names that `Prometheus` reads."""
    return {
        name.replace("LEDGER_", "PROMETHEUS_", 1): value
        for name, value in environment.items()
        if name.startswith("LEDGER_")
    }
