"""Every dashboard, as the files Grafana loads."""

from __future__ import annotations

import json

from dashboards.fleet import fleet
from dashboards.queries import queries

__all__ = ["boards", "queries"]


def boards() -> dict[str, str]:
    """Return JSON text by file name, the same bytes at every call."""
    return {
        f"{board['uid']}.json": json.dumps(board, indent=2, sort_keys=True) + "\n"
        for board in (fleet(),)
    }
