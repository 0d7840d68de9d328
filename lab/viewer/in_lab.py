"""The shipped boards on a running lab."""

from __future__ import annotations

import json
from typing import Any

from dashboards.boards import boards
from lab.shortening import DEMO_FACTOR, shortened_expression
from lab.system import Lab
from lab.viewer.questions import Questions

Json = dict[str, Any]

# The lab divides all times of the rules, so its hour is some minutes, and it scrapes every second.
SHORT = {"time": {"from": "now-5m", "to": "now"}, "refresh": "5s"}


def board_questions(lab: Lab, factor: int = DEMO_FACTOR) -> Questions:
    """Return what can be asked of the lab's Prometheus: the shipped boards, of a short time.

    Args:
        factor: divides the times in the panels' queries, as it divides those of the rules.
    """
    models: list[Json] = [json.loads(text) for text in boards(lab.settings).values()]
    targets = [
        one for model in models for panel in model["panels"] for one in panel.get("targets", ())
    ]
    for target in targets:
        target["expr"] = shortened_expression(target["expr"], factor)
    return Questions(
        boards={model["uid"]: {**model, **SHORT} for model in models},
        prometheus_url=lab.prometheus_url,
        scrape_seconds=float(lab.settings.prometheus.scrape_interval),
    )
