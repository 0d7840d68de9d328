"""From recorded resources to files: one object a file, the same bytes for the same stack."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from components.file_text import ONE_LINE, Repeated, yaml_text
from render.program import REDACTED, Resource

CLUSTER_FOLDER = "_cluster"
HELM_FOLDER = "helm"
RELEASE_TYPE = "kubernetes:helm.sh/v3:Release"


def manifests(resources: Iterable[Resource]) -> dict[str, str]:
    """Return the text of each file by its path below the output folder.

    Raises:
        ValueError: two resources would be the same object in the cluster.
    """
    files: dict[str, str] = {}
    for resource in resources:
        path = _path(resource)
        if not path:
            continue
        if path in files:
            raise ValueError(f"{path}: two resources of the program are this one object")
        files[path] = yaml_text(_content(resource), sort_keys=True, compact=True)
    return files


def _path(resource: Resource) -> str:
    """Return where a resource goes, empty for what Kubernetes never sees."""
    if resource.type == RELEASE_TYPE:
        return f"{HELM_FOLDER}/{resource.inputs['name']}.yaml"
    if not resource.kind:
        return ""
    name = resource.inputs["metadata"]["name"]
    return f"{resource.namespace or CLUSTER_FOLDER}/{resource.kind}-{name}.yaml"


def _content(resource: Resource) -> dict[str, Any]:
    if resource.type == RELEASE_TYPE:
        keys = ("chart", "version", "values", "name", "namespace", "repositoryOpts")
        return {key: resource.inputs[key] for key in keys if key in resource.inputs}
    if resource.kind == "EnvoyFilter":
        return _with_repeats_once(resource.inputs)
    if resource.kind != "Secret":
        return resource.inputs
    # Whatever the program marked as secret: a Secret's contents never reach a file.
    hidden: dict[str, Any] = {
        key: dict.fromkeys(resource.inputs[key], REDACTED)
        for key in ("data", "stringData")
        if key in resource.inputs
    }
    return {**resource.inputs, **hidden}


def _with_repeats_once(inputs: dict[str, Any]) -> dict[str, Any]:
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
