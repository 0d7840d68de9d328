"""Files that Argo CD or Flux can sync, and the list of what they cannot bring: Secrets.

Pulumi generates passwords, and nobody does when a folder is synced. So a Secret has its fixed name
here, and somebody makes it: by hand, or an operator such as External Secrets.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from components.file_text import yaml_text
from render.manifests import RELEASE_TYPE, manifests
from render.program import MOCK_PASSWORD, Resource, Run
from settings.loading import SettingsError

FOLDER = "manifests"
SECRETS = "required/secrets.yaml"
LABELS = "required/namespaces.yaml"
HELM_SECONDS = 120

SECRETS_HEAD = """\
# What {folder} needs and does not bring. Fill in each mark: `${{NAME}}` is a password, the same
# wherever it stands; `${{bcrypt of NAME}}` is its hash (`htpasswd -nbB "" PASSWORD | cut -c2-`).
# Then apply this, or write it as your secrets' operator reads it.
"""
OTHERS_HEAD = "# Secrets that the stack file names, and that nothing here describes:\n"


class HelmError(Exception):
    """Helm could not render a chart."""


def gitops_files(run: Run, helm: str | None, cluster_secrets: str | None = None) -> dict[str, str]:
    """Return the text of each file by its path: what is synced is below `manifests`.

    Args:
        helm: the program that renders charts. Without it `helm/<release>.yaml` names each chart
            with its values, for an Application or a HelmRelease.
        cluster_secrets: what `kubectl get secrets -A` printed. Pods go on reading the Secrets that
            `pulumi up` made, and nobody needs to make them.

    Raises:
        HelmError: it failed.
        SettingsError: a Secret may be one of two in the cluster, or there is no list of them.
    """
    fixed = dict(_fixed_names(run, _listed(cluster_secrets)))
    if cluster_secrets is not None and fixed and not _in_cluster(fixed):
        raise SettingsError(
            [
                f"SECRETS: names no Secret of this stack, like {next(iter(fixed.values()))}-"
                "0123abcd, so pods would read Secrets that nobody made; list those of its cluster, "
                "or leave SECRETS out and make them"
            ]
        )
    charts = run.of_type(RELEASE_TYPE)
    synced = [
        one
        for one in run.resources
        if one.kind and one.kind != "Secret" and not one.kind.endswith("Patch")
    ]
    files = {f"{FOLDER}/{path}": _renamed(text, fixed) for path, text in manifests(synced).items()}
    if helm:
        files |= {f"{FOLDER}/helm/{c.inputs['name']}.yaml": _template(helm, c) for c in charts}
    else:
        files |= manifests(charts)
    if secrets := _secrets(run, fixed):
        files[SECRETS] = secrets
    if patches := [one for one in run.resources if one.kind.endswith("Patch")]:
        files[LABELS] = _documents([{**one.inputs, "kind": "Namespace"} for one in patches])
    return files


def _listed(table: str | None) -> set[tuple[str, str]]:
    """Return the namespace and name of each Secret in kubectl's table."""
    if table is None:
        return set()
    rows = [line.split() for line in table.splitlines()]
    found = {(row[0], row[1]) for row in rows if len(row) >= 2}
    if not found:
        # kubectl that was refused leaves an empty file, and every pod would look for new Secrets.
        raise SettingsError(["SECRETS: names no Secret; write it by `kubectl get secrets -A`"])
    return found


def _fixed_names(run: Run, listed: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the name of each Secret under these mocks, and the one that a pod reads.

    Pulumi ends a name at random. That is the one in the cluster, or it has no end.
    """
    for secret in run.of_kind("Secret"):
        name = secret.inputs["metadata"]["name"]
        pattern = re.compile(rf"{re.escape(secret.name)}-[0-9a-f]{{8}}")
        if not pattern.fullmatch(name):
            continue
        # Another stack in this cluster has Secrets of these names in its own namespaces.
        there = sorted(
            one for space, one in listed if space == secret.namespace and pattern.fullmatch(one)
        )
        if len(there) > 1:
            raise SettingsError([f"SECRETS: has {' and '.join(there)}; leave the one that is used"])
        yield name, there[0] if there else secret.name


def _in_cluster(fixed: Mapping[str, str]) -> set[str]:
    """Return the names with an end of Pulumi's: those that the cluster has."""
    return {there for name, there in fixed.items() if there != name.rpartition("-")[0]}


def _renamed(text: str, names: Mapping[str, str]) -> str:
    for generated, fixed in names.items():
        text = re.sub(rf"(?<![\w-]){re.escape(generated)}(?![\w-])", fixed, text)
    return text


def _secrets(run: Run, fixed: Mapping[str, str]) -> str:
    """Return the Secrets with marks for what nobody but the user knows, and the names of others."""
    described = [_secret(one, fixed) for one in run.of_kind("Secret")]
    known = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in described}
    in_cluster = _in_cluster(fixed)
    made = [one for one in described if one["metadata"]["name"] not in in_cluster]
    for certificate in run.of_kind("Certificate"):
        known.add((certificate.namespace, certificate.inputs["spec"]["secretName"]))
    read = {
        (resource.namespace, fixed.get(name, name))
        for resource in run.resources
        for name in _read_secrets(resource.inputs)
    }
    text = SECRETS_HEAD.format(folder=FOLDER) + _documents(made) if made else ""
    if others := sorted(read - known):
        text += OTHERS_HEAD + "".join(f"# {namespace}/{name}\n" for namespace, name in others)
    return text


def _secret(resource: Resource, fixed: Mapping[str, str]) -> dict[str, Any]:
    name = resource.inputs["metadata"]["name"]
    metadata = {**resource.inputs["metadata"], "name": fixed.get(name, name)}
    texts = {
        key: (text or f"${{{key}}}").replace(f"{MOCK_PASSWORD} ", "")
        for key, text in resource.secret_texts.items()
    }
    kept = {key: resource.inputs[key] for key in ("type",) if key in resource.inputs}
    return {"apiVersion": "v1", "kind": "Secret", **kept, "metadata": metadata, "stringData": texts}


def _read_secrets(value: Any) -> Iterator[str]:
    """Yield the names of Secrets that a pod reads."""
    if isinstance(value, list):
        for item in value:
            yield from _read_secrets(item)
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "secretKeyRef":
                yield item["name"]
            elif key == "secret" and isinstance(item, dict):
                yield item.get("secretName") or item["name"]
            elif key == "imagePullSecrets":
                yield from (one["name"] for one in item if isinstance(one, dict))
            else:
                yield from _read_secrets(item)


def _template(helm: str, release: Resource) -> str:
    """Return what Helm makes of a chart."""
    inputs = release.inputs
    command = [helm, "template", inputs["name"], inputs["chart"]]
    command += ["--namespace", inputs["namespace"], "--values", "-"]
    if repository := inputs.get("repositoryOpts", {}).get("repo"):
        command += ["--repo", repository]
    if version := inputs.get("version"):
        command += ["--version", version]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(inputs["values"]),
            capture_output=True,
            text=True,
            timeout=HELM_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _refusal(release, str(error)) from None
    if done.returncode:
        raise _refusal(release, done.stderr)
    return done.stdout


def _refusal(release: Resource, said: str) -> HelmError:
    reason = " ".join(said.split())
    return HelmError(
        f"istio.chartSource: helm cannot render {release.inputs['name']}: {reason}; "
        "correct the source, or render without helm on PATH"
    )


def _documents(objects: list[dict[str, Any]]) -> str:
    return "".join(f"---\n{yaml_text(one, sort_keys=True)}" for one in objects)
