"""`python -m render.preview --stack prod`: what `pulumi up` would change, as a diff of manifests.

Pulumi's own `preview --diff` repeats a ConfigMap's whole file for one changed line of it, and has a
line for each level above a value: 10,700 lines for a new vendor. This asks the same engine, and
writes both sides as `make render` does.

Exit codes: 0 previewed, else those of `pulumi preview`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from io import StringIO
from pathlib import Path
from typing import Any

from render.manifests import manifest

Json = dict[str, Any]

STAYS = ("same", "read", "refresh")
PARTS = ("create-replacement", "delete-replaced", "discard-replaced", "remove-pending-replace")
"""Steps of a replacement, which has a step `replace` of its own."""

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""The engine's word for a value that `up` will know (pulumi, pkg/resource/stack/deployment.go)."""

STREAMS = "PULUMI_ENABLE_STREAMING_JSON_PREVIEW"
"""With it in the environment `--json` writes a line for each event, and no document."""

NOISE = "warning: using pulumi-resource-"
"""The CLI says so for each plugin that it finds on PATH."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One resource that `pulumi up` would change."""

    word: str
    """The CLI's: create, update, replace, delete, import, … With [retain] the object stays."""
    name: str
    """Path of its manifest, or type and name of what Kubernetes never sees."""
    before: str
    """Its manifest; empty where it is new, has none, or is forgotten but stays in the cluster."""
    after: str
    why: tuple[str, ...]
    """Properties whose change replaces it, or is not in the manifest: a Secret's, a Release's."""


def changes(preview: Json) -> list[Change]:
    """Return what changes, from the output of `pulumi preview --json`."""
    steps = (one for one in preview.get("steps", ()) if one["op"] not in (*STAYS, *PARTS))
    return sorted(map(_change, steps), key=lambda one: (one.name, one.word))


def _change(step: Json) -> Change:
    _, _, types, name = step["urn"].split("::", 3)
    own_type = types.rpartition("$")[2]
    old_path, before = _manifest(own_type, step.get("oldState"))
    new_path, after = _manifest(own_type, step.get("newState"))
    word, why = step["op"], step.get("replaceReasons")
    if word in ("delete", "replace") and (step.get("oldState") or {}).get("retainOnDelete"):
        word += "[retain]"
        before = before if after else ""  # nothing of it goes
    if not why and before == after:
        why = step.get("detailedDiff")
    return Change(
        word=word,
        name=new_path or old_path or f"{own_type} {name}",
        before=before,
        after=after,
        why=tuple(why or ()),
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
        lines.append(f"  {one.word:<7} {one.name}{why}")
    if found and not unchanged and all(one.word == "create" for one in found):
        return "\n".join([*lines, "All is new: `make render` writes the manifests."])
    for one in found:
        # str.splitlines would also split at what a text may hold, such as U+2028.
        sides = [*StringIO(one.before)], [*StringIO(one.after)]
        diff = "".join(unified_diff(*sides, fromfile=one.name, tofile=one.name))
        lines += ["", diff.removesuffix("\n")] if diff else []
    return "\n".join(lines)


def _said(preview: Json, severity: str) -> list[str]:
    """Return what the program and the engine said, each line once."""
    found = (one for one in preview.get("diagnostics", ()) if one.get("severity") == severity)
    lines = (line for one in found for line in one["message"].splitlines() if line.strip())
    return list(dict.fromkeys(line for line in lines if not line.startswith(NOISE)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="preview", description=__doc__)
    parser.add_argument("--stack", required=True, help="of Pulumi's backend; STACK_FILE: its file")
    options = parser.parse_args(arguments)
    # Without --show-secrets, which would print the stack's secrets.
    command = ["pulumi", "preview", "--json", "--non-interactive", f"--stack={options.stack}"]
    if file := os.environ.get("STACK_FILE"):
        if not Path(file).is_file():  # pulumi would write one
            print(f"STACK_FILE: {file} is no file; name the stack's", file=sys.stderr)
            return 2
        command.append(f"--config-file={file}")
    environment = {key: value for key, value in os.environ.items() if key != STREAMS}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        print("pulumi: is not on PATH; install it (README.md)", file=sys.stderr)
        return 2
    try:
        preview = json.loads(done.stdout.replace(UNKNOWN, "(known after up)"))
    except ValueError:  # a wrong stack or backend: there is no preview
        print((done.stderr + done.stdout).strip(), file=sys.stderr)
        return done.returncode or 2
    errors = _said(preview, "error") if done.returncode else []
    if not errors:  # else the program or the engine did not come to its end
        print(text(preview))
    if done.returncode:
        print("\n".join(errors) or done.stderr.strip(), file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
