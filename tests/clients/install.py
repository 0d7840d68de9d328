"""Install the clients that `tests/clients` runs: curl, wget, Node with its proxy agents, Chromium.

Go and Java are used where they are installed.

    python -m tests.clients.install

A missing client is never an error: its name is printed, and its tests are skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """Where and on which machine the clients are installed; tests make both up."""

    folder: Path
    machine: Machine

    def clients(self) -> None:
        """Install what is missing; say what cannot be installed."""
        self.machine.install(PACKAGES, "clients", "their tests are skipped")
        if "npm" not in self.machine.missing(PACKAGES):
            self._node_packages()

    def _node_packages(self) -> None:
        """Install what package-lock.json says, unless that was done before."""
        say = self.machine.say
        stamp = self.folder / "node_modules" / ".installed-from"
        wanted = hashlib.sha256((self.folder / "package-lock.json").read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        say("clients: Node's proxy agents into tests/clients/node_modules")
        command = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        if trouble := self.machine.run(command, self.folder):
            say(f"clients: {' '.join(command)}: {trouble}; the tests of Node are skipped")
            return
        stamp.write_text(wanted)


if __name__ == "__main__":
    SetUp(folder=FOLDER, machine=this_machine()).clients()
