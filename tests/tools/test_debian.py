"""Debian packages are installed where that is allowed, and another apt is waited for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.binaries import debian
from tests.binaries.debian import INSTALL, UPDATE, Machine
from tests.mesh.networks import PACKAGES
from tests.programs import stand_in


def test_a_package_is_installed_once_for_all_its_programs(tmp_path: Path) -> None:
    """A machine that lacks two programs of one package installs that package alone."""
    ran: list[Sequence[str]] = []
    said: list[str] = []

    def run(command: Sequence[str], folder: Path) -> str:
        ran.append(command)
        return ""

    programs = [name for name, package in PACKAGES.items() if package != "iptables"]
    for name in (*programs, "apt-get"):
        (tmp_path / name).touch(0o755)
    machine = Machine(path=str(tmp_path), is_root=True, run=run, say=said.append)
    machine.install(PACKAGES, "mesh", "its tests do not run")
    assert ran == [UPDATE, (*INSTALL, "iptables")]
    assert said == [
        "mesh: iptables-restore, ip6tables-restore not on PATH: installing iptables",
    ]
    (tmp_path / "iptables-restore").touch(0o755)
    (tmp_path / "ip6tables-restore").touch(0o755)
    machine.install(PACKAGES, "mesh", "its tests do not run")
    assert len(ran) == 2


# Fails twice as apt-get does whose lock is held; then it installs.
APT_GET = """#!/bin/sh
echo "$*" >> {folder}/ran
case "$*" in *update*)
  if [ $(grep -c update {folder}/ran) -lt 3 ]; then
    echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt)" >&2
    echo "E: Unable to lock directory /var/lib/apt/lists/" >&2
    exit 100
  fi
esac
"""


def test_a_lock_of_another_apt_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a new machine, unattended upgrades hold apt's locks for minutes.

    `apt-get install` waits by an option of its own; `apt-get update` ignores that option.
    """
    stand_in(tmp_path / "apt-get", APT_GET.format(folder=tmp_path))
    path = os.pathsep.join([str(tmp_path), "/usr/bin", "/bin"])
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(debian, "RETRY_SECONDS", 0.01)
    said: list[str] = []
    machine = Machine(path=path, is_root=True, run=debian.run, say=said.append)
    machine.install({"no-such-program": "its-package"}, "mesh", "its tests do not run")
    assert (tmp_path / "ran").read_text().splitlines() == [
        *["update"] * 3,
        "-o DPkg::Lock::Timeout=300 install -y --no-install-recommends its-package",
    ]
    assert said == [
        "mesh: no-such-program not on PATH: installing its-package",
        *["apt-get update: another apt holds the lock; waiting"] * 2,
    ]
