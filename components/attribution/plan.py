"""What the attribution puts into each namespace of crawlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AttributionPlan:
    """Specs of the Sidecar and of the EnvoyFilters by name, from `render.envoy_filters`."""

    filters: dict[str, Json]
    sidecar: Json
