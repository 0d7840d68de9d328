"""Install the Debian packages of programs that tests need, if this user may."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOCK_SECONDS = 300
"""How long another apt may hold its locks, as unattended upgrades do on a new machine."""
INSTALL_SECONDS = 900.0
RETRY_SECONDS = 2.0

UPDATE = ("apt-get", "update")
INSTALL = (
    *("apt-get", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}"),
    *("install", "-y", "--no-install-recommends"),
)

Say = Callable[[str], None]
Run = Callable[[Sequence[str], Path], str]
"""Run a command in a folder; return "" if it succeeded, else what went wrong."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where programs are looked for and installed; tests make one up."""

    path: str
    is_root: bool
    run: Run
    say: Say

    def missing(self, packages: Mapping[str, str]) -> list[str]:
        """Return the programs that are not on PATH, and the files that do not exist.

        Args:
            packages: program, or absolute path -> the Debian package that has it.
        """
        return [
            program
            for program in packages
            if not (Path(program).is_absolute() and Path(program).exists())
            and not shutil.which(program, path=self.path)
        ]

    def install(self, packages: Mapping[str, str], suite: str, consequence: str) -> None:
        """Install the missing programs, or say what is missing and what to do.

        Args:
            packages: as for `missing`.
            suite: the tests that need them, named in every line.
            consequence: what happens without them: "its tests are skipped".
        """
        missing = self.missing(packages)
        if not missing:
            return
        names = list(dict.fromkeys(packages[program] for program in missing))
        remedy = f"on Debian, run `apt-get install {' '.join(names)}` as root"
        problem = f"{suite}: {', '.join(missing)} not on PATH"
        if not self.is_root or not shutil.which("apt-get", path=self.path):
            self.say(f"{problem}, {consequence}; {remedy}")
            return
        self.say(f"{problem}: installing {', '.join(names)}")
        for command in (UPDATE, (*INSTALL, *names)):
            if trouble := self._run_unlocked(command):
                self.say(f"{suite}: {' '.join(command)}: {trouble}; {remedy}")
                return

    def _run_unlocked(self, command: Sequence[str]) -> str:
        """Run a command again while another apt holds a lock: `apt-get update` cannot wait."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            trouble = self.run(command, Path.cwd())
            if "Unable to lock" not in trouble or time.monotonic() > deadline:
                return trouble
            self.say(f"{' '.join(command)}: another apt holds the lock; waiting")
            time.sleep(RETRY_SECONDS)


def run(command: Sequence[str], folder: Path) -> str:
    """Run a command that gets no input; return "" if it succeeded, else what went wrong."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            # C: `_run_unlocked` looks for an English message.
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
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
