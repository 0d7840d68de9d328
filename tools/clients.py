"""Have the clients that `tests/clients` asks for: curl, Node with its proxy agents, Chromium.

    python -m tools.clients

From PATH, else as Debian packages where this user may install them. What cannot be had is named
on standard error, and its tests are skipped: never an error, since all else can be tested.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "tests" / "clients"

PACKAGES: Mapping[str, str] = {
    "curl": "curl",
    "node": "nodejs",
    "npm": "npm",
    "chromium": "chromium",
}
"""Program to the Debian package that has it."""

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")
INSTALL_SECONDS = 900.0

Say = Callable[[str], None]
Run = Callable[[Sequence[str], Path], str]
"""Run a command in a folder; what went wrong, or "" where nothing did."""


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """The set-up, with everything about the machine it runs on given from outside."""

    folder: Path
    path: str
    is_root: bool
    run: Run
    say: Say

    def clients(self) -> None:
        """Install what is missing and can be had; say what cannot."""
        if missing := self._missing():
            self._install(missing)
        if "npm" not in self._missing():
            self._node_packages()

    def _missing(self) -> list[str]:
        return [program for program in PACKAGES if not shutil.which(program, path=self.path)]

    def _install(self, missing: Sequence[str]) -> None:
        packages = [PACKAGES[program] for program in missing]
        by_hand = f"install them, on Debian by `{' '.join((*INSTALL, *packages))}` as root"
        named = f"clients: {', '.join(missing)} not on PATH"
        if not self.is_root or not shutil.which("apt-get", path=self.path):
            self.say(f"{named}, their tests are skipped; {by_hand}")
            return
        self.say(f"{named}: installing {', '.join(packages)}")
        for command in (("apt-get", "update"), (*INSTALL, *packages)):
            if trouble := self.run(command, self.folder):
                self.say(f"clients: {' '.join(command)}: {trouble}; {by_hand}")
                return

    def _node_packages(self) -> None:
        """Install what package-lock.json says, unless that is what lies there."""
        stamp = self.folder / "node_modules" / ".installed-from"
        wanted = hashlib.sha256((self.folder / "package-lock.json").read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        self.say("clients: Node's proxy agents into tests/clients/node_modules")
        command = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        if trouble := self.run(command, self.folder):
            self.say(f"clients: {' '.join(command)}: {trouble}; the tests of Node are skipped")
            return
        stamp.write_text(wanted)


def run(command: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    last = (done.stderr or done.stdout).strip().splitlines()[-1:]
    return f"exit code {done.returncode}: {''.join(last)}" if done.returncode else ""


def main() -> int:
    SetUp(
        folder=FOLDER,
        path=os.environ.get("PATH", ""),
        is_root=os.geteuid() == 0,
        run=run,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    ).clients()
    return 0


if __name__ == "__main__":
    sys.exit(main())
