"""`python -m render.preview --stack prod`: what `pulumi up` would change, as a diff of manifests.

Pulumi's own `preview --diff` repeats a ConfigMap's whole file for one changed line of it, and has a
line for each level above a value: 10,700 lines for a new vendor. This asks the same engine, and
writes both sides as `make render` does.

Exit codes: 0 previewed, else those of `pulumi preview`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

from render.manifests import manifest

Json = dict[str, Any]

STAYS = ("same", "read", "refresh")
PARTS = ("create-replacement", "delete-replaced", "discard-replaced", "remove-pending-replace")
"""Steps of a replacement, which has a step `replace` of its own."""

NOISE = "warning: using pulumi-resource-"
"""The CLI says so for each plugin that it finds on PATH."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One resource that `pulumi up` would change."""

    word: str
    """The engine's: create, update, replace, delete, import, …"""
    name: str
    """Path of its manifest, or type and name of what Kubernetes never sees."""
    before: str
    """Its manifest; empty where it is new, or has none."""
    after: str
    why: tuple[str, ...]
    """Properties whose change replaces it."""


def changes(preview: Json) -> list[Change]:
    """Return what changes, from the output of `pulumi preview --json`."""
    steps = (one for one in preview.get("steps", ()) if one["op"] not in (*STAYS, *PARTS))
    return sorted(map(_change, steps), key=lambda one: (one.name, one.word))


def _change(step: Json) -> Change:
    _, _, types, name = step["urn"].split("::", 3)
    own_type = types.rpartition("$")[2]
    old_path, before = _manifest(own_type, step.get("oldState"))
    new_path, after = _manifest(own_type, step.get("newState"))
    return Change(
        word=step["op"],
        name=new_path or old_path or f"{own_type} {name}",
        before=before,
        after=after,
        why=tuple(step.get("replaceReasons") or ()),
    )


def _manifest(pulumi_type: str, state: Json | None) -> tuple[str, str]:
    inputs = (state or {}).get("inputs")
    return manifest(pulumi_type, inputs) if inputs else ("", "")


def text(preview: Json) -> str:
    """Return what people read: warnings, the list of what changes, and the diff of each."""
    found = changes(preview)
    unchanged = (preview.get("changeSummary") or {}).get("same", 0)
    lines = [*_said(preview, "warning"), f"{len(found)} to change, {unchanged} unchanged"]
    for one in found:
        why = f" because of {', '.join(one.why)}" if one.why else ""
        lines.append(f"  {one.word:<8}{one.name}{why}")
    if not any(one.before for one in found) and not unchanged:
        return "\n".join([*lines, "All is new: `make render` writes the manifests."])
    for one in found:
        sides = one.before.splitlines(), one.after.splitlines()
        diff = [*unified_diff(*sides, fromfile=one.name, tofile=one.name, lineterm="")]
        lines += ["", *diff] if diff else []
    return "\n".join(lines)


def _said(preview: Json, severity: str) -> list[str]:
    """Return what the program and the engine said, each line once."""
    found = (one for one in preview.get("diagnostics", ()) if one.get("severity") == severity)
    lines = (line for one in found for line in one["message"].splitlines() if line.strip())
    return list(dict.fromkeys(line for line in lines if not line.startswith(NOISE)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="preview", description=__doc__)
    parser.add_argument("--stack", required=True, help="of Pulumi's backend")
    options = parser.parse_args(arguments)
    # Without --show-secrets, which would print the stack's secrets.
    command = ["pulumi", "preview", "--json", "--non-interactive", "--stack", options.stack]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        print("pulumi: is not on PATH; install it (README.md)", file=sys.stderr)
        return 2
    try:
        preview = json.loads(done.stdout)
    except ValueError:  # a wrong stack or backend: there is no preview
        print((done.stderr + done.stdout).strip(), file=sys.stderr)
        return done.returncode or 2
    if done.returncode:
        print("\n".join(_said(preview, "error")) or done.stderr.strip(), file=sys.stderr)
        return done.returncode
    print(text(preview))
    return 0


if __name__ == "__main__":
    sys.exit(main())
