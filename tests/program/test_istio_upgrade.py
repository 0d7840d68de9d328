"""The steps of an upgrade of Istio by revision: what each changes in the cluster."""

from __future__ import annotations

from typing import Any

import pytest

from render.manifests import RELEASE_TYPE
from render.program import Run
from settings.loading import SettingsError

OLD = {"revision": "default", "version": "1.30.2"}
NEW = {"revision": "1-31", "version": "1.31.4"}

ALONE: dict[str, Any] = OLD
BESIDE: dict[str, Any] = {**OLD, "otherRevision": NEW}
SWAPPED: dict[str, Any] = {**NEW, "otherRevision": OLD}
REMOVED: dict[str, Any] = NEW


def inputs_of(run: Run) -> dict[str, Any]:
    return {one.urn: one.inputs for one in run.resources}


def changed(before: Run, after: Run) -> set[str]:
    """The names of what is in both runs, but differs."""
    old, new = inputs_of(before), inputs_of(after)
    names = {one.urn: one.name for one in after.resources}
    return {names[urn] for urn in old.keys() & new.keys() if old[urn] != new[urn]}


def releases(run: Run) -> dict[str, str | None]:
    return {r.inputs["name"]: r.inputs.get("version") for r in run.of_type(RELEASE_TYPE)}


def test_the_second_istiod_comes_beside_the_first(variant):
    """CRDs and the CNI agent serve both, so they are the newer ones; no label changes."""
    alone, beside = variant("prod", istio=ALONE), variant("prod", istio=BESIDE)
    assert releases(alone) == dict.fromkeys(("istio-base", "istio-cni", "istiod"), "1.30.2")
    assert releases(beside) == {
        **dict.fromkeys(("istio-base", "istio-cni", "istiod-1-31"), "1.31.4"),
        "istiod": "1.30.2",
    }
    assert inputs_of(alone).keys() < inputs_of(beside).keys()
    quota_and_rules = {"namespaces-istio-system-quota", "prometheus-rules"}
    assert changed(alone, beside) == {"mesh-base", "mesh-cni", *quota_and_rules}


@pytest.mark.parametrize(("before", "after"), [(BESIDE, SWAPPED), (SWAPPED, BESIDE)])
def test_a_swap_replaces_no_istiod(variant, before, after):
    """Both go on serving the sidecars that they injected."""
    one, other = variant("prod", istio=before), variant("prod", istio=after)
    assert inputs_of(one).keys() == inputs_of(other).keys()
    assert changed(one, other) == {"mesh-base", "namespaces-crawlers"}
    labels = [run.only("Namespace", "crawlers")["metadata"]["labels"] for run in (one, other)]
    assert {label.get("istio.io/rev") for label in labels} == {None, "1-31"}
    assert {label.get("istio-injection") for label in labels} == {None, "enabled"}
    for run, revision in ((one, before["revision"]), (other, after["revision"])):
        (base,) = [r for r in run.of_type(RELEASE_TYPE) if r.inputs["name"] == "istio-base"]
        assert base.inputs["values"]["defaultRevision"] == revision


def test_the_old_istiod_goes_last(variant):
    swapped, removed = variant("prod", istio=SWAPPED), variant("prod", istio=REMOVED)
    gone = inputs_of(swapped).keys() - inputs_of(removed).keys()
    names = {one.urn: one.name for one in swapped.resources}
    assert {names[urn] for urn in gone} == {"mesh-istiod"}
    # IstiodDown knows which two there are.
    assert changed(swapped, removed) == {"namespaces-istio-system-quota", "prometheus-rules"}


def test_two_istiods_share_no_object_and_no_quota(variant):
    """Each has its values by its own revision, also where its pods are spread."""
    spread = {"topologySpread": [{"topologyKey": "zone"}]}
    alone = variant("prod", istio=ALONE, scheduling=spread)
    run = variant("prod", istio=BESIDE, scheduling=spread)
    values = {r.inputs["name"]: r.inputs["values"] for r in run.of_type(RELEASE_TYPE)}
    assert [values[name]["revision"] for name in ("istiod", "istiod-1-31")] == ["", "1-31"]
    for name, revision in (("istiod", "default"), ("istiod-1-31", "1-31")):
        (one,) = values[name]["topologySpreadConstraints"]
        assert one["labelSelector"]["matchLabels"]["istio.io/rev"] == revision
    pods = [
        next(q.inputs for q in one.of_kind("ResourceQuota") if q.namespace == "istio-system")
        for one in (alone, run)
    ]
    assert [one["spec"]["hard"]["pods"] for one in pods] == ["11", "21"]


def test_an_unknown_release_is_refused_beside_a_known_one(variant):
    with pytest.raises(SettingsError) as refused:
        variant("prod", istio={**NEW, "otherRevision": {"revision": "next", "version": "1.32.0"}})
    (finding,) = refused.value.findings
    assert finding.startswith("istio.otherRevision.version: 1.32.0 is not a release")
