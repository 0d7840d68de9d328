"""GitHub's workflows, as linters and a reader of their rights see them; none of them ran here."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings.istio import Istio
from settings.loading import ROOT
from tests import binaries
from tests.programs import run_to_end

FILES = sorted((ROOT / ".github" / "workflows").iterdir())
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
FAR_MINUTES = 180
COMMENTING = ("comment", "comment-again")

every = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def loaded(file: Path) -> dict[str, Any]:
    # A plain loader would read the key `on` as true.
    return yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def steps(file: Path) -> Iterator[dict[str, Any]]:
    for job in loaded(file)["jobs"].values():
        yield from job["steps"]


def test_the_workflows_are_the_known_ones() -> None:
    """A new one is read by these tests too; this list is what the pages speak of."""
    assert [file.stem for file in FILES] == ["check", "envoy-contrib", "impact", "kind"]


def test_actionlint_finds_nothing() -> None:
    """Syntax, expressions, injected text, and each script by shellcheck."""
    actionlint = binaries.find("actionlint")
    # Without -pyflakes= an installed one would decide whether this passes.
    command = [actionlint, "-no-color", "-pyflakes=", f"-shellcheck={SHELLCHECK}", *FILES]
    assert SHELLCHECK.is_file()
    done = run_to_end(*command, cwd=ROOT)
    assert done.stdout + done.stderr == ""


def test_actionlint_would_find_an_injected_title(tmp_path: Path) -> None:
    """The linter is the one that looks for it, shellcheck included."""
    file = tmp_path / "bad.yml"
    file.write_text(
        "on: pull_request\njobs:\n  one:\n    runs-on: ubuntu-24.04\n    steps:\n"
        "      - run: echo ${{ github.event.pull_request.title }} $HOME/*.txt | xargs cat $x\n"
    )
    command = [binaries.find("actionlint"), "-oneline", f"-shellcheck={SHELLCHECK}", file]
    found = run_to_end(*command, status=1).stdout
    assert "is potentially untrusted" in found
    assert "SC2086" in found


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    done = run_to_end(SHELLCHECK, *sorted((ROOT / ".ci").iterdir()))
    assert done.stdout + done.stderr == ""


@every
def test_rights_are_read_only_but_for_the_comment(file: Path) -> None:
    """Whoever adds a job gets no right to write by omission."""
    workflow = loaded(file)
    assert workflow["permissions"] == {"contents": "read"}
    writing = {
        name: {right for right, access in job.get("permissions", {}).items() if access == "write"}
        for name, job in workflow["jobs"].items()
    }
    assert {name: rights for name, rights in writing.items() if rights} == (
        {name: {"pull-requests"} for name in COMMENTING} if file.stem == "impact" else {}
    )


@every
def test_a_stranger_s_change_never_runs_with_our_secrets(file: Path) -> None:
    """`pull_request_target` and `workflow_run` would; only the previews' job reads a secret."""
    workflow = loaded(file)
    assert not {"pull_request_target", "workflow_run"} & {*workflow["on"]}
    reading = [name for name, job in workflow["jobs"].items() if "{{ secrets." in str(job)]
    assert reading == (["preview"] if file.stem == "impact" else [])
    for name in reading:
        job = workflow["jobs"][name]
        assert job["environment"] == "preview"
        assert "head.repo.full_name == github.repository" in job["if"]
    # The jobs that may write run the base's scripts.
    for name in {*COMMENTING} & {*workflow["jobs"]}:
        checkout = workflow["jobs"][name]["steps"][0]["with"]
        assert checkout["ref"] == "${{ github.event.pull_request.base.sha }}"


def test_the_impact_does_not_wait_for_whoever_allows_a_preview() -> None:
    """A job of an environment with reviewers waits for them, and so do all that need it."""
    jobs = loaded(ROOT / ".github/workflows/impact.yml")["jobs"]
    assert jobs["comment"]["needs"] == "impact"
    # GitHub cancels a job that waits in a group as soon as another pull request's comes.
    assert [name for name, job in jobs.items() if "concurrency" in job] == []


@every
def test_no_expression_stands_in_a_script(file: Path) -> None:
    """Text of a pull request would be run; scripts get it by the environment."""
    assert [step for step in steps(file) if "${{" in step.get("run", "")] == []


@every
def test_what_fails_or_is_hidden_is_not_passed_over(file: Path) -> None:
    """`echo "$(…)"` succeeds whatever runs in it, and an upload leaves hidden folders out."""
    for step in steps(file):
        assert not re.search(r"\becho .*\$\(", step.get("run", "")), step
        paths = step.get("with", {}).get("path", "").split()
        if "upload-artifact" in step.get("uses", "") and any(one[0] == "." for one in paths):
            assert step["with"]["include-hidden-files"] == "true"


@every
def test_every_job_and_step_ends(file: Path) -> None:
    """GitHub's own limit is six hours."""
    for job in loaded(file)["jobs"].values():
        assert int(job["timeout-minutes"]) <= FAR_MINUTES
        for step in job["steps"]:
            assert int(step["timeout-minutes"]) < int(job["timeout-minutes"]), step
    assert "cancel-in-progress" in loaded(file)["concurrency"]


@every
def test_actions_are_github_s_own_and_pinned(file: Path) -> None:
    """A tag can be moved to other code; the comment says which release the commit is."""
    for line in re.findall(r"^.*\buses:.*$", file.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(r" uses: actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line
    for step in steps(file):
        if "checkout" in step.get("uses", ""):
            # Else the token stays in .git/config, for every later script.
            assert step["with"]["persist-credentials"] == "false"


@every
def test_scripts_that_are_named_exist_and_run(file: Path) -> None:
    for step in steps(file):
        for name in re.findall(r"(?<!\S)\.ci/[a-z-]+", step.get("run", "")):
            assert (ROOT / name).stat().st_mode & 0o111, name


def test_kind_has_both_releases() -> None:
    """The one that stacks install by default, and the last one before it."""
    matrix = loaded(ROOT / ".github/workflows/kind.yml")["jobs"]["kind"]["strategy"]["matrix"]
    before, own = matrix["istio"]
    assert own == Istio().version
    assert before.startswith("1.30.")
