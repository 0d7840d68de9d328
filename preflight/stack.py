"""What the stack needs of a cluster, as the checks ask for it; pure."""

from __future__ import annotations

from dataclasses import dataclass

from components.labels import PROJECT
from deployment import StackPlan
from preflight.objects import Json
from preflight.selectors import labels_of
from render.program import Run
from settings.stack import StackSettings

PART_OF = "app.kubernetes.io/part-of"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A kind of object that `pulumi up` makes; no namespace is the whole cluster."""

    group: str
    kind: str
    namespace: str
    verb: str = "create"


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack's file, and what is rendered from it."""

    settings: StackSettings
    plan: StackPlan
    made: frozenset[Made]

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The crawlers' namespaces; a `global` stack has none."""
        return self.settings.crawlers.namespaces if self.settings.has_crawlers else ()

    @property
    def root(self) -> str:
        return self.settings.istio.root_namespace


def is_ours(one: Json) -> bool:
    """Whether this program made an object, in this stack's earlier `up` say."""
    return labels_of(one).get(PART_OF) == PROJECT


def made_by(run: Run) -> frozenset[Made]:
    """Return the kinds that the program registers; a `…Patch` changes what there is."""
    made = set()
    for one in run.resources:
        if not one.kind:
            continue
        version = str(one.inputs["apiVersion"])
        group = version.rpartition("/")[0]
        kind = one.kind.removesuffix("Patch")
        verb = "create" if kind == one.kind else "patch"
        # What names one namespace is asked of that namespace: a Role in it may allow it.
        changed = one.inputs["metadata"]["name"] if (kind, verb) == ("Namespace", "patch") else ""
        made.add(Made(group=group, kind=kind, namespace=changed or one.namespace, verb=verb))
    return frozenset(made)
