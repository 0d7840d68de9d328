"""What the ledger records by itself: a day is the sum of the hours that were in it."""

from __future__ import annotations

from components.ledger.plan import day_rules
from money.ledger import COVERAGE, RECORDS, SENT, day_record
from tests.rules.promql import run_tests
from tools.find import find

HOURS = 24 * 3 + 6
PART = 'cluster="dev", team="shop", proxy_vendor="vendor-a", proxy_result="delivered"'


def hours_of(first: int, missing: frozenset[int] = frozenset()) -> str:
    """Values every 15 minutes; hour n has 2^(n % 24), so that a sum tells which hours are in it."""
    values = []
    for quarter in range(HOURS * 4):
        # The step of hour n begins 5 minutes after its end.
        hour = (quarter * 15 - 65) // 60
        values.append("_" if hour < first or hour in missing else str(2 ** (hour % 24)))
    return " ".join(values)


def expected(name: str, labels: str, time: str, value: float | None):
    record = day_record(name)
    samples = [] if value is None else [{"labels": f"{record}{{{labels}}}", "value": value}]
    return {"expr": record, "eval_time": time, "exp_samples": samples}


def test_a_day_has_its_24_hours_and_no_other():
    """From two hours after its end, for a day; replicas are not added up, and shards are apart."""
    whole, late = 2**24 - 1, 2**24 - 2**7
    one, shard = f'{PART}, shard="0"', f'{PART}, shard="1"'
    document = {
        "evaluation_interval": "15m",
        "tests": [
            {
                "interval": "15m",
                "input_series": [
                    {"series": f"{SENT}{{{labels}}}", "values": hours_of(first)}
                    for labels, first in (
                        (f'{one}, prometheus_replica="a"', 0),
                        (f'{one}, prometheus_replica="b"', 0),
                        (shard, 7),
                    )
                ],
                "promql_expr_test": [
                    expected(SENT, one, "25h", None),
                    {
                        "expr": day_record(SENT),
                        "eval_time": "26h",
                        "exp_samples": [
                            {"labels": f"{day_record(SENT)}{{{one}}}", "value": whole},
                            {"labels": f"{day_record(SENT)}{{{shard}}}", "value": late},
                        ],
                    },
                    *(
                        {
                            "expr": f'{day_record(SENT)}{{shard="1"}}',
                            "eval_time": time,
                            "exp_samples": [
                                {"labels": f"{day_record(SENT)}{{{shard}}}", "value": value}
                            ],
                        }
                        for time, value in (("49h45m", late), ("50h", whole), ("73h45m", whole))
                    ),
                ],
            },
            {
                "interval": "15m",
                "input_series": [
                    {
                        "series": f'{COVERAGE}{{cluster="dev"}}',
                        # Six hours without data, and 18 of which all was recorded.
                        "values": "_x4 1x71 _x25 1x200",
                    }
                ],
                "promql_expr_test": [
                    expected(COVERAGE, 'cluster="dev"', "26h", 0.75),
                ],
            },
        ],
    }
    run_tests(find("promtool"), document, {"days.yml": day_rules()})


def test_each_record_has_its_day():
    """One without would be read from hours, slowly, and nobody would know why."""
    (group,) = day_rules()["groups"]
    names = [rule["record"] for rule in group["rules"]]
    assert names == [day_record(name) for name in RECORDS]
    assert not {*names} & {*RECORDS}
