"""What all components share: their signature, and the cluster that they go to."""

from __future__ import annotations

import dataclasses
import importlib
import inspect

import pulumi
import pytest

from components import cluster
from settings.loading import ROOT

MODULES = [
    importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for path in sorted((ROOT / "components").glob("*/*.py"))
]
COMPONENTS = [
    member
    for module in MODULES
    for member in vars(module).values()
    if inspect.isclass(member)
    and issubclass(member, pulumi.ComponentResource)
    and member.__module__ == module.__name__
]


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_takes_a_name_its_arguments_and_options(component):
    """As Pulumi's own resources do; the arguments name sections, and no stack as a whole."""
    args = getattr(inspect.getmodule(component), f"{component.__name__}Args")
    signature = inspect.signature(component.__init__)
    assert [*signature.parameters] == ["self", "name", "args", "opts"]
    assert signature.parameters["opts"].default is None
    assert signature.parameters["args"].annotation == args.__name__
    assert args.__dataclass_params__.frozen
    for field in dataclasses.fields(args):
        assert field.kw_only
        assert field.type not in ("StackSettings", "StackPlan")


@pytest.mark.parametrize(
    ("keys", "warnings"),
    [({}, 1), ({"context": "prod"}, 0), ({"kubeconfig": "token"}, 0)],
    ids=["neither", "context", "kubeconfig"],
)
def test_a_stack_without_a_cluster_is_warned(monkeypatch, keys, warnings):
    """It would be deployed to whichever cluster kubectl was last used for."""
    config = pulumi.Config("kubernetes")
    monkeypatch.setattr(config, "get", keys.get)
    monkeypatch.setattr(config, "get_secret", keys.get)
    made, said = [], []
    monkeypatch.setattr(cluster, "checked_uid", lambda *_: None)
    monkeypatch.setattr(cluster, "known_or_none", lambda uid: uid)
    monkeypatch.setattr(cluster, "provider_of", lambda name, **options: made.append(options))
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    cluster.cluster_provider(config)
    assert [text.partition(" is not set")[0] for text in said] == ["kubernetes:context"] * warnings
    assert made[0]["context"] == keys.get("context")
    assert made[0]["kubeconfig"] == keys.get("kubeconfig")
