"""`grafana`: the dashboards' server."""

from __future__ import annotations

from settings.section import Resources, Section, resources
from settings.values.kubernetes import Image


class Grafana(Section):
    """The dashboards' server."""

    image: Image = "docker.io/grafana/grafana:13.2.3"
    """Image with a tag or a digest."""
    resources: Resources = resources(cpu=("500m", "750m"), memory=("512M", "1G"))
    """Requests and limits of Grafana."""
