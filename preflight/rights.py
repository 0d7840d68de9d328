"""May this user make what `pulumi up` makes? Asked of the API server's own authorizer."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from discover.kubectl import KubectlError, RefusedError, kubectl, last_words, output_of
from preflight.finding import Finding, listed, refuse
from preflight.objects import WITHOUT_KUBECTL, no_json
from preflight.stack import Made, Stack

ASK = "authorization.k8s.io/v1"
CHARTS = (
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
)
"""What Istio's charts make for the whole cluster."""
CHARTS_IN_ROOT = (("apps", "Deployment"), ("apps", "DaemonSet"), ("", "Secret"))
"""And in Istio's namespace; Helm keeps each release in a Secret."""


def wanted(stack: Stack) -> list[Made]:
    """Return what `up` makes, kinds of the whole cluster first: others' teams fail there."""
    made = {*stack.made}
    if stack.settings.istio.install and stack.settings.has_crawlers:
        made |= {Made(group=group, kind=kind, namespace="") for group, kind in CHARTS}
        made |= {
            Made(group=group, kind=kind, namespace=stack.root) for group, kind in CHARTS_IN_ROOT
        }
    return sorted(made, key=lambda one: (one.namespace, one.verb, one.kind))


def resource_of(kind: str) -> str:
    """Return the plural by which the API knows a kind; all that are made are regular."""
    name = kind.lower()
    if name.endswith("y"):
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith("s") else f"{name}s"


def denied(context: str, made: Sequence[Made]) -> list[Made]:
    """Return what this user may not make; one call of kubectl, which stores nothing.

    Raises:
        KubectlError: the question fails.
    """
    asked = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [_review(one) for one in made],
    }
    what = "ask for your rights"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "reviews.json"
        file.write_text(json.dumps(asked), encoding="utf-8")
        command = kubectl(context, "create", f"--filename={file}", "--output=json")
        try:
            text = output_of(command, what, missing=WITHOUT_KUBECTL, slow="with a nearer cluster")
        except RefusedError as error:
            raise KubectlError(
                f"kubectl: could not {what} ({last_words(str(error))}); name another cluster with "
                "CONTEXT="
            ) from None
    try:
        allowed = [bool(one["status"].get("allowed")) for one in _documents(text)]
        return [one for one, may in zip(made, allowed, strict=True) if not may]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise no_json(what) from None


def _review(one: Made) -> dict[str, object]:
    attributes = {"group": one.group, "resource": resource_of(one.kind), "verb": one.verb}
    if one.namespace:
        attributes["namespace"] = one.namespace
    if one.kind == "Namespace" and one.namespace:
        attributes["name"] = one.namespace  # a ClusterRole may allow it by resourceNames
    spec = {"resourceAttributes": attributes}
    return {"apiVersion": ASK, "kind": "SelfSubjectAccessReview", "spec": spec}


def _documents(text: str) -> Iterator[dict[str, dict[str, object]]]:
    """Yield the answers, which kubectl prints one after another."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        yield from document.get("items", [document])


def right_findings(missing: Iterable[Made]) -> Iterator[Finding]:
    """Yield a line for each place in which the user may not make something."""
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in missing:
        name = f"{resource_of(one.kind)}.{one.group}".rstrip(".")
        places[one.namespace, one.verb].append(name)
    for (namespace, verb), names in places.items():
        where = f"in namespace {namespace}" if namespace else "in the whole cluster"
        yield refuse(
            f"rights: this user may not {verb} {listed(names)} {where}, and `up` does; have its "
            "owner grant it, or run `up` as one who may"
        )
