"""What each edit of a stack that is up does, and what its diff shows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.engine.engine import Engine
from tests.impact.test_diffs import EDITS, count_marked

Json = dict[str, Any]

OPERATOR_KINDS = {
    "PodMonitor": "podmonitors",
    "ServiceMonitor": "servicemonitors",
    "PrometheusRule": "prometheusrules",
}


@pytest.mark.usefixtures("_file_as_before")
@pytest.mark.parametrize("name", ["a range", "a second range", "a vendor", "a retention"])
def test_what_make_preview_shows_of_an_edit_is_readable(engine: Engine, name: str) -> None:
    """The engine's own steps, in as many lines as the rendered manifests differ by."""
    _, edit, most = EDITS[name]
    engine.edit(edit)
    shown = engine.make_preview()
    # Without the line that no_waits.py adds to each object of a cluster without controllers.
    lines = count_marked(shown) - shown.count("pulumi.com/skipAwait")
    print(f"{name}: {lines} changed lines")
    assert 0 < lines <= most


def test_a_vendor_comes_moves_and_goes(engine: Engine) -> None:
    """Another vendor is one more EnvoyFilter; no edit replaces what is there."""

    def add(keys: Json) -> None:
        keys["vendors"].append({"name": "vendor-d", "cidrs": ["10.9.0.0/16"]})

    def move(keys: Json) -> None:
        keys["vendors"][-1]["cidrs"] = keys["vendors"][0]["cidrs"]
        keys["vendors"][0]["cidrs"] = ["10.9.0.0/16"]

    def remove(keys: Json) -> None:
        keys["vendors"] = [each for each in keys["vendors"] if each["name"] != "vendor-a"]

    before = engine.file.read_text()
    engine.edit(add)
    assert engine.up().counts["creat"] >= 1
    assert "proxy-vendor-vendor-d" in engine.filters()
    engine.edit(move)
    assert set(engine.up().changes) == {"updat"}
    engine.edit(remove)
    engine.up()
    assert "proxy-vendor-vendor-a" not in engine.filters()
    engine.file.write_text(before)
    engine.up()
    assert "proxy-vendor-vendor-d" not in engine.filters()
    engine.preview("--expect-no-changes")


def test_the_mode_of_prometheus_can_be_switched(engine: Engine) -> None:
    """Our servers go, the operator's objects come, and back."""
    manifests = [_definition(kind, plural) for kind, plural in OPERATOR_KINDS.items()]
    path = engine.folder / "definitions.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
    engine.kubectl("apply", "-f", str(path))
    names = [f"crd/{plural}.monitoring.coreos.com" for plural in OPERATOR_KINDS.values()]
    engine.kubectl("wait", "--for=condition=Established", *names)
    try:
        before = engine.file.read_text()
        engine.edit(_use_the_operator)
        engine.up()
        assert engine.objects("servicemonitors", "-A") + engine.objects("podmonitors", "-A")
        assert "statefulset.apps/prometheus" not in engine.objects(
            "statefulsets", "-n", "monitoring"
        )
        engine.preview("--expect-no-changes")
        engine.file.write_text(before)
        engine.up()
    finally:
        engine.kubectl("delete", "-f", str(path), "--ignore-not-found")


def _use_the_operator(keys: Json) -> None:
    keys["prometheus"] = {
        "mode": "operator",
        "url": "http://prometheus.monitoring.svc:9090",
        "operatorLabels": {"release": "prometheus"},
    }
    keys.pop("alertmanager", None)


def _definition(kind: str, plural: str) -> Json:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [version],
        },
    }


def test_a_namespace_that_leaves_the_list_keeps_its_pods(engine: Engine) -> None:
    """It once went with its crawlers: only our objects leave it."""
    before = engine.file.read_text()
    engine.edit(lambda keys: keys.update(crawlers={"namespaces": ["crawlers", "more-crawlers"]}))
    engine.up()
    try:
        assert engine.filters("more-crawlers")
        labels = "sidecar.istio.io/inject=false"  # there may be no istiod that could inject
        pod = ("run", "crawler", "-n", "more-crawlers", "--image=example.com/crawler")
        engine.kubectl(*pod, "--labels", labels)
        engine.file.write_text(before)
        engine.up()
        assert engine.objects("pods", "-n", "more-crawlers") == ["pod/crawler"]
        assert not engine.filters("more-crawlers")
    finally:
        engine.kubectl("delete", "namespace", "more-crawlers", "--ignore-not-found")
