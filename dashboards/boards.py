"""Every dashboard, as the files Grafana loads."""

from __future__ import annotations

import json
from typing import Any

from dashboards.clusters import by_cluster
from dashboards.fleet import CONNECTIONS_METRIC, fleet
from dashboards.queries import queries

__all__ = ["boards", "queries"]


def boards(*, several_clusters: bool = False) -> dict[str, str]:
    """Return JSON text by file name, the same bytes at every call.

    Args:
        several_clusters: whether Prometheus has other clusters' records too.
    """
    made: tuple[dict[str, Any], ...] = (fleet(),)
    if several_clusters:
        made = tuple(by_cluster(board, CONNECTIONS_METRIC) for board in made)
    return {
        f"{board['uid']}.json": json.dumps(board, indent=2, sort_keys=True) + "\n" for board in made
    }
