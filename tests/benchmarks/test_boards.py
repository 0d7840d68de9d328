"""What the boards are compared with: raw queries, and series written to a real Prometheus."""

from __future__ import annotations

import time

import pytest

from benchmarks.boards import receiving
from benchmarks.raw_queries import NoRawQueryError, raw
from benchmarks.remote_write import Line, write
from lab.loopback import query
from tests.ports import free_block

RULES = {
    "a:istio_x:rate5m": 'sum by (a) (rate(istio_x_total{job="sidecars"}[5m]))',
    "a:share:ratio": "a:istio_x:rate5m / (a:istio_x:rate5m > 0)",
    "a:limit:threshold": "vector(1)",
}


def test_a_record_becomes_its_definition_and_its_matchers_move_along():
    selected = 'rate(istio_x_total{job="sidecars", a=~"$a", b!="c"}[5m])'
    once = f"(sum by (a) ({selected}))"
    asked = 'max(a:share:ratio{a=~"$a", b!="c"})'
    assert raw(asked, RULES) == f"max(({once} / ({once} > 0)))".replace("  ", " ")


@pytest.mark.parametrize(
    "expression",
    ["a:limit:threshold", "avg_over_time(a:share:ratio[1h])", "b:unknown:sum", "max(ALERTS)"],
)
def test_what_is_of_no_sidecar_has_no_raw_query(expression):
    with pytest.raises(NoRawQueryError):
        raw(expression, RULES)


def test_prometheus_holds_what_was_written():
    """In requests of half an hour; a counter and a gauge, a day old."""
    begin, count = int(time.time()) // 15 * 15 - 86_400, 500
    lines = [
        Line(labels={"__name__": "counter", "empty": "", "way": "é"}, growth=1.5),
        Line(labels={"__name__": "gauge"}, wave=(3.0, 0.1, 7.0)),
    ]
    with receiving(free_block(["127.0.0.1"])) as url:
        write(url, lines, begin, 15, count, at_once=120)
        for n in (0, 119, 120, 121, 499):
            [counter] = query(url, 'counter{way="é", empty=""}', begin + 15 * n)
            [gauge] = query(url, "gauge", begin + 15 * n)
            assert float(counter["value"][1]) == 1.5 * n
            assert float(gauge["value"][1]) == (3.0, 0.1, 7.0)[n % 3]
        [all_of_it] = query(url, "count_over_time(counter[1d])", begin + 15 * count)
        assert all_of_it["value"][1] == str(count)
