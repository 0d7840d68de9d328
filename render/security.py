"""Writes docs/security.md from what the program deploys: `python -m render.security`.

The page says who may do what, and which secret is where, in the two shipped stacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from components.access.roles import OPERATES, OPERATOR, VIEWER, VIEWS
from components.network.flows import flows_of
from render.program import Run, run_program
from settings.loading import ROOT

Json = dict[str, Any]
Row = tuple[str, ...]

PAGE = ROOT / "docs" / "security.md"
HEAD = "security_head.md"
STACKS = ("prod", "dev")


def page(runs: Iterable[Run]) -> str:
    """Return the page for the stacks' runs; a row that several have stands once."""
    runs = tuple(runs)
    head = (ROOT / "render" / HEAD).read_text(encoding="utf-8")
    sections = (
        ("What people may do in `monitoring`", ("role", "may", "on", "so that they can"), people),
        ("What pods may ask of the API server", ("account", "where", "may", "on"), accounts),
        ("Who connects to whom", ("from", "to", "ports", "why"), connections),
        ("Which secret is where", ("Secret", "keys", "read by"), secrets),
    )
    parts = [head]
    for title, columns, rows_of in sections:
        rows = dict.fromkeys(row for run in runs for row in rows_of(run))
        parts.append(f"## {title}\n\n{table(columns, rows)}\n")
    return "\n".join(parts)


def table(columns: Row, rows: Iterable[Row]) -> str:
    lines = [" | ".join(columns), "|".join("---" for _ in columns)]
    return "\n".join([*lines, *(" | ".join(row) for row in rows)])


def people(_: Run) -> Iterator[Row]:
    """Yield what the two roles allow; the operator's are what it has beside the viewer's."""
    for role, grants in ((VIEWER, VIEWS), (OPERATOR, OPERATES)):
        for grant in grants:
            yield f"`{role}`", ", ".join(grant.verbs), _code(grant.resources), grant.reason


def accounts(run: Run) -> Iterator[Row]:
    """Yield what each ServiceAccount may do; Istio's own come with its charts."""
    roles = {
        (one.kind, one.namespace, one.inputs["metadata"]["name"]): one.inputs["rules"]
        for one in (*run.of_kind("Role"), *run.of_kind("ClusterRole"))
    }
    for binding in (*run.of_kind("RoleBinding"), *run.of_kind("ClusterRoleBinding")):
        reference = binding.inputs["roleRef"]
        where = f"`{binding.namespace}`" if binding.namespace else "the cluster"
        for subject in binding.inputs["subjects"]:
            if subject["kind"] != "ServiceAccount":
                continue
            account = f"`{subject['namespace']}/{subject['name']}`"
            for rule in roles[reference["kind"], binding.namespace, reference["name"]]:
                yield account, where, ", ".join(rule["verbs"]), _code(rule["resources"])


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def connections(run: Run) -> Iterator[Row]:
    """Yield what the network policies let through; a port of none is every port."""
    rows: list[Row] = []
    for flow in flows_of(run.settings):
        ports = ", ".join(map(str, flow.ports)) or "all"
        named = ports if flow.protocols == ("TCP",) else f"{ports} ({', '.join(flow.protocols)})"
        rows.append((flow.source.name, flow.target.name, named, flow.reason))
    return _merged(_merged(rows, column=0), column=1)


def _merged(rows: Iterable[Row], column: int) -> Iterator[Row]:
    """Yield one row for those that differ in this column alone."""
    alike: dict[Row, list[str]] = {}
    for row in rows:
        alike.setdefault((*row[:column], *row[column + 1 :]), []).append(row[column])
    for rest, cells in alike.items():
        yield (*rest[:column], ", ".join(cells), *rest[column:])


def secrets(run: Run) -> Iterator[Row]:
    """Yield every Secret, its keys, and which workload reads it in which place."""
    readers: dict[tuple[str, str], dict[str, list[str]]] = {}
    for workload in run.resources:
        spec = _pod_spec(workload.inputs.get("spec", {})) if workload.kind else {}
        for secret, place in _reads(spec):
            named = f"{workload.kind} `{workload.inputs['metadata']['name']}`"
            readers.setdefault((workload.namespace, secret), {}).setdefault(named, []).append(place)
    for one in run.of_kind("Secret"):
        name = one.inputs["metadata"]["name"]
        keys = sorted({**one.inputs.get("data", {}), **one.inputs.get("stringData", {})})
        found = readers.get((one.namespace, name), {})
        read = "; ".join(f"{who}: {_code(dict.fromkeys(at))}" for who, at in found.items())
        plain = re.sub(r"-[0-9a-f]{8}$", "-…", name)
        yield f"`{one.namespace}/{plain}`", _code(keys), read


def _pod_spec(spec: Json) -> Json:
    """Return the pod that a workload starts, empty for anything else."""
    job: Json = spec.get("jobTemplate", {}).get("spec", spec)
    pod: Json = job.get("template", {}).get("spec", {})
    return pod


def _reads(pod: Json) -> Iterator[tuple[str, str]]:
    """Yield each Secret that a pod reads, and the folder or the variable that has it."""
    volumes = {volume["name"]: _secrets_of(volume) for volume in pod.get("volumes", ())}
    for container in [*pod.get("initContainers", ()), *pod.get("containers", ())]:
        for mount in container.get("volumeMounts", ()):
            for secret in volumes.get(mount["name"], ()):
                yield secret, mount["mountPath"]
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], variable["name"]


def _secrets_of(volume: Json) -> list[str]:
    sources = [volume, *volume.get("projected", {}).get("sources", ())]
    secrets = [source["secret"] for source in sources if "secret" in source]
    return [secret.get("secretName") or secret["name"] for secret in secrets]


def main() -> None:
    text = page(run_program(stack, ROOT / f"Pulumi.{stack}.yaml") for stack in STACKS)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
