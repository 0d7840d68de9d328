"""From recorded resources to files: one object a file, the same bytes for the same stack."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from components.file_text import ONE_LINE, Repeated, yaml_text
from render.program import REDACTED, Resource, kind_of

CLUSTER_FOLDER = "_cluster"
HELM_FOLDER = "helm"
RELEASE_TYPE = "kubernetes:helm.sh/v3:Release"
RELEASE_KEYS = ("chart", "version", "values", "name", "namespace", "repositoryOpts")


def manifests(resources: Iterable[Resource]) -> dict[str, str]:
    """Return the text of each file by its path below the output folder.

    Raises:
        ValueError: two resources would be the same object in the cluster.
    """
    files: dict[str, str] = {}
    for resource in resources:
        path, text = manifest(resource.type, resource.inputs)
        if not path:
            continue
        if path in files:
            raise ValueError(f"{path}: two resources of the program are this one object")
        files[path] = text
    return files


def manifest(pulumi_type: str, inputs: Mapping[str, Any]) -> tuple[str, str]:
    """Return a resource's path and text; the path is empty for what Kubernetes never sees.

    Args:
        pulumi_type: such as `kubernetes:core/v1:ConfigMap`.
    """
    if pulumi_type == RELEASE_TYPE:
        kept = {key: inputs[key] for key in RELEASE_KEYS if key in inputs}
        return f"{HELM_FOLDER}/{inputs['name']}.yaml", _text(kept)
    kind = kind_of(pulumi_type, inputs)
    if not kind:
        return "", ""
    metadata = inputs["metadata"]
    path = f"{metadata.get('namespace') or CLUSTER_FOLDER}/{kind}-{metadata['name']}.yaml"
    if kind == "EnvoyFilter":
        return path, _text(_with_repeats_once(inputs))
    return path, _text(_hidden(inputs) if kind == "Secret" else inputs)


def _text(content: Mapping[str, Any]) -> str:
    return yaml_text(content, sort_keys=True, compact=True)


def _hidden(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Secret without its contents, marked as secret or not: they never reach a file."""
    hidden: dict[str, Any] = {
        # The engine's own mark hides the keys, too.
        key: dict.fromkeys(secret[key], REDACTED) if isinstance(secret[key], dict) else REDACTED
        for key in ("data", "stringData")
        if key in secret
    }
    return {**secret, **hidden}


def _with_repeats_once(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return an EnvoyFilter in which a mapping that takes several lines is written once.

    A vendor's chains differ by their ranges, and its two kinds of chains begin alike. Written out,
    a second range was 220 lines.
    """
    known: dict[str, Repeated] = {}

    def once(value: Any) -> Any:
        if isinstance(value, list):
            return [once(each) for each in value]
        if not isinstance(value, dict):
            return value
        value = {key: once(each) for key, each in value.items()}
        text = json.dumps(value, sort_keys=True)
        # A name in the place of one line would only be harder to read.
        return known.setdefault(text, Repeated(value)) if len(text) > ONE_LINE else value

    return {key: once(value) for key, value in inputs.items()}
