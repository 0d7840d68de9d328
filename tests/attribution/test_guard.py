"""A stack that the cluster could not store is refused before it is applied."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from components.attribution.guard import refuse_undeployable
from settings.loading import SettingsError, parse_settings


def stack(ranges):
    first = int(ip_address("10.0.0.0"))
    cidrs = [f"{ip_address(first + 2 * number)}/32" for number in range(ranges)]
    return parse_settings({"cluster": "dev", "vendors": [{"name": "vendor-a", "cidrs": cidrs}]})


def test_thousands_of_ranges_are_fine_and_too_many_are_named():
    """etcd refuses an object of 1.5 MB, at `up`, half way through; this says so at preview."""
    refuse_undeployable(stack(3000))
    with pytest.raises(SettingsError) as refused:
        refuse_undeployable(stack(10_000))
    (finding,) = str(refused.value).splitlines()
    assert finding.startswith("vendors[0].cidrs: 10000 ranges make an EnvoyFilter of 1.")
    assert finding.endswith("join neighbouring ranges, or split the vendor in two")
