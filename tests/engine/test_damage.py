"""Drift, and updates that were interrupted, repaired by the commands of docs/operations.md."""

from __future__ import annotations

import signal
from typing import Any

from tests.engine.engine import Engine
from tests.engine.repair import UP, repair


def test_drift_with_a_field_conflict_is_repaired(engine: Engine) -> None:
    """The runbooks' `up --refresh` stopped at a field that somebody had set by hand."""
    engine.kubectl("-n", "monitoring", "scale", "deployment", "grafana", "--replicas=2")
    engine.kubectl("-n", "crawlers", "delete", "envoyfilter", "proxy-vendor-vendor-a")
    refused = engine.pulumi(*UP, PULUMI_K8S_ENABLE_PATCH_FORCE="false")
    assert refused.code != 0
    assert "conflict" in refused.text
    engine.up("--refresh", PULUMI_K8S_ENABLE_PATCH_FORCE="true")
    scale = ("get", "deployment", "grafana", "-o", "jsonpath={.spec.replicas}")
    assert engine.kubectl("-n", "monitoring", *scale) == "1"
    assert "proxy-vendor-vendor-a" in engine.filters()
    engine.preview("--expect-no-changes")


def test_an_update_that_was_killed(engine: Engine) -> None:
    """Helm believed that its upgrade was still going on."""

    def edit(keys: dict[str, Any]) -> None:
        requests = {"cpu": "100m", "memory": "200M"}
        limits = {"cpu": "500m", "memory": "640M"}
        keys["istio"]["sidecar"] = {"requests": requests, "limits": limits}

    engine.edit(edit)
    engine.interrupted(UP[:1] + UP[2:], r"Release mesh-istiod updating", signal.SIGKILL)
    repair(engine)


def test_an_interrupted_update_and_the_old_file(engine: Engine) -> None:
    """The state had the old inputs, so going back changed nothing, and half of the new stayed."""
    before = engine.file.read_text()

    def edit(keys: dict[str, Any]) -> None:
        keys["prometheus"]["retention"] = "5d"
        keys["vendors"][0]["cidrs"] = ["10.7.0.0/16"]

    engine.edit(edit)
    engine.interrupted(UP[:1] + UP[2:], r" updating", signal.SIGINT)
    engine.file.write_text(before)
    repair(engine)
    spec = engine.kubectl("-n", "monitoring", "get", "statefulset", "prometheus", "-o", "json")
    assert "retention.time=5d" not in spec
