"""The pinned projects agree with the Go modules that build them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests import binaries
from tools.binaries import PROJECTS, Project


@pytest.mark.parametrize(
    "project", [*PROJECTS, *binaries.PROJECTS], ids=lambda project: project.name
)
def test_every_pinned_project_can_be_built(project: Project) -> None:
    """The wrapper module pins the version and checksums of what `Project` names."""
    build = project.build
    module_file = build.folder / build.modfile
    module = module_file.read_text(encoding="utf-8")
    sums = module_file.with_suffix(".sum").read_text(encoding="utf-8")
    assert f"{build.module} {build.module_version}" in module
    assert f"{build.module} {build.module_version} h1:" in sums
    called = []
    for package in build.packages_to_build():
        if package.startswith("./"):
            assert list((build.folder / package).glob("*.go"))
        else:
            assert re.search(rf"^(tool|)\s+{re.escape(package)}$", module, re.MULTILINE)
        # go names a program after the last part of its path that is no major version.
        *_, last = [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)]
        called.append(build.renames.get(last, last))
    assert called == list(project.programs)
    assert project.version in build.ldflags or project is binaries.ETCD  # whose source has it


def test_an_edit_of_a_wrapper_changes_its_cache_key(tmp_path: Path) -> None:
    """Else the cache would return yesterday's program."""
    (tmp_path / "tool").mkdir()
    build = replace(PROJECTS[0].build, folder=tmp_path)
    project = replace(PROJECTS[0], build=build)
    assert project.cache_key == f"{project.name}-{project.version}"
    keys = set()
    for code in ("package main", "package main // edited"):
        (tmp_path / "tool" / "main.go").write_text(code)
        keys.add(project.cache_key)
    assert len(keys) == 2
