"""Which programs, in which version, and where they come from: edited by hand, read by `find`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GO_MODULES = Path(__file__).parent / "go"

_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, kw_only=True)
class GoBuild:
    """How to build a project's programs, all of them in one `go build`: they share packages."""

    module: str
    module_version: str
    packages: tuple[str, ...]
    """Under the module; the last part is the program's name."""
    tags: str
    ldflags: str
    folder: Path
    """The wrapper module whose go.sum pins every source file that goes in."""
    added: Mapping[str, str] = field(default_factory=dict)
    """Text of files that the project makes at its release, and its module lacks, by their path."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """The project's own archive: `url` with {version} and {platform}."""

    url: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    """By platform. Without one nothing is downloaded: what isn't pinned isn't run."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """Programs of one origin and one version."""

    name: str
    version: str
    programs: tuple[str, ...]
    release: Release
    build: GoBuild

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]


PROMETHEUS = Project(
    name="prometheus",
    version="3.16.0",
    programs=("prometheus", "promtool"),
    release=Release(
        url="https://github.com/prometheus/prometheus/releases/download/"
        "v{version}/prometheus-{version}.{platform}.tar.gz",
        # Empty: the sums stand in the release's sha256sums.txt, which could not be fetched where
        # this was written. Add {"linux-amd64": "…"} from there, and set-up takes seconds.
        sha256={},
    ),
    build=GoBuild(
        module="github.com/prometheus/prometheus",
        module_version="v0.316.0",
        packages=("cmd/prometheus", "cmd/promtool"),
        # Service discovery for every cloud is half of the build and none of the use.
        tags="remove_all_sd,enable_kubernetes_sd,enable_http_sd,enable_file_sd",
        # A module build has no git tag to take the version from.
        ldflags="-s -w -X github.com/prometheus/common/version.Version=3.16.0",
        folder=GO_MODULES / "prometheus",
    ),
)

ALERTMANAGER = Project(
    name="alertmanager",
    version="0.34.2",
    programs=("alertmanager", "amtool"),
    release=Release(
        url="https://github.com/prometheus/alertmanager/releases/download/"
        "v{version}/alertmanager-{version}.{platform}.tar.gz",
        sha256={},  # as Prometheus'
    ),
    build=GoBuild(
        module="github.com/prometheus/alertmanager",
        module_version="v0.34.2",
        packages=("cmd/alertmanager", "cmd/amtool"),
        tags="",
        ldflags="-s -w -X github.com/prometheus/common/version.Version=0.34.2",
        folder=GO_MODULES / "alertmanager",
        # Its pages are compiled from Elm; without them it does not build.
        added={"ui/app/dist/index.html": "<!doctype html><title>Alertmanager: no pages</title>\n"},
    ),
)

PROJECTS = (PROMETHEUS, ALERTMANAGER)


def this_platform() -> str:
    """Return the platform as Go names it: "linux-amd64"."""
    machine = platform.machine()
    return f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
