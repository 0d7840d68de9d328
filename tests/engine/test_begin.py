"""The first `up`, which is interrupted and killed before it passes."""

from __future__ import annotations

import os
import signal

from tests.engine.engine import Engine
from tests.engine.repair import TAKE_OVER, UP, repair


def test_a_new_stack_can_be_previewed_without_a_cluster(engine: Engine) -> None:
    """A check of a pull request has no access to a cluster."""
    done = engine.pulumi("preview", "--suppress-outputs", KUBECONFIG=os.devnull)
    assert done.code == 0, done.text
    assert set(done.changes) == {"creat"}
    assert engine.preview().changes == done.changes


def test_a_first_up_that_was_stopped_and_killed_is_repaired(engine: Engine) -> None:
    """What it had made, and Helm's release, stood in the way of every later `up`."""
    engine.interrupted(UP[:1] + UP[2:], r"Release mesh-base creating", signal.SIGINT)
    engine.interrupted(UP, r"Release mesh-istiod creating", signal.SIGKILL, **TAKE_OVER)
    repair(engine)
    assert {"proxy-labels", "proxy-vendor-vendor-a"} <= engine.filters()


def test_a_second_up_has_nothing_to_do(engine: Engine) -> None:
    """A change that comes back with every `up` hides the one that matters."""
    assert engine.up("--expect-no-changes").changes == {}
    assert engine.up("--refresh", "--expect-no-changes").changes == {}
