"""`ledger`: the hourly figures of what vendors bill, kept longer than Prometheus keeps samples."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, StrictBool

from settings.section import Problem, Resources, Section, resources
from settings.values.kubernetes import ObjectName
from settings.values.quantities import Bytes, Duration, format_duration
from settings.values.texts import ServerUrl

DAY = 86400

# Reconciliation asks for the month before the last one, which begins up to 62 days before this
# month does: July and August.
LEAST_RETENTION = 62 * DAY

OWN_KEYS = ("retention", "storage", "resources")
"""Keys about the server that this program runs."""


class Ledger(Section):
    """The store of what each hour carried, by vendor, product, team and target."""

    enabled: StrictBool | None = None
    """Whether this program runs a small second Prometheus that keeps the hours. Default: where it
    runs Prometheus and a vendor has `billing`, since an invoice comes after Prometheus' own
    retention has ended."""
    retention: Duration = 800 * DAY
    """How long hours are kept: this year and the whole last one, and at least 62d."""
    storage: Bytes = 2 * 2**30
    """Size of its volume. The oldest hours go before four fifths of it are exceeded. A later change
    does not grow an existing volume."""
    resources: Resources = resources(cpu=("100m", "1"), memory=("250M", "1G"))
    """Requests and limits of that Prometheus. Its image is `prometheus.image`."""
    url: ServerUrl | None = Field(default=None, examples=["https://mimir.example.com/prometheus"])
    """Your own long-term store in its place: where it answers Prometheus' query API. Every hour is
    read from there."""
    write_url: ServerUrl | None = Field(
        default=None, examples=["https://mimir.example.com/api/v1/push"]
    )
    """Where that store takes the hours by remote write. Without it they must come there another
    way."""
    login_secret: ObjectName | None = None
    """Secret in namespace `monitoring`, of type `kubernetes.io/basic-auth`, with the store's login.
    Without it no login is used."""

    def problems(self) -> Iterator[Problem]:
        if self.retention < LEAST_RETENTION:
            yield Problem(
                ("retention",),
                f"{format_duration(self.retention)} is shorter than two months, and an invoice is "
                "compared with the month before the last; write 62d or more",
            )
        if self.url is None:
            for key in ("write_url", "login_secret"):
                if getattr(self, key) is not None:
                    yield Problem(
                        (self.key_of(key),),
                        "has no effect without ledger.url, which says where hours are read; add it",
                    )
            return
        if self.enabled is not None:
            yield Problem(
                ("enabled",), "has no effect with ledger.url, which is the ledger; remove one"
            )
        for key in OWN_KEYS:
            if self.sets(key):
                yield Problem(
                    (key,), "has no effect with ledger.url, whose owner decides; remove one of both"
                )
