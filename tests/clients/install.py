"""Install the clients that `tests/clients` runs: curl, wget, Node with its proxy agents, Chromium.

Go and Java are used where they are installed.

    python -m tests.clients.install

A missing client is never an error: its name is printed, and its tests are skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tests.binaries.debian import Machine, this_machine

FOLDER = Path(__file__).parent

PACKAGES: Mapping[str, str] = {
    "curl": "curl",
    "wget": "wget",
    "node": "nodejs",
    "npm": "npm",
    "chromium": "chromium",
}
"""Program -> the Debian package that has it."""


def install(folder: Path, machine: Machine) -> None:
    """Install what is missing, Node's packages by package-lock.json; say what cannot be had."""
    machine.install(PACKAGES, "clients", "their tests are skipped")
    stamp = folder / "node_modules" / ".installed-from"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if "npm" in machine.missing(PACKAGES) or (stamp.exists() and stamp.read_text() == wanted):
        return
    machine.say("clients: Node's proxy agents into tests/clients/node_modules")
    command = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    if trouble := machine.run(command, folder):
        machine.say(f"clients: {' '.join(command)}: {trouble}; the tests of Node are skipped")
        return
    stamp.write_text(wanted)


if __name__ == "__main__":
    install(FOLDER, this_machine())
