"""What the rendered policies allow, as an evaluator that is not ours reads them.

`python -m pytest tests/network -s` prints each stack's table.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from components.network.flows import flows_of
from components.network.peers import port
from render.program import Run, run_program
from settings.loading import PROJECT
from settings.stack import StackSettings
from tests import binaries
from tests.network.cluster import Connection, everything_to, judge, policies, read, table
from tests.network.stacks import NAMES, STACKS

Json = dict[str, Any]
Judge = Callable[[Run, list[list[Json]]], list[frozenset[Connection]]]


@pytest.fixture(scope="session")
def judged() -> Judge:
    return functools.partial(judge, binaries.find("flowlab"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    @functools.cache
    def run(name: str) -> Run:
        file = tmp_path_factory.mktemp("stack") / "Pulumi.tested.yaml"
        file.write_text(yaml.safe_dump({"config": yaml.safe_load(STACKS[name].config)}))
        return run_program("tested", file)

    return run


@pytest.mark.parametrize("name", STACKS)
def test_what_is_needed_is_allowed_and_nothing_else(name, stack, judged):
    """Pods x pods x ports, and machines outside."""
    run = stack(name)
    (allowed,) = judged(run, [policies(run)])
    print(f"\n{name}\n{table(allowed)}")
    needed = read(STACKS[name].needed, NAMES)
    assert table(needed - allowed) == "", "needed, and denied"
    assert table(allowed - needed) == "", "allowed, and not needed"


@pytest.mark.parametrize("name", STACKS)
def test_each_rule_is_needed(name, stack, judged):
    """A rule that could go would be a hole that no test sees."""
    run = stack(name)
    mutants = dict(_without_a_rule(policies(run)))
    needed = read(STACKS[name].needed, NAMES)
    answers = judged(run, list(mutants.values()))
    assert [what for what, allowed in zip(mutants, answers, strict=True) if needed <= allowed] == []


@pytest.mark.parametrize("name", STACKS)
def test_a_policy_too_few_or_too_wide_is_seen(name, stack, judged):
    run = stack(name)
    rendered = policies(run)
    (as_rendered,) = judged(run, [rendered])
    mutants = {
        f"without {path(policy)}": [each for each in rendered if each is not policy]
        for policy in rendered
    }
    for policy in rendered:
        mutants[f"all from and to {path(policy)}"] = [*rendered, everything_to(policy)]
    answers = dict(zip(mutants, judged(run, list(mutants.values())), strict=True))
    assert [what for what, allowed in answers.items() if allowed == as_rendered] == []


@pytest.mark.parametrize("name", STACKS)
def test_each_rule_has_its_reason(name, stack):
    for policy in policies(stack(name)):
        reasons = policy["metadata"]["annotations"]
        for direction in ("ingress", "egress"):
            rules = policy["spec"].get(direction, [])
            lines = reasons.get(f"{PROJECT}/{direction}", "").splitlines()
            assert len(lines) == len(rules), path(policy)
            assert all(line.endswith(".") for line in lines)


def path(policy: Json) -> str:
    return f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"


def _without_a_rule(rendered: list[Json]) -> Iterator[tuple[str, list[Json]]]:
    for number, policy in enumerate(rendered):
        for direction in ("ingress", "egress"):
            for index in range(len(policy["spec"].get(direction, []))):
                mutant = copy.deepcopy(rendered)
                del mutant[number]["spec"][direction][index]
                yield f"{path(policy)} {direction}[{index}]", mutant


def test_a_webhook_is_reached_on_its_own_port():
    """Its URL is encrypted: the engine alone has it, and `make render` takes 443."""
    stack: Json = {
        "cluster": "tested",
        "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
        "alertmanager": {"receivers": [{"name": "hook", "kind": "webhook"}], "warning": ["hook"]},
    }
    for url, expected in (
        ("https://alerts.example.com:8080/here", 8080),
        ("http://alerts.example.com/here", 80),
        ("https://alerts.example.com/here", 443),
        ({"secure": "v1:a:b"}, 443),
    ):
        settings = StackSettings.model_validate({**stack, "alertmanagerSecrets": {"hook": url}})
        (ports,) = [f.ports for f in flows_of(settings) if f.target.name == "receiver hook"]
        assert ports == port(expected)


def test_a_new_pod_may_fill_its_volume_only_while_it_restores():
    stack: Json = {
        "cluster": "tested",
        "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
        "prometheus": {"backup": {"objectStorage": {"path": "backups/x", "secret": "store"}}},
    }
    sources = []
    for restoring in ({}, {"restoreFrom": "20261130-030012"}):
        prometheus = {**stack["prometheus"], **restoring}
        settings = StackSettings.model_validate({**stack, "prometheus": prometheus})
        flows = [flow for flow in flows_of(settings) if flow.target.name == "the object store"]
        sources.append([flow.source.name for flow in flows])
    assert sources == [["prometheus-backup"], ["prometheus-backup", "prometheus"]]


@pytest.mark.parametrize(("shards", "servers"), [(1, ["prometheus"]), (2, ["prometheus-shard"])])
def test_thanos_reaches_its_bucket_and_is_asked_from_monitoring_alone(shards, servers):
    """With egress to anywhere, which makes other rules of Prometheus' needless while it is set."""
    stack: Json = {
        "cluster": "tested",
        "vendors": [{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}],
        "prometheus": {"shards": shards, "thanos": {"objectStoreSecret": "thanos-objstore"}},
    }
    flows = flows_of(StackSettings.model_validate(stack))
    uploads = {flow.source.name for flow in flows if flow.target.name == "the object store"}
    asked = {flow.target.name: flow.source for flow in flows if flow.ports == port(10901)}
    assert uploads == asked.keys() == {"prometheus", *servers}
    assert {source.namespaces for source in asked.values()} == {("monitoring",)}
