"""`alerts`: the limits at which alerts fire. The alerts themselves are in rules/."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StrictInt

from settings.section import Section
from settings.values.quantities import Share
from settings.values.texts import BaseUrl, PathInRoot

# Times the even rate at which the burn-rate alerts fire: 2 % of a week's error budget in an hour,
# and 5 % in six hours.
FAST_BURN = 3.36
SLOW_BURN = 1.4
LEAST_OBJECTIVE = 0.75  # below, FAST_BURN times the budget is nearly all: the alert cannot fire


def reachable_objective(share: float) -> float:
    if share < LEAST_OBJECTIVE:
        raise ValueError(
            f"allows so many failures that the alert on the error budget ({FAST_BURN} times as "
            "many) could hardly fire; write 75% or more"
        )
    return share


Objective = Annotated[Share, AfterValidator(reachable_objective)]
Milliseconds = Annotated[StrictInt, Field(ge=1)]
RequestsPerHour = Annotated[StrictInt, Field(ge=1, le=10**9)]


class VendorAlerts(Section):
    """Limits of one vendor. A limit that is left out is the stack's."""

    objective: Objective | None = None
    """As `alerts.objective`."""
    minimum_requests_per_hour: RequestsPerHour | None = None
    """As `alerts.minimumRequestsPerHour`."""
    failure_share: Share | None = None
    """As `alerts.failureShare`."""
    auth_failure_share: Share | None = None
    """As `alerts.authFailureShare`."""
    quota_exhausted_share: Share | None = None
    """As `alerts.quotaExhaustedShare`."""
    rate_limited_share: Share | None = None
    """As `alerts.rateLimitedShare`."""
    banned_share: Share | None = None
    """As `alerts.bannedShare`."""
    connect_failure_share: Share | None = None
    """As `alerts.connectFailureShare`."""
    setup_milliseconds: Milliseconds | None = None
    """As `alerts.setupMilliseconds`."""


class Alerts(Section):
    """When an alert fires. A share is one of a vendor's requests over 5 minutes."""

    objective: Objective = 0.95
    """Share of its requests that a vendor must carry over a week, 75 % or more. The rest is its
    error budget: an alert is critical when 2 % of it is gone in an hour (at 95 %: 17 % of requests
    fail), a warning at 5 % in six hours (7 % fail)."""
    minimum_requests_per_hour: RequestsPerHour = 360
    """Least traffic, of requests or of connections, from which a share is taken. At 360 an hour one
    failed request is 3 % of 5 minutes."""
    failure_share: Share = 0.5
    """Failed requests at which an alert is critical after 5 minutes."""
    auth_failure_share: Share = 0.05
    """Requests answered 407 although they carry credentials. 5 % is one crawler in twenty with an
    old password."""
    quota_exhausted_share: Share = 0.01
    """Requests refused because the traffic bought is used up."""
    rate_limited_share: Share = 0.1
    """Requests answered 429."""
    banned_share: Share = 0.2
    """Requests to one target group answered 403, 451 or 999."""
    connect_failure_share: Share = 0.1
    """Connections to the vendor that fail."""
    setup_milliseconds: Milliseconds = 5000
    """Milliseconds until an answer begins that one request in twenty exceeds. Must be below the
    highest of `telemetry.buckets`."""
    outside_share: Share = 0.2
    """Bytes of the crawler pods that go to no vendor. APIs and stores outside the cluster count
    too, unless they are `destinations`."""
    runbook_url: BaseUrl = (
        "https://github.com/proxy-observability/proxy-observability/blob/main/docs/runbooks/"
    )
    """Where the runbooks are: an alert's annotation `runbook_url` is this, its name and `.md`."""
    rule_files: tuple[PathInRoot, ...] = ()
    """Your own rule files, which Prometheus reads as well. A rule name of this program's is
    refused, and so is an alert whose `severity` is not `critical`, `warning` or `info`."""
