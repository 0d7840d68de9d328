"""The times of rules and of Alertmanager, divided for the lab; everything else stays as shipped.

Nobody watches a laptop for an hour. One factor divides every time, so that the order of events is
that of a cluster. Names keep their `rate5m`, and descriptions their "hour". Only a rule's `for` has
a least value, since the lab cannot scrape as many times more often.
"""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]

DEMO_FACTOR = 20
"""For the demo and the checks: rates over 5 minutes are over 15 s."""

DRILL_FACTOR = 60
"""For the drills: a minute is a second, and 5 minutes are still five scrapes."""

LEAST_WAIT_SECONDS = 4
"""The least `for` of a rule: the shortest shipped, 1m, is four scrapes, and one may be late."""

_UNIT_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

# PromQL's literal of a duration: no name begins with a digit, and no string of a rule holds one.
_DURATION = re.compile(r"(?<![\w.])\d+[smhd](?!\w)")

# What else Alertmanager's configuration waits for.
_ALERTMANAGER_TIMES = ("group_wait", "group_interval", "repeat_interval", "resolve_timeout")


def shortened(time: str, factor: int) -> str:
    """Return a duration of Prometheus or Alertmanager divided: "5m" by 60 is "5s"."""
    milliseconds = round(_milliseconds(time) / factor)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def at_least(time: str) -> str:
    """Return the time, or LEAST_WAIT_SECONDS if that is longer."""
    return time if _milliseconds(time) >= LEAST_WAIT_SECONDS * 1000 else f"{LEAST_WAIT_SECONDS}s"


def shortened_expression(expr: str, factor: int) -> str:
    """Return PromQL with every time in it divided."""
    return _DURATION.sub(lambda found: shortened(found[0], factor), expr)


def shortened_rules(file: Json, factor: int) -> Json:
    """Return a rule file as plain values, every time in it divided."""

    def rule(shipped: Json) -> Json:
        expr = shortened_expression(shipped["expr"], factor)
        waits: Json = {
            key: at_least(shortened(shipped[key], factor))
            for key in ("for", "keep_firing_for")
            if key in shipped
        }
        return {**shipped, "expr": expr, **waits}

    def pace(group: Json) -> Json:
        return {"interval": shortened(group["interval"], factor)} if "interval" in group else {}

    groups = [
        {**group, **pace(group), "rules": [*map(rule, group["rules"])]} for group in file["groups"]
    ]
    return {**file, "groups": groups}


def shortened_alertmanager(config: Any, factor: int) -> Any:
    """Return alertmanager.yml as plain values, every wait in it divided."""
    if isinstance(config, list):
        return [shortened_alertmanager(one, factor) for one in config]
    if not isinstance(config, dict):
        return config
    return {
        key: shortened(value, factor)
        if key in _ALERTMANAGER_TIMES
        else shortened_alertmanager(value, factor)
        for key, value in config.items()
    }


def stand_in(factor: int) -> str:
    """Return the line of the output that says what is shortened."""
    return (
        f"windows and waits of all rules -> 1/{factor}, 5m is {shortened('5m', factor)}; same names"
    )


def _milliseconds(time: str) -> int:
    number = time.rstrip("msdh")
    return int(number) * _UNIT_MILLISECONDS[time.removeprefix(number)]
