"""`moneyExporter`: the pod that computes costs and budgets from the ledger's hours."""

from __future__ import annotations

from pydantic import Field

from settings.section import Resources, Section, resources
from settings.values.kubernetes import DnsLabel, Image, ObjectName


class MoneyExporter(Section):
    """What exports costs, prices and budgets, wherever hours are kept."""

    image: Image = "docker.io/library/python:3.11-slim"
    """A Python image; the program needs nothing else."""
    usage_secrets: dict[DnsLabel, ObjectName] = Field(
        default={}, examples=[{"vendor-a": "vendor-a-usage"}]
    )
    """By vendor with `usage.api`: a Secret in `monitoring` with the key `token`, or `username` and
    `password`. Each morning the exporter asks that vendor for yesterday's bytes, for the alert
    `ProxyTrafficBilledNotMetered`. The vendor's days must be UTC."""
    resources: Resources = resources(cpu=("20m", "1"), memory=("100M", "500M"))
    """Requests and limits of its pod."""
