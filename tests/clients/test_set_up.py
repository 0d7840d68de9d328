"""The set-up installs the clients it can, and names the others."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.binaries import debian
from tests.clients.install import FOLDER, PACKAGES, install


@dataclass
class Machine:
    """A folder with a lock, a PATH with some programs, and what the set-up ran and printed."""

    folder: Path
    programs: Sequence[str]
    is_root: bool = False
    failing: str = ""
    ran: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def set_up(self) -> None:
        self.ran.clear()
        self.said.clear()
        self._have(*self.programs)
        path = str(self.folder / "bin")
        machine = debian.Machine(
            path=path, is_root=self.is_root, run=self._run, say=self.said.append
        )
        install(self.folder, machine)

    def _have(self, *programs: str) -> None:
        (self.folder / "bin").mkdir(exist_ok=True)
        for program in programs:
            (self.folder / "bin" / program).touch(0o755)

    def _run(self, command: Sequence[str], folder: Path) -> str:
        self.ran.append(" ".join(command))
        if self.failing and self.failing in self.ran[-1]:
            return "exit code 100: no network"
        if "install" in command:
            self._have(*(name for name, package in PACKAGES.items() if package in command))
        if "ci" in command:
            assert folder == self.folder
            (folder / "node_modules").mkdir(exist_ok=True)
        return ""


ALL = ("curl", "wget", "node", "npm", "chromium")
NPM = "npm ci --ignore-scripts --no-audit --no-fund"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "package-lock.json").write_text("{}")
    return tmp_path


def test_all_there_runs_nothing_twice(folder: Path) -> None:
    """`make test` stays quick: the second time nothing is run, until the lock changes."""
    machine = Machine(folder, ALL)
    ran = []
    for lock in ("{}", "{}", '{"a": 1}'):
        (folder / "package-lock.json").write_text(lock)
        machine.set_up()
        ran.append(list(machine.ran))
    assert ran == [[NPM], [], [NPM]]


def test_root_gets_what_is_missing(folder: Path) -> None:
    """On a new machine root gets the missing packages, then Node's."""
    machine = Machine(folder, ("curl", "wget", "apt-get"), is_root=True)
    machine.set_up()
    assert machine.ran == [
        "apt-get update",
        " ".join((*debian.INSTALL, "nodejs", "npm", "chromium")),
        NPM,
    ]


@pytest.mark.parametrize(
    ("programs", "is_root", "failing"),
    [
        (("curl", "wget", "apt-get"), False, ""),
        (("curl", "wget"), True, ""),
        (("curl", "wget", "apt-get"), True, "update"),
        (("curl", "wget", "apt-get"), True, "install"),
    ],
    ids=["no root", "no apt-get", "no network", "no such package"],
)
def test_what_cannot_be_had_is_named(
    folder: Path, programs: Sequence[str], is_root: bool, failing: str
) -> None:
    """The set-up names the missing programs and the command that would install them."""
    machine = Machine(folder, programs, is_root=is_root, failing=failing)
    machine.set_up()
    said = " ".join(machine.said)
    assert "node, npm, chromium not on PATH" in said
    assert "apt-get install nodejs npm chromium` as root" in said
    assert NPM not in machine.ran


def test_a_failed_npm_is_tried_again(folder: Path) -> None:
    """A failed npm is named, and tried again the next time."""
    machine = Machine(folder, ALL, failing="npm ci")
    for _ in range(2):
        machine.set_up()
        assert machine.ran == [NPM]
        assert "no network; the tests of Node are skipped" in machine.said[-1]


def test_the_lock_pins_all_and_names_no_registry() -> None:
    """Two machines install the same packages, each from its own registry."""
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    text = (FOLDER / "package-lock.json").read_text()
    assert "resolved" not in text
    locked = json.loads(text)["packages"]
    assert all("integrity" in package for name, package in locked.items() if name)
    assert wanted == {name: locked[f"node_modules/{name}"]["version"] for name in wanted}
