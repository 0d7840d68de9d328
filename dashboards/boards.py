"""Every dashboard, as the files Grafana loads."""

from __future__ import annotations

from components.file_text import json_text
from dashboards.cost import cost
from dashboards.error_budget import error_budget
from dashboards.fleet import fleet
from dashboards.frame import shown
from dashboards.load_generator import load_generator
from dashboards.look import look_of
from dashboards.pipeline import pipeline
from dashboards.product import product
from dashboards.queries import queries
from dashboards.vendor import vendor
from dashboards.workload import workload
from settings.stack import StackSettings

__all__ = ["boards", "queries"]

_BOARDS = (fleet, vendor, product, workload, cost, error_budget, pipeline, load_generator)


def boards(settings: StackSettings) -> dict[str, str]:
    """Return JSON text by file name, the same bytes for the same stack."""
    look = look_of(settings)
    made = {one["uid"]: one for one in (board(look) for board in _BOARDS)}
    return {f"{uid}.json": json_text(made[uid]) for uid in shown(look)}
