"""A ledger is good if its sources answer it and its newest hours are young."""

from __future__ import annotations

import pytest

from verify.ledger import AGE, ledger_check


@pytest.mark.parametrize(
    ("health", "age", "said", "findings"),
    [
        ("up", "600", "it asked 10 minutes ago", 0),
        ("down", "600", "it asked 10 minutes ago", 1),
        ("up", "2460", "it asked 41 minutes ago", 1),
        ("unknown", "", "no hour yet", 0),
    ],
)
def test_a_ledger_is_judged_by_its_sources_and_its_age(health, age, said, findings):
    """In a new stack no hour is over, and that is no fault."""

    class Answering:
        def get(self, path, **_):
            return {"activeTargets": [{"health": health, "scrapeUrl": "http://x", "lastError": ""}]}

        def query(self, expression):
            assert expression == AGE
            return [{"metric": {}, "value": [0, age]}] if age else []

    check = ledger_check(Answering())
    assert (check.said, len(check.findings)) == (said, findings)
