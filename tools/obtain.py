"""Two ways to get a project's programs: download its release, or build its source."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tools.binaries import GoBuild, Project

CONNECT_SECONDS = 10.0
"""Longest wait for a connection, and for the next bytes of a download."""
NEWS_SECONDS = 5.0
MODULE_SECONDS = 300.0
LAST_LINES = 15
FIRST_GO_WITH_TOOLCHAINS = (1, 21)  # from 1.21 on, go downloads the newer go that it needs
SUMS = "sha256sums.txt"

_CHUNK_BYTES = 1 << 18
# readonly: go builds nothing that go.sum does not pin.
_GO_FLAGS = {"GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}

Say = Callable[[str], None]


class ObtainError(Exception):
    """The programs cannot be had; the text says why and what to do."""


class _UnreachableError(Exception):
    """The network, or the server, does not give a file; a build from source may still work."""


def download(project: Project, platform: str, folder: Path, say: Say) -> bool:
    """Put the programs of the project's release into `folder`.

    The archive is compared with the pinned checksum or, without one, with the sha256sums.txt of
    the same release.

    Returns:
        False if there is no release for the platform, or the network does not reach it.

    Raises:
        ObtainError: the archive has another checksum. Nothing of it is kept.
    """
    release = project.release
    if release is None:
        return False
    base_url = release.base_url.format(version=project.version)
    name = release.archive.format(version=project.version, platform=platform)
    pinned = release.sha256.get(platform)
    with tempfile.TemporaryFile() as archive:
        try:
            expected = pinned or _published_checksum(f"{base_url}{SUMS}", name)
            found = _fetch(f"{base_url}{name}", archive, say)
        except _UnreachableError as error:
            say(f"{project.name}: {error}; building it instead")
            return False
        if found != expected:
            source = "tools/binaries.py" if pinned else SUMS
            raise ObtainError(
                f"{project.name}: {base_url}{name} has sha256 {found}, but {source} says "
                f"{expected}; it was thrown away. Try again, or put {project.name} on PATH"
            )
        archive.seek(0)
        _unpack(project, archive, folder)
    return True


def _published_checksum(url: str, archive: str) -> str:
    """Return the sha256 of an archive as the release's own list has it."""
    listed = io.BytesIO()
    _fetch(url, listed)
    for line in listed.getvalue().decode(errors="replace").splitlines():
        checksum, _, name = line.partition("  ")  # sha256sum(1)
        if name == archive:
            return checksum
    raise _UnreachableError(f"{url} does not list {archive}")


def _fetch(url: str, into: IO[bytes], say: Say | None = None) -> str:
    """Copy `url` into a file, with progress if there is somebody to tell; return its sha256."""
    digest, received, news = hashlib.sha256(), 0, time.monotonic() + NEWS_SECONDS
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as response:
            total = int(response.headers.get("Content-Length") or 0)
            if say:
                say(f"downloading {url} ({total / 1e6:.0f} MB)")
            while chunk := response.read(_CHUNK_BYTES):
                into.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                if say and time.monotonic() > news:
                    say(f"  {received / 1e6:.0f} of {total / 1e6:.0f} MB")
                    news = time.monotonic() + NEWS_SECONDS
    except (http.client.HTTPException, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _UnreachableError(f"{url}: {str(reason) or type(error).__name__}") from None
    if received < total:
        raise _UnreachableError(f"{url} ended after {received} of {total} bytes")
    return digest.hexdigest()


def _unpack(project: Project, archive: IO[bytes], folder: Path) -> None:
    """Extract the programs, and nothing else, from the archive's one top folder."""
    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as tar:
            members = {member.name.partition("/")[2]: member for member in tar if member.isfile()}
            for name in project.programs:
                source = tar.extractfile(members[name])
                assert source is not None  # isfile() above
                with source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                (folder / name).chmod(0o755)
    except (tarfile.TarError, zlib.error, EOFError, KeyError) as error:
        raise ObtainError(f"{project.name}: no archive, or a program is missing: {error}") from None


def build(project: Project, folder: Path, say: Say) -> None:
    """Build the programs from the pinned Go module into `folder`.

    Raises:
        ObtainError: Go is missing or too old, or the build failed.
    """
    recipe = project.build
    what = f"{project.name} {project.version}"
    version = _usable_go(recipe, what)
    say(f"{what}: building {recipe.module}@{recipe.module_version} with {version}; minutes, once")
    started = time.monotonic()
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as scratch:
        wrapper = _with_added_files(recipe, Path(scratch), what) if recipe.added else recipe.folder
        code = _run_build(
            recipe, wrapper, folder, log, lambda s: say(f"{what}: building, {s:.0f} s")
        )
        if code != 0:
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines()[-LAST_LINES:]
            raise ObtainError(
                "\n".join(lines)
                + f"\n{what}: go build failed with code {code}, its last lines are above. Is "
                "`go env GOPROXY` reachable, and the disk not full? Then run this again: go keeps "
                f"what it compiled. Or put {' and '.join(project.programs)} "
                f"{project.major}.x on PATH"
            )
    for built, name in recipe.renames.items():
        (folder / built).rename(folder / name)
    _copy_files(recipe, folder, what)
    say(f"{what}: built in {time.monotonic() - started:.0f} s")


def _copy_files(recipe: GoBuild, folder: Path, what: str) -> None:
    if not recipe.files:
        return
    command = ["go", "list", f"-modfile={recipe.modfile}", "-m", "-f", "{{.Dir}}", recipe.module]
    try:
        done = subprocess.run(
            command, cwd=recipe.folder, capture_output=True, text=True, timeout=60, check=True
        )
        for name in recipe.files:
            shutil.copy(Path(done.stdout.strip()) / name, folder)
    except (OSError, subprocess.SubprocessError) as error:
        raise ObtainError(f"{what}: {recipe.module} lacks a file: {error}") from None


def _usable_go(recipe: GoBuild, what: str) -> str:
    """Return Go's version, "go1.26.8"; raise if it cannot build the wrapper module."""
    modfile = (recipe.folder / recipe.modfile).read_text()
    wanted = re.search(r"^go (\S+)$", modfile, re.MULTILINE)
    assert wanted is not None  # go refuses a go.mod without this line
    remedy = f"install Go {wanted[1]} or newer, or put {what} on PATH"
    go = shutil.which("go")
    if go is None:
        raise ObtainError(f"{what}: not on PATH, no download, and no Go to build it; {remedy}")
    try:
        done = subprocess.run(
            [go, "env", "GOVERSION", "GOTOOLCHAIN"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            cwd="/",  # inside a module, go answers for the toolchain that go.mod names
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ObtainError(f"{what}: {go} does not run ({error}); {remedy}") from None
    version, _, toolchain = done.stdout.strip().partition("\n")
    has = _numbers(version)
    fetches_newer = has >= FIRST_GO_WITH_TOOLCHAINS and toolchain.strip() != "local"
    if has < _numbers(wanted[1]) and not fetches_newer:
        raise ObtainError(f"{what}: {go} is {version}, too old to build it; {remedy}")
    return version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _with_added_files(recipe: GoBuild, scratch: Path, what: str) -> Path:
    """Return a copy of the wrapper that builds a copy of the module with the `added` files.

    The copy is needed since Go's own cache is read-only. Go has compared it with go.sum.
    """
    try:
        done = subprocess.run(
            ["go", "mod", "download", "-json", recipe.module],
            cwd=recipe.folder,
            env={**os.environ, **_GO_FLAGS},
            capture_output=True,
            text=True,
            timeout=MODULE_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        cached = Path(json.loads(done.stdout)["Dir"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise ObtainError(
            f"{what}: {recipe.module}@{recipe.module_version} cannot be downloaded ({error}); is "
            "`go env GOPROXY` reachable? Then run this again"
        ) from None
    source = scratch / "source"
    # copyfile leaves the modes behind: files in the cache are read-only.
    shutil.copytree(cached, source, copy_function=shutil.copyfile)
    for folder in (source, *(path for path in source.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    for name, text in recipe.added.items():
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    wrapper = scratch / "wrapper"
    wrapper.mkdir()
    shutil.copyfile(recipe.folder / "go.sum", wrapper / "go.sum")
    go_mod = (recipe.folder / "go.mod").read_text(encoding="utf-8")
    (wrapper / "go.mod").write_text(f"{go_mod}\nreplace {recipe.module} => {source}\n")
    return wrapper


def _run_build(
    recipe: GoBuild,
    wrapper: Path,
    folder: Path,
    log: IO[bytes],
    still_running: Callable[[float], None],
) -> int:
    """Run `go build` and report every few seconds; when interrupted, end its compilers."""
    command = [
        *("go", "build", f"-modfile={recipe.modfile}", "-trimpath"),
        *("-tags", recipe.tags, "-ldflags", recipe.ldflags),
        *("-o", f"{folder}{os.sep}"),
        *recipe.packages_to_build(),
    ]
    started = time.monotonic()
    # Without the mask, a signal before Popen returns would leave a compiler running for ever.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        process = subprocess.Popen(
            command,
            cwd=wrapper,
            env={**os.environ, **_GO_FLAGS},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
        )
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while True:
            try:
                return process.wait(timeout=NEWS_SECONDS)
            except subprocess.TimeoutExpired:
                still_running(time.monotonic() - started)
    finally:
        if process.poll() is None:  # interrupted: end go and its compilers
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
