"""`grafana`: the dashboards' server."""

from __future__ import annotations

from pydantic import Field

from settings.section import Resources, Section, resources
from settings.values.kubernetes import Image


class Grafana(Section):
    """The dashboards' server."""

    image: Image = Field(
        default="docker.io/grafana/grafana:13.2.3", description="Image with a tag or a digest."
    )
    resources: Resources = Field(
        default=resources(cpu=("500m", "750m"), memory=("512M", "1G")),
        description="Requests and limits of Grafana.",
    )
