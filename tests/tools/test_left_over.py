"""What `pulumi destroy` left in a cluster, found by two lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.left_over import CannotAskError, left_over, main, objects

BEFORE = {"nodes": ["<none> kind-control-plane"], "pods": ["kube-system etcd"]}
STAYING = {
    "namespaces": ["<none> crawlers", "<none> monitoring"],
    "customresourcedefinitions.apiextensions.k8s.io": ["<none> envoyfilters.networking.istio.io"],
    "apiservices.apiregistration.k8s.io": ["<none> v1.networking.istio.io"],
    "persistentvolumeclaims": ["monitoring data-prometheus-0"],
    "persistentvolumes": ["<none> pvc-1"],
    "configmaps": ["crawlers kube-root-ca.crt", "default istio-ca-root-cert"],
    "serviceaccounts": ["monitoring default"],
}
LEFT = {
    "secrets": ["monitoring grafana"],
    "clusterroles.rbac.authorization.k8s.io": ["<none> istiod"],
}


class Cluster:
    """What kubectl would answer."""

    def __init__(self, *contents: dict[str, list[str]]) -> None:
        self.objects: dict[str, list[str]] = {"events": ["default one"]}
        for content in contents:
            for kind, lines in content.items():
                self.objects[kind] = [*self.objects.get(kind, ()), *lines]

    def __call__(self, arguments: Sequence[str]) -> str:
        if arguments[0] == "api-resources":
            return "\n".join(self.objects)
        return "\n".join(f"{line.replace(' ', '   ')}" for line in self.objects[arguments[1]])


def test_what_a_page_says_stays_is_not_left_over() -> None:
    """Namespaces with pods and volumes, and Istio's CRDs, stay on purpose."""
    before, after = objects(Cluster(BEFORE)), objects(Cluster(BEFORE, STAYING))
    assert before == {"nodes -/kind-control-plane", "pods kube-system/etcd"}
    assert left_over(before, after) == []


def test_anything_else_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Secret or a cluster-wide right that outlives the stack fails the workflow."""
    file = str(tmp_path / "before.json")
    assert main(["record", file], Cluster(BEFORE)) == 0
    assert main(["compare", file], Cluster(BEFORE, STAYING)) == 0
    assert capsys.readouterr().out == ""
    assert main(["compare", file], Cluster(BEFORE, STAYING, LEFT)) == 1
    assert capsys.readouterr().out.splitlines() == [
        "left: clusterroles.rbac.authorization.k8s.io -/istiod",
        "left: secrets monitoring/grafana",
    ]


def test_a_cluster_that_does_not_answer_is_no_clean_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(arguments: Sequence[str]) -> str:
        raise CannotAskError("kubectl: refused")

    (tmp_path / "before.json").write_text("[]")
    assert main(["compare", str(tmp_path / "before.json")], away) == 2
    assert "refused" in capsys.readouterr().err
    assert main(["compare"], away) == 2
