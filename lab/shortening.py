"""The times of rules and of Alertmanager, divided for the lab; all else stays as shipped.

Nobody watches a laptop for an hour. One factor divides every time there is, so that what comes
before what stays as it is in a cluster. Names keep their `rate5m`, and texts their "hour". Only a
rule's `for` has a least, since scrapes can't come as many times as often.
"""

from __future__ import annotations

import re
from typing import Any

DEMO_FACTOR = 20
"""Of the demo and the checks: rates over 5 minutes are over 15 s."""

DRILL_FACTOR = 60
"""Of the drills: a minute is a second, and 5 minutes are still five scrapes."""

LEAST_WAIT_SECONDS = 4
"""Of a rule's `for`: the shortest shipped, 1m, is four scrapes, and one late scrape is no fault."""

_WAITS = ("for:", "keep_firing_for:")
_UNIT_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME = r"\d+[smhd]"

# Where a rule has a time: a range, an offset, a number of seconds to divide by or to compare with,
# a wait, and predict_linear's plain seconds.
_PLACES = re.compile(
    rf"(?P<head>\[|\boffset\s+|[/<]\s+|^\s*(?:for|keep_firing_for):\s*)(?P<time>{_TIME})\b"
    r"|(?P<predict>\],\s*)(?P<seconds>\d+)(?=\s*\))",
    re.MULTILINE,
)

# What else Alertmanager's configuration waits for.
_ALERTMANAGER_TIMES = ("group_wait", "group_interval", "repeat_interval", "resolve_timeout")


def shortened(time: str, factor: int) -> str:
    """Return a time of Prometheus' or Alertmanager's divided: "5m" by 60 is "5s"."""
    milliseconds = round(_milliseconds(time) / factor)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def at_least(time: str) -> str:
    """Return the time, or LEAST_WAIT_SECONDS if that is longer."""
    return time if _milliseconds(time) >= LEAST_WAIT_SECONDS * 1000 else f"{LEAST_WAIT_SECONDS}s"


def shortened_rules(text: str, factor: int) -> str:
    """Return the text of a rule file, every time in it divided."""

    def divided(found: re.Match[str]) -> str:
        if found["predict"]:
            return f"{found['predict']}{int(found['seconds']) / factor:g}"
        head, time = found["head"], shortened(found["time"], factor)
        return head + (at_least(time) if head.lstrip().startswith(_WAITS) else time)

    return _PLACES.sub(divided, text)


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
    """Return what the output says of it."""
    return (
        f"windows and waits of all rules -> 1/{factor}, 5m is {shortened('5m', factor)}; same names"
    )


def _milliseconds(time: str) -> int:
    number = time.rstrip("msdh")
    return int(number) * _UNIT_MILLISECONDS[time.removeprefix(number)]
