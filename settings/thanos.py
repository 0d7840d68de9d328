"""`prometheus.thanos`: upload of all of Prometheus' data to an object store, by Thanos' sidecar."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from settings.section import Resources, Section, resources
from settings.values.kubernetes import Image, ObjectName, release_from

# The sidecar logs in to Prometheus by --prometheus.http-client-file, which 0.24 brought (Thanos'
# CHANGELOG, #4612).
ThanosImage = Annotated[Image, release_from(0, 24)]


class Thanos(Section):
    """Thanos' sidecar beside each Prometheus; its store, query and compactor are yours to run."""

    object_store_secret: ObjectName = Field(examples=["thanos-objstore"])
    """Secret in namespace `monitoring` that you make: its key `objstore.yml` configures the bucket
    (https://thanos.io/tip/thanos/storage.md/)."""
    image: ThanosImage = "quay.io/thanos/thanos:v0.42.4"
    """Image with a tag or a digest; 0.24 or newer."""
    resources: Resources = resources(cpu=("50m", "500m"), memory=("100M", "500M"))
    """Requests and limits of the sidecar."""
