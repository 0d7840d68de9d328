"""The stack's own cluster: recorded by the first `up`, and no other is ever touched."""

from __future__ import annotations

import pytest

from render import program
from settings.loading import SettingsError
from tests.program.conftest import provider_of, shipped


def test_the_first_up_records_the_cluster(run_program):
    """Objects go to the cluster that was checked, under whatever address it has."""
    run = run_program("prod")
    stashes = {one.name: one for one in run.of_type("pulumi:index:Stash")}
    assert stashes["cluster-uid"].inputs["input"] == program.MOCK_CLUSTER
    # The wrong cluster's UID would replace the first in the state.
    assert stashes["cluster-uid"].ignored == {"input"}
    assert provider_of(run).inputs["clusterIdentifier"] == program.MOCK_CLUSTER


def test_another_cluster_is_refused_in_one_sentence(monkeypatch):
    """`up` filled the cluster that a context led to by mistake, and emptied the right one."""
    monkeypatch.setattr(program._Provider, "kept", {"cluster-uid": "first-uid"})
    with pytest.raises(SettingsError) as refused:
        program.run_program("prod", shipped("prod"))
    (message,) = str(refused.value).splitlines()
    assert message.startswith("cluster: ")
    assert "UID first-uid, and context 'none' leads to mock-uid; " in message
    assert "pulumi state delete --all" in message


def test_nothing_of_a_colleagues_environment_is_recorded(monkeypatch):
    """Each colleague's KUBECONFIG was a change, and an override of one run stayed for the next."""
    monkeypatch.setenv("KUBECONFIG", "/elsewhere/config")
    monkeypatch.setenv("PULUMI_K8S_ENABLE_PATCH_FORCE", "true")
    run = program.run_program("prod", shipped("prod"))
    for provider in run.of_type("pulumi:providers:kubernetes"):
        assert not provider.inputs.keys() & {"kubeconfig", "enablePatchForce"}, provider.name
