"""Programs that no test can be without, as Debian packages where this user may install them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")
INSTALL_SECONDS = 900.0

Say = Callable[[str], None]
Run = Callable[[Sequence[str], Path], str]
"""Run a command in a folder; what went wrong, or "" where nothing did."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What programs are looked for and installed on, given from outside."""

    path: str
    is_root: bool
    run: Run
    say: Say

    def missing(self, packages: Mapping[str, str]) -> list[str]:
        """Return the programs that are not on PATH.

        Args:
            packages: program to the Debian package that has it.
        """
        return [program for program in packages if not shutil.which(program, path=self.path)]

    def install(self, packages: Mapping[str, str], whose: str, without: str) -> None:
        """Install what is missing and can be had; say what cannot, and what follows.

        Args:
            packages: as for `missing`.
            whose: who asks, at the beginning of every line.
            without: what becomes of it without them: "their tests are skipped".
        """
        missing = self.missing(packages)
        if not missing:
            return
        names = list(dict.fromkeys(packages[program] for program in missing))
        by_hand = f"install them, on Debian by `{' '.join((*INSTALL, *names))}` as root"
        named = f"{whose}: {', '.join(missing)} not on PATH"
        if not self.is_root or not shutil.which("apt-get", path=self.path):
            self.say(f"{named}, {without}; {by_hand}")
            return
        self.say(f"{named}: installing {', '.join(names)}")
        for command in (("apt-get", "update"), (*INSTALL, *names)):
            if trouble := self.run(command, Path.cwd()):
                self.say(f"{whose}: {' '.join(command)}: {trouble}; {by_hand}")
                return


def run(command: Sequence[str], folder: Path) -> str:
    """Run it for real, with nobody to answer its questions."""
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


def this_machine() -> Machine:
    return Machine(
        path=os.environ.get("PATH", ""),
        is_root=os.geteuid() == 0,
        run=run,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
