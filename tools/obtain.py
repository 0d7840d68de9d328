"""Two ways to get a project's programs into a folder: its release, or its source."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
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

CONNECT_SECONDS = 10.0  # also the longest silence within a download
NEWS_SECONDS = 5.0
LAST_LINES = 15
FIRST_GO_WITH_TOOLCHAINS = (1, 21)  # from here on go fetches a newer one by itself

DOWNLOAD_SECONDS = 300.0

_CHUNK_BYTES = 1 << 18
# readonly: what go.sum does not pin is not built.
_GO_FLAGS = {"GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}

Say = Callable[[str], None]


class ObtainError(Exception):
    """A way failed for good; the text says why and what to do."""


class _DownloadBrokenError(Exception):
    """The network's fault, so the next way may be tried."""


def download(project: Project, platform: str, folder: Path, say: Say) -> bool:
    """Put the programs of the official release into `folder`.

    Returns:
        False if no checksum is pinned for the platform, or the network does not reach it.

    Raises:
        ObtainError: what came is not what was pinned. Nothing of it is kept.
    """
    expected = project.release.sha256.get(platform)
    if expected is None:
        return False
    url = project.release.url.format(version=project.version, platform=platform)
    with tempfile.TemporaryFile() as archive:
        try:
            found = _fetch(url, archive, say)
        except _DownloadBrokenError as error:
            say(f"{project.name}: {url}: {error}; building it instead")
            return False
        if found != expected:
            raise ObtainError(
                f"{project.name}: {url} has sha256 {found}, not {expected} as tools/binaries.py "
                "pins; it was thrown away. Compare with the release's sha256sums.txt"
            )
        archive.seek(0)
        _unpack(project, archive, folder)
    return True


def _fetch(url: str, into: IO[bytes], say: Say) -> str:
    """Stream `url` and return its sha256 in hex."""
    digest, received, news = hashlib.sha256(), 0, time.monotonic() + NEWS_SECONDS
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as response:
            total = int(response.headers.get("Content-Length") or 0)
            say(f"downloading {url} ({total / 1e6:.0f} MB)")
            while chunk := response.read(_CHUNK_BYTES):
                into.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                if time.monotonic() > news:
                    say(f"  {received / 1e6:.0f} of {total / 1e6:.0f} MB")
                    news = time.monotonic() + NEWS_SECONDS
    except (http.client.HTTPException, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _DownloadBrokenError(str(reason) or type(error).__name__) from None
    if received < total:
        raise _DownloadBrokenError(f"ended after {received} of {total} bytes")
    return digest.hexdigest()


def _unpack(project: Project, archive: IO[bytes], folder: Path) -> None:
    """Take the programs, and only those, out of the archive's one top folder."""
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
        raise ObtainError(f"{project.name}: unexpected form of its release: {error}") from None


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
                "`go env GOPROXY` within reach and the disk not full? Then run this again: what "
                f"was compiled is kept. Or put {' and '.join(project.programs)} "
                f"{project.major}.x on PATH"
            )
    for called, ours in recipe.renames.items():
        (folder / called).rename(folder / ours)
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
    """Return "go1.26.8", or raise if Go can't build the wrapper module."""
    modfile = (recipe.folder / recipe.modfile).read_text()
    wanted = re.search(r"^go (\S+)$", modfile, re.MULTILINE)
    assert wanted is not None  # go itself refuses a go.mod without it
    remedy = f"install Go {wanted[1]} or newer, or put {what} on PATH"
    go = shutil.which("go")
    if go is None:
        raise ObtainError(f"{what}: not on PATH, and there is no Go to build it with; {remedy}")
    try:
        done = subprocess.run(
            [go, "env", "GOVERSION", "GOTOOLCHAIN"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            cwd="/",  # inside a module, go would answer for the toolchain the module asks for
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
    """Return a copy of the wrapper module that builds a copy of the module with `added` in it.

    Go lets nobody write into its cache; what it downloads there is compared with go.sum first.
    """
    try:
        done = subprocess.run(
            ["go", "mod", "download", "-json", recipe.module],
            cwd=recipe.folder,
            env={**os.environ, **_GO_FLAGS},
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        cached = Path(json.loads(done.stdout)["Dir"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise ObtainError(
            f"{what}: {recipe.module}@{recipe.module_version} can't be downloaded ({error}); is "
            "`go env GOPROXY` within reach? Then run this again"
        ) from None
    source = scratch / "source"
    # Without the cache's modes: nothing in it may be written.
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
    """Run `go build`; call back every few seconds; leave no compiler running behind."""
    command = [
        *("go", "build", f"-modfile={recipe.modfile}", "-trimpath"),
        *("-tags", recipe.tags, "-ldflags", recipe.ldflags),
        *("-o", f"{folder}{os.sep}"),
        *recipe.packages_to_build(),
    ]
    started = time.monotonic()
    # A signal that came before Popen has returned would leave a compiler that nobody knows.
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
        if process.poll() is None:  # interrupted: go and the compilers it started
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
