"""`images`: the registry that every image is pulled from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictStr

from settings.section import Section
from settings.values.checked_text import Text
from settings.values.kubernetes import ObjectName

ImagePrefix = Annotated[
    StrictStr,
    Text(
        "image prefix",
        r"[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9._-]+)*",
        "is not a registry with a path; write it without scheme, tag and final slash, "
        "like registry.example/mirror",
    ),
]


class Images(Section):
    """Where every image comes from."""

    mirror: ImagePrefix | None = Field(default=None, examples=["registry.example/mirror"])
    """Put before each image's whole name, Istio's too, as `skopeo sync --scoped` copies them:
    `registry.example/mirror/docker.io/grafana/grafana:13.2.3`. An image that begins with it stays
    as written."""
    pull_secrets: tuple[ObjectName, ...] = ()
    """Secrets with the registry's login, for the pods of this program. Each must exist in
    each of their namespaces. Istio's are `istio.imagePullSecrets`."""

    def of(self, image: str) -> str:
        """Return the name under which an image is pulled."""
        if self.mirror is None or image.startswith(f"{self.mirror}/"):
            return image
        return f"{self.mirror}/{image}"
