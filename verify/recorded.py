"""The cluster that a stack's first `up` recorded, from Pulumi's state."""

from __future__ import annotations

import json
import subprocess

from settings.loading import ROOT

SECONDS = 30.0
KEPT_AS = "::cluster-uid"
"""How the URN of the resource ends in which the program keeps the UID."""


def recorded_uid(stack: str) -> str | None:
    """Return the UID of the stack's cluster.

    None where there is no Pulumi CLI, no login to the state, or no such stack: who verifies need
    not be who deploys. Pulumi prints secrets of the state encrypted, and asks for no passphrase.
    """
    command = ["pulumi", "stack", "export", f"--stack={stack}", f"--cwd={ROOT}"]
    try:
        done = subprocess.run(
            [*command, "--non-interactive"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        for one in json.loads(done.stdout)["deployment"]["resources"]:
            if one["urn"].endswith(KEPT_AS):
                return str(one["outputs"]["output"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        pass
    return None
