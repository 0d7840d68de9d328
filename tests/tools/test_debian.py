"""Debian packages are installed where that is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.binaries.debian import INSTALL, UPDATE, Machine
from tests.mesh.networks import PACKAGES


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
