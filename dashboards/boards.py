"""Every dashboard, as the files Grafana loads."""

from __future__ import annotations

import json

from dashboards.error_budget import error_budget
from dashboards.fleet import fleet
from dashboards.load_generator import load_generator
from dashboards.look import look_of
from dashboards.pipeline import pipeline
from dashboards.product import product
from dashboards.queries import queries
from dashboards.vendor import vendor
from dashboards.workload import workload
from settings.stack import StackSettings

__all__ = ["boards", "queries"]

_BOARDS = (fleet, vendor, product, workload, error_budget, pipeline, load_generator)


def boards(settings: StackSettings) -> dict[str, str]:
    """Return JSON text by file name, the same bytes for the same stack."""
    look = look_of(settings)
    made = (board(look) for board in _BOARDS)
    return {f"{one['uid']}.json": json.dumps(one, indent=1) + "\n" for one in made}
