"""Find what `pulumi destroy` left in a cluster.

    python -m tools.left_over record before.json
    python -m tools.left_over compare before.json

`compare` prints each object that was not there before and that no page says stays. Exit codes:
0 nothing, 1 something is left, 2 could not ask. kubectl's current context is asked.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

KUBECTL_SECONDS = 120.0

# Kubernetes itself makes these and lets them expire, or makes them of other objects.
PASSING = {
    "bindings",
    "certificatesigningrequests.certificates.k8s.io",
    "componentstatuses",
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "nodes.metrics.k8s.io",
    "pods.metrics.k8s.io",
}

# README, "Remove", and docs/operations.md say that these stay.
STAYS = tuple(
    re.compile(pattern)
    for pattern in (
        r"namespaces -/(crawlers|monitoring)",
        r"customresourcedefinitions\.apiextensions\.k8s\.io -/[a-z.-]+\.istio\.io",
        # The API server makes one for each version of a CRD's group.
        r"apiservices\.apiregistration\.k8s\.io -/v[a-z0-9]+\.[a-z.-]+\.istio\.io",
        # Prometheus' data.
        r"persistentvolumeclaims monitoring/.+",
        r"persistentvolumes -/.+",
        # Kubernetes makes both in every namespace, and istiod the third in every one of the mesh.
        r"serviceaccounts (crawlers|monitoring)/default",
        r"configmaps (crawlers|monitoring)/kube-root-ca\.crt",
        r"configmaps [a-z0-9-]+/istio-ca-(root-cert|crl)",
    )
)

Ask = Callable[[Sequence[str]], str]


class CannotAskError(Exception):
    """kubectl gave no answer; the text says why."""


def objects(ask: Ask) -> set[str]:
    """Return every object of the cluster, as "pods monitoring/prometheus-0".

    Raises:
        CannotAskError: kubectl did not list one of the kinds.
    """
    kinds = ask(("api-resources", "--verbs=list", "--output=name")).split()
    columns = "-o=custom-columns=NS:.metadata.namespace,NAME:.metadata.name"
    found = set()
    for kind in sorted(set(kinds) - PASSING):
        listed = ask(("get", kind, "--all-namespaces", "--no-headers", columns))
        for line in listed.splitlines():
            namespace, name = line.split()
            found.add(f"{kind} {'-' if namespace == '<none>' else namespace}/{name}")
    return found


def left_over(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """Return what is new and is not said to stay."""
    new = set(after) - set(before)
    return sorted(one for one in new if not any(stays.fullmatch(one) for stays in STAYS))


def kubectl(arguments: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            ["kubectl", *arguments],
            capture_output=True,
            text=True,
            timeout=KUBECTL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotAskError(f"kubectl: {type(error).__name__}") from None
    if done.returncode != 0:
        raise CannotAskError(f"kubectl {arguments[0]} {arguments[1]}: {done.stderr.strip()}")
    return done.stdout


def main(arguments: Sequence[str], ask: Ask = kubectl) -> int:
    match list(arguments):
        case ["record", file]:
            before = None
        case ["compare", file]:
            before = json.loads(Path(file).read_text(encoding="utf-8"))
        case _:
            print("usage: python -m tools.left_over record|compare FILE", file=sys.stderr)
            return 2
    try:
        found = objects(ask)
    except CannotAskError as error:
        print(error, file=sys.stderr)
        return 2
    if before is None:
        Path(file).write_text(json.dumps(sorted(found), indent=1) + "\n", encoding="utf-8")
        return 0
    left = left_over(before, found)
    for one in left:
        print(f"left: {one}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
