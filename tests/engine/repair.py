"""The commands of docs/operations.md after an `up` that was interrupted."""

from __future__ import annotations

import re

from tests.engine.engine import Engine

HELM_HAS_IT = "cannot re-use a name that is still in use"
HELM_IS_BUSY = "another operation (install/upgrade/rollback) is in progress"
RELEASES = {"mesh-base": "istio-base", "mesh-cni": "istio-cni", "mesh-istiod": "istiod"}
"""Helm's names of the program's releases."""

UP = ("up", "--refresh", "--yes", "--skip-preview", "--suppress-outputs")
FORCE = {"PULUMI_K8S_ENABLE_PATCH_FORCE": "true"}
TAKE_OVER = {"PULUMI_K8S_UPSERT_EXISTING_OBJECTS": "true", **FORCE}


def repair(engine: Engine) -> None:
    """Do what the page says, in its order, until nothing is left to change."""
    engine.pulumi("cancel", "--yes")
    done = engine.pulumi(*UP, **TAKE_OVER)
    for _ in RELEASES:
        if done.code == 0:
            break
        forget_release(engine, done.text)
        done = engine.pulumi(*UP, **TAKE_OVER)
    assert done.code == 0, done.text[-4000:]
    # Pulumi names a field manager by chance for each object that it creates: the killed run's still
    # holds the fields of what it made, and a later `up` that changes one would report a conflict.
    engine.later |= FORCE
    assert "pending operation" not in engine.preview("--expect-no-changes").text


def forget_release(engine: Engine, text: str) -> None:
    """Delete Helm's Secrets that the error is about."""
    why = f"({re.escape(HELM_HAS_IT)}|{re.escape(HELM_IS_BUSY)})"
    blocked = set(re.findall(rf"Release (mesh-\w+) .*error: .*{why}", text))
    assert blocked, text[-4000:]
    for name, reason in blocked:
        status = ",status!=deployed" if reason == HELM_IS_BUSY else ""
        labels = f"owner=helm,name={RELEASES[name]}{status}"
        engine.kubectl("-n", "istio-system", "delete", "secret", "-l", labels)
