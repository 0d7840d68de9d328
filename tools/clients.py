"""Have the clients that `tests/clients` asks for: curl, Node with its proxy agents, Chromium.

    python -m tools.clients

From PATH, else as Debian packages where this user may install them. What cannot be had is named
on standard error, and its tests are skipped: never an error, since all else can be tested.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.debian import Machine, this_machine

FOLDER = Path(__file__).parents[1] / "tests" / "clients"

PACKAGES: Mapping[str, str] = {
    "curl": "curl",
    "node": "nodejs",
    "npm": "npm",
    "chromium": "chromium",
}
"""Program to the Debian package that has it."""


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """The set-up, with everything about the machine it runs on given from outside."""

    folder: Path
    machine: Machine

    def clients(self) -> None:
        """Install what is missing and can be had; say what cannot."""
        self.machine.install(PACKAGES, "clients", "their tests are skipped")
        if "npm" not in self.machine.missing(PACKAGES):
            self._node_packages()

    def _node_packages(self) -> None:
        """Install what package-lock.json says, unless that is what lies there."""
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


def main() -> int:
    SetUp(folder=FOLDER, machine=this_machine()).clients()
    return 0


if __name__ == "__main__":
    sys.exit(main())
