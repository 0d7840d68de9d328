"""What kubectl says, as `make verify` passes it on: one line, and what to do."""

from __future__ import annotations

import json
import sys

import pytest

from discover.kubectl import KubectlError
from tests.programs import stand_in
from verify.cluster import Cluster


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """Return what makes kubectl answer so."""

    def answer(out: str = "", err: str = "", code: int = 0) -> Cluster:
        words = f"#!{sys.executable}\nimport sys\nprint({out!r}, end='')\n"
        stand_in(tmp_path / "kubectl", f"{words}sys.stderr.write({err!r})\nsys.exit({code})\n")
        return Cluster("prod")

    monkeypatch.setenv("PATH", str(tmp_path))
    return answer


@pytest.mark.parametrize(
    ("err", "said"),
    [
        ('error: context "prod" does not exist\n', 'context "prod" does not exist'),
        ("E1130 memcache.go: x\nerror: You must be logged in\n", "(error: You must be logged in)"),
        (
            "Unable to connect to the server: getting credentials: exec: executable aws not "
            "found\n\nTo learn more, consult the documentation:\n      https://kubernetes.io/\n",
            "executable aws not found",
        ),
        ('Error from server (Forbidden): namespaces "kube-system" is forbidden\n', "you may not"),
    ],
)
def test_the_reason_is_told(kubectl, err, said):
    with pytest.raises(KubectlError) as told:
        kubectl(err=err, code=1).uid()
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_a_cluster_without_kube_system_has_no_identity(kubectl):
    with pytest.raises(KubectlError, match="no namespace kube-system"):
        kubectl().uid()


def test_pods_that_end_are_left_out(kubectl):
    """They have no sidecar for as long as their grace period, and a restart is what was advised."""
    pods = [{"metadata": {"name": "a", "deletionTimestamp": "x"}}, {"metadata": {"name": "b"}}]
    found = kubectl(json.dumps({"items": pods})).pods("crawlers", {})
    assert [one["metadata"]["name"] for one in found] == ["b"]
