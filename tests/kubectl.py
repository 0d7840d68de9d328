"""`kubectl diff`, as somebody runs it before a sync by Argo CD or Flux."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.programs import run_to_end

SYNC = ("--server-side", "--force-conflicts", "--field-manager=argocd-controller")
"""As Argo CD applies: it takes fields over from other managers, and removes none of theirs."""

DIFFERENT = 1
"""What it exits with where objects differ; 2 and more are errors."""


def differences(
    manifests: Iterable[Mapping[str, Any]],
    kubeconfig: Path,
    environment: Mapping[str, str],
    enter: Callable[[Sequence[str]], Sequence[str]] = lambda command: command,
) -> str:
    """Return what kubectl prints, empty where the cluster has all of it already.

    Args:
        enter: makes a command run in a network namespace.
    """
    items = [*manifests]
    done = run_to_end(
        *enter(["kubectl", f"--kubeconfig={os.fspath(kubeconfig)}", "diff", *SYNC, "-f", "-"]),
        status=None,
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}),
        env=dict(environment),
    )
    assert done.returncode <= DIFFERENT, done.stderr
    assert bool(done.stdout) is (done.returncode == DIFFERENT), done.stdout + done.stderr
    return done.stdout
