"""Which programs, in which version, and where they come from: edited by hand, read by `find`."""

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
    """How to build a project's programs, all of them in one `go build`: they share packages."""

    module: str
    module_version: str
    packages: tuple[str, ...]
    """Under the module, or `./name` in the wrapper; the last part is the program's name."""
    tags: str
    ldflags: str
    folder: Path
    """The wrapper module whose go.sum pins every source file that goes in."""
    added: Mapping[str, str] = field(default_factory=dict)
    """Text of files that the project makes at its release, and its module lacks, by their path."""
    modfile: str = "go.mod"
    """Of the wrapper: one folder may pin several versions of the same module."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """What `go build` calls a program -> what we call it."""
    files: tuple[str, ...] = ()
    """Of the module, kept beside the programs: what they read at run time."""

    def packages_to_build(self) -> tuple[str, ...]:
        return tuple(
            one if one.startswith("./") else f"{self.module}/{one}".rstrip("/")
            for one in self.packages
        )

    def own_source(self) -> str:
        """Return a digest of the wrapper's own code, empty where it has none."""
        sources = sorted(self.folder.rglob("*.go"))
        content = b"".join(file.read_bytes() for file in sources)
        return hashlib.sha256(content).hexdigest()[:8] if sources else ""


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
    version_argument: str = "--version"
    exact: bool = False
    """No other version will do, so what is on PATH is not looked at."""

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]

    @property
    def slot(self) -> str:
        """Its name in the cache: another one as soon as something that goes in has changed."""
        return "-".join(filter(None, [self.name, self.version, self.build.own_source()]))


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

# Used by tests alone: what the operator would make of our objects, and its own schemas of them.
PROMETHEUS_OPERATOR = Project(
    name="prometheus-operator",
    version="0.85.0",
    programs=("operatorlab",),
    release=Release(url=""),
    build=GoBuild(
        module="github.com/prometheus-operator/prometheus-operator",
        module_version="v0.85.0",
        packages=("./operatorlab",),
        tags="",
        ldflags="-s -w -X main.operatorVersion=0.85.0",
        # Its go.mod has Prometheus' own versions of what both are made of: compiled once.
        folder=GO_MODULES / "prometheus-operator",
        files=tuple(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
            for kind in ("podmonitors", "prometheusrules", "servicemonitors")
        ),
    ),
    version_argument="version",
    exact=True,
)

ETCD = Project(
    name="etcd",
    version="3.7.3",
    programs=("etcd",),
    release=Release(url=""),
    build=GoBuild(
        module="go.etcd.io/etcd/server/v3",
        module_version="v3.7.3",
        packages=("",),
        tags="",
        ldflags="-s -w",
        folder=GO_MODULES / "etcd",
        renames={"server": "etcd"},
    ),
    exact=True,
)

KUBERNETES = Project(
    name="kubernetes",
    version="1.37.2",
    programs=("kube-apiserver",),
    release=Release(url=""),
    build=GoBuild(
        module="k8s.io/kubernetes",
        module_version="v1.37.2",
        packages=("cmd/kube-apiserver",),
        tags="",
        # A module build has no git tag, and a server of version 0.0.0 tells Istio that it is old.
        ldflags="-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2"
        " -X k8s.io/component-base/version.gitMajor=1"
        " -X k8s.io/component-base/version.gitMinor=37",
        folder=GO_MODULES / "kubernetes",
    ),
    exact=True,
)


def _istio(minor: str, module_version: str, modfile: str = "go.mod") -> Project:
    """Return Istio's control plane and agent, with `meshlab`, which speaks their language."""
    version = f"{minor}.0-{module_version.split('-')[1]}"
    package = "istio.io/istio/pkg/version"
    return Project(
        name=f"istio-{minor}",
        version=version,
        programs=("pilot-discovery", "pilot-agent", "meshlab"),
        release=Release(url=""),
        build=GoBuild(
            module="istio.io/istio",
            module_version=module_version,
            packages=("pilot/cmd/pilot-discovery", "pilot/cmd/pilot-agent", "./meshlab"),
            tags="vtprotobuf,disable_pgv",  # as Istio builds its own
            ldflags=f"-s -w -X {package}.buildVersion={version} -X main.istioVersion={version}",
            folder=GO_MODULES / "istio",
            modfile=modfile,
            files=("tools/packaging/common/envoy_bootstrap.json",),
        ),
        version_argument="version",
        exact=True,
    )


# Istio tags no module versions: the proxy knows these commits of its release branches.
ISTIO = (
    _istio("1.31", "v0.0.0-20260827124520-eed52ebb66ad"),
    _istio("1.30", "v0.0.0-20260826214018-9739e10eb9d7", "istio-1.30.mod"),
)

PROJECTS = (PROMETHEUS, ALERTMANAGER, PROMETHEUS_OPERATOR, ETCD, KUBERNETES, *ISTIO)


def this_platform() -> str:
    """Return the platform as Go names it: "linux-amd64"."""
    machine = platform.machine()
    return f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
