"""The programs that a user needs: their versions, releases and sources, read by `tools.find`.

The programs that only tests need are in `tests/binaries`.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GO_MODULES = Path(__file__).parent / "go"

_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, kw_only=True)
class GoBuild:
    """How one `go build` makes all programs of a project."""

    module: str
    module_version: str
    packages: tuple[str, ...]
    """Paths below the module, or `./name` in the wrapper; the last part names the program."""
    tags: str
    ldflags: str
    folder: Path
    """The wrapper module, whose go.sum pins every source file."""
    added: Mapping[str, str] = field(default_factory=dict)
    """Files that a release has and the module lacks: path -> text."""
    modfile: str = "go.mod"
    """The wrapper's module file: one folder may pin several versions of a module."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """The name that `go build` gives a program -> the name that `find` knows."""
    files: tuple[str, ...] = ()
    """Files of the module that the programs read; they are copied beside the programs."""

    def packages_to_build(self) -> tuple[str, ...]:
        return tuple(
            package if package.startswith("./") else f"{self.module}/{package}".rstrip("/")
            for package in self.packages
        )

    def wrapper_digest(self) -> str:
        """Return a digest of the wrapper's own Go code, empty if it has none."""
        sources = sorted(self.folder.rglob("*.go"))
        content = b"".join(file.read_bytes() for file in sources)
        return hashlib.sha256(content).hexdigest()[:8] if sources else ""


@dataclass(frozen=True, kw_only=True)
class Release:
    """A project's published archive; {version} and {platform} are filled in."""

    base_url: str
    """Where the archive and sha256sums.txt are."""
    archive: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Platform -> checksum. A platform without one is checked with the release's sha256sums.txt,
    which shows a damaged download, but not a release that somebody has replaced as a whole."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """Programs of one version that come from one release or one Go module."""

    name: str
    version: str
    programs: tuple[str, ...]
    build: GoBuild
    release: Release | None = None
    """Without one the programs are always built."""
    version_argument: str = "--version"
    exact: bool = False
    """Ignore programs on PATH: only the pinned version will do."""

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]

    @property
    def cache_key(self) -> str:
        """Return the name of its folder in the cache, which changes with the wrapper's code."""
        return "-".join(filter(None, [self.name, self.version, self.build.wrapper_digest()]))


PROMETHEUS = Project(
    name="prometheus",
    version="3.16.0",
    programs=("prometheus", "promtool"),
    release=Release(
        base_url="https://github.com/prometheus/prometheus/releases/download/v{version}/",
        archive="prometheus-{version}.{platform}.tar.gz",
        # No checksum is pinned: two public sources that agree on one were not found. A pin
        # {"linux-amd64": "…"} would also refuse a release that was replaced later.
    ),
    build=GoBuild(
        module="github.com/prometheus/prometheus",
        module_version="v0.316.0",
        packages=("cmd/prometheus", "cmd/promtool"),
        # Service discovery for every cloud takes half of the build's time and is not used.
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
        base_url="https://github.com/prometheus/alertmanager/releases/download/v{version}/",
        archive="alertmanager-{version}.{platform}.tar.gz",
        # No checksum is pinned, as for Prometheus.
    ),
    build=GoBuild(
        module="github.com/prometheus/alertmanager",
        module_version="v0.34.2",
        packages=("cmd/alertmanager", "cmd/amtool"),
        tags="",
        ldflags="-s -w -X github.com/prometheus/common/version.Version=0.34.2",
        folder=GO_MODULES / "alertmanager",
        # The module lacks its web pages, which are compiled from Elm, and does not build without.
        added={"ui/app/dist/index.html": "<!doctype html><title>Alertmanager: no pages</title>\n"},
    ),
)

PROJECTS = (PROMETHEUS, ALERTMANAGER)


def this_platform() -> str:
    """Return the platform as Go names it: "linux-amd64"."""
    machine = platform.machine()
    return f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
