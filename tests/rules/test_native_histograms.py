"""Set-up times as native histograms: the same records as from buckets, value by value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.prometheus.native_histograms import BUCKETS, native_histogram_rules
from tests.rules.promql import FILES, run_tests

BOUNDS = (100, 300, 1000)
MINUTES = 20

# (pod, vendor, visibility) -> answers a minute in each bucket, the last above all bounds.
ANSWERS = {
    ("crawler-1", "vendor-a", "http"): (10, 0, 0, 0),
    ("crawler-1", "vendor-a", "tunnel"): (3, 5, 2, 1),
    ("crawler-2", "vendor-a", "http"): (0, 10, 7, 0),
    ("crawler-2", "vendor-b", "http"): (0, 0, 4, 4),
    ("crawler-3", "vendor-quiet", "http"): (0, 0, 0, 0),
}
NAME = "istio_proxy_setup_milliseconds"


def _labels(pod: str, vendor: str, visibility: str, more: str = "") -> str:
    target = f'cluster="dev", job="sidecars", pod="{pod}"'
    return f'{{{target}, proxy_vendor="{vendor}", proxy_visibility="{visibility}"{more}}}'


def as_buckets() -> list[dict[str, str]]:
    """What a sidecar exposes, and Prometheus stores unless told otherwise."""
    series = []
    for place, answers in ANSWERS.items():
        # Prometheus stores bounds as floats.
        for index, le in enumerate((*(str(float(bound)) for bound in BOUNDS), "+Inf")):
            label = _labels(*place, f', le="{le}"')
            below = sum(answers[: index + 1])
            series.append({"series": f"{NAME}_bucket{label}", "values": f"0+{below}x{MINUTES}"})
    return series


def as_native() -> list[dict[str, str]]:
    """The same, as Prometheus stores it with `convert_classic_histograms_to_nhcb`."""
    bounds = " ".join(map(str, BOUNDS))
    series = []
    for place, answers in ANSWERS.items():

        def histogram(answers: tuple[int, ...]) -> str:
            return (
                f"{{{{schema:-53 sum:{sum(answers) * 200} count:{sum(answers)} "
                f"custom_values:[{bounds}] buckets:[{' '.join(map(str, answers))}]}}}}"
            )

        nothing = histogram((0,) * len(answers))
        values = f"{nothing}+{histogram(answers)}x{MINUTES}"
        series.append({"series": f"{NAME}{_labels(*place)}", "values": values})
    return series


# By hand: a and b in answers a second, the quantiles by linear interpolation inside a bucket.
EXPECTED = {
    f'{BUCKETS}{{proxy_vendor="vendor-a"}} * 60': {
        f'{{cluster="dev", proxy_vendor="vendor-a", le="{le}"}}': value
        for le, value in {"100.0": 13, "300.0": 28, "1000.0": 37, "+Inf": 38}.items()
    },
    f'{BUCKETS}{{proxy_vendor="vendor-b"}} * 60': {
        f'{{cluster="dev", proxy_vendor="vendor-b", le="{le}"}}': value
        for le, value in {"100.0": 0, "300.0": 0, "1000.0": 4, "+Inf": 8}.items()
    },
    f'{BUCKETS}{{proxy_vendor="vendor-quiet"}}': {
        f'{{cluster="dev", proxy_vendor="vendor-quiet", le="{le}"}}': 0
        for le in ("100.0", "300.0", "1000.0", "+Inf")
    },
    f"proxy_vendor:{NAME}:p50": {
        '{cluster="dev", proxy_vendor="vendor-a"}': 100 + 200 * (19 - 13) / 15,
        '{cluster="dev", proxy_vendor="vendor-b"}': 1000,
    },
    f"proxy_vendor:{NAME}:p95": {
        '{cluster="dev", proxy_vendor="vendor-a"}': round(300 + 700 * (0.95 * 38 - 28) / 9, 3),
        '{cluster="dev", proxy_vendor="vendor-b"}': 1000,
    },
}


@pytest.mark.parametrize("form", [as_buckets, as_native])
@pytest.mark.parametrize("one_in", [1, 10])
def test_both_forms_give_the_same_records(promtool: Path, form: Any, one_in: int) -> None:
    """Boards, alerts and a global server read the same names, whichever way they are stored."""
    ratio = 'cluster:sidecars_per_histogram:ratio{cluster="dev"}'
    own = {"series": ratio, "values": f"{one_in}x{MINUTES}"}
    tests = []
    for query, values in EXPECTED.items():
        times = one_in if BUCKETS in query else 1  # of the fleet; a quantile is what it is
        tests.append(
            {
                "expr": f"round({query}, 0.001)",
                "eval_time": "15m",
                "exp_samples": [
                    {"labels": labels, "value": value * times} for labels, value in values.items()
                ],
            }
        )
    document = {
        "fuzzy_compare": True,
        "tests": [
            {"interval": "1m", "input_series": [*form(), own], "promql_expr_test": tests},
        ],
    }
    files = {
        "sums.yml": FILES["sums.yml"],
        "native.yml": native_histogram_rules(BOUNDS),
        "vendor_records.yml": FILES["vendor_records.yml"],
    }
    run_tests(promtool, document, files)
