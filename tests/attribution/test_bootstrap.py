"""What crawlers' sidecars read as they start."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from components.attribution.bootstrap import (
    BUCKETS,
    STAT_TAGS,
    STATS,
    VARIABLE,
    annotations_given,
    proxy_config,
    sidecar_annotations,
)

SELECTOR = {"app": "crawler"}


def injected(spec):
    """The sidecar's variables, as Istio's template writes them: between double quotes of YAML."""
    environment = spec["environmentVariables"]
    return {key: yaml.safe_load(f'value: "{text}"')["value"] for key, text in environment.items()}


def test_annotations_survive_the_injectors_template():
    """A text that is no YAML between double quotes would keep every crawler from starting."""
    annotations = sidecar_annotations((50, 100), ["*outlier|x;.*"])
    variables = injected(proxy_config(annotations, {}, captures_dns=False))
    assert annotations_given(variables[VARIABLE]) == annotations
    assert json.loads(annotations[BUCKETS])
    assert "proxy_outcome" in annotations[STAT_TAGS].split(",")


def test_istio_splits_the_list_where_one_ends():
    """At commas: an expression with one would be two, and Envoy could refuse either."""
    expressions = sidecar_annotations((50,), ["*outlier_detection*", "a.b|c"])[STATS].split(",")
    assert all(re.compile(one) for one in expressions)
    assert expressions[-2:] == [".*outlier_detection.*", r"a\.b\|c"]


@pytest.mark.parametrize("captures_dns", [True, False])
def test_which_pods_and_whether_they_answer_dns(captures_dns):
    spec = proxy_config({}, SELECTOR, captures_dns=captures_dns)
    assert spec["selector"] == {"matchLabels": SELECTOR}
    assert ("ISTIO_META_DNS_CAPTURE" in spec["environmentVariables"]) == captures_dns
    assert "selector" not in proxy_config({}, {}, captures_dns=captures_dns)


@pytest.mark.parametrize("variable", ["", "x", "[]", "{}", '{"ANNOTATIONS": []}'])
def test_a_variable_of_somebody_else_gives_nothing(variable):
    assert annotations_given(variable) == {}
