"""What nobody thought of passes a passive sidecar as if it were not there, and does it no harm.

The long form: `python -m tests.lab.passive_fuzz`.
"""

from __future__ import annotations

import pytest

from tests.lab.passive_fuzz import (
    differences,
    good_requests_count,
    memory_kib,
    running_on_every_address,
    scripts,
)

EXCHANGES = 1000
CONNECTIONS = 5000
MOST_GROWN_KIB = 4096  # the allocator's and V8's own comings and goings


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_on_every_address(tmp_path_factory.mktemp("fuzz")) as own:
        yield own


def test_generated_exchanges_differ_in_nothing_from_no_envoy(running):
    """Hostile or broken, cut anywhere: every byte, and how each end comes. Then it still counts."""
    assert differences(scripts(EXCHANGES), running) == []
    assert good_requests_count(running, 50)


def test_connections_that_ended_leave_nothing_in_memory(running):
    """A sidecar lives for weeks."""
    before, after = memory_kib(running, CONNECTIONS)
    assert after - before < MOST_GROWN_KIB
    assert good_requests_count(running, 1)


def test_an_envoy_that_parses_differs(tmp_path):
    """A comparison that cannot fail proves nothing."""
    with running_on_every_address(tmp_path, "http") as parsing:
        assert len(differences(scripts(40), parsing)) > 5
