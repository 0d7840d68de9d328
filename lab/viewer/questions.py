"""What the pages may ask of Prometheus: a panel's queries, a variable's values, annotations."""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.viewer.times import Span, span
from lab.viewer.variables import LABEL_VALUES, Chosen, chosen, filled

Json = dict[str, Any]
Asked = Mapping[str, Sequence[str]]
"""An address' query: `from`, `to`, `points`, `var-<name>`."""

TIMEOUT_SECONDS = 20.0
CUSTOMARY_POINTS = 600
MOST_POINTS = 2_000

# Without a proxy of the user's environment, which could not reach this loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class NotFoundError(LookupError):
    """There is no such board, panel, variable or annotation."""


class PrometheusError(Exception):
    """Prometheus did not answer, or refused the query; the text is its own."""


@dataclass(frozen=True)
class Questions:
    """The boards, and the one Prometheus that they are asked of."""

    boards: Mapping[str, Json]
    """By uid."""
    prometheus_url: str
    scrape_seconds: float

    def board(self, uid: str) -> Json:
        if uid not in self.boards:
            raise NotFoundError(f"there is no board {uid[:60]!r}")
        return self.boards[uid]

    def panel(self, uid: str, number: str, asked: Asked) -> Json:
        """Return the answers to a panel's targets, each with the time it took."""
        board = self.board(uid)
        panel = _found(board["panels"], "id", number, f"board {uid} has no panel")
        values = _values(board, asked)
        when = self._span(board, asked)  # once, or the rows of a table's queries would not meet
        return {
            "from": when.start * 1000,
            "to": when.end * 1000,
            "step": when.step * 1000,
            "targets": [
                self._answer(target, panel, when, values) for target in panel.get("targets", ())
            ],
        }

    def variable(self, uid: str, name: str, asked: Asked) -> list[str]:
        """Return the values of a query variable, as those before it are chosen."""
        board = self.board(uid)
        known = board.get("templating", {}).get("list", [])
        variable = _found(known, "name", name, f"board {uid} has no variable")
        found = variable["type"] == "query" and LABEL_VALUES.fullmatch(variable["query"]["query"])
        if not found:
            raise ValueError(f"variable {name}: only label_values(metric, label) is supported")
        when = self._span(board, asked)
        parameters = {"start": str(when.start), "end": str(when.end)}
        if found[1]:
            parameters["match[]"] = filled(found[1], _values(board, asked))
        return [str(one) for one in self._ask(f"label/{found[2]}/values", parameters)]

    def annotations(self, uid: str, asked: Asked) -> list[Json]:
        """Return the regions of each annotation: begin and end in milliseconds, and colour."""
        board, when = self.board(uid), self._span(self.board(uid), asked)
        regions: list[Json] = []
        for one in board.get("annotations", {}).get("list", []):
            expression = filled(one["expr"], _values(board, asked))
            for series in self._ask("query_range", _range(expression, when)):
                regions += _regions(one["iconColor"], series, when.step)
        return regions

    def _span(self, board: Json, asked: Asked) -> Span:
        usual = board.get("time", {})
        points = (asked.get("points") or [""])[0]
        return span(
            (asked.get("from") or [usual.get("from", "now-1h")])[0],
            (asked.get("to") or [usual.get("to", "now")])[0],
            points=min(int(points), MOST_POINTS) if points.isdecimal() else CUSTOMARY_POINTS,
            scrape=self.scrape_seconds,
            now=time.time(),
        )

    def _answer(self, target: Json, panel: Json, when: Span, values: Mapping[str, Chosen]) -> Json:
        is_instant = bool(target.get("instant")) and not target.get("range")
        answer: Json = {
            "refId": target.get("refId", "A"),
            "legendFormat": target.get("legendFormat", ""),
            "format": target.get("format", "time_series"),
            "series": [],
        }
        begun = time.perf_counter()
        try:
            expression = filled(target["expr"], values)
            if is_instant:
                parameters = {"query": expression, "time": str(when.end)}
                answer["series"] = self._ask("query", parameters)
            else:
                answer["series"] = self._ask("query_range", _range(expression, when))
        except (PrometheusError, ValueError) as error:
            answer["error"] = f"{panel.get('title', '')}: {error}"
        answer["ms"] = round((time.perf_counter() - begun) * 1000, 1)
        return answer

    def _ask(self, path: str, parameters: Mapping[str, str]) -> list[Any]:
        url = f"{self.prometheus_url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with _OPENER.open(url, timeout=TIMEOUT_SECONDS) as response:
                data = json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise PrometheusError(_reason(error)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PrometheusError(f"Prometheus does not answer: {error}") from None
        if isinstance(data, list):
            return data
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        return list(data["result"])


def _values(board: Json, asked: Asked) -> dict[str, Chosen]:
    names = [variable["name"] for variable in board.get("templating", {}).get("list", [])]
    return {name: chosen(asked.get(f"var-{name}", ())) for name in names}


def _range(expression: str, when: Span) -> dict[str, str]:
    # On multiples of the step, so that a line does not change its shape at each refresh.
    start = math.floor(when.start / when.step) * when.step
    end = math.floor(when.end / when.step) * when.step
    return {
        "query": expression,
        "start": str(start),
        "end": str(max(start, end)),
        "step": str(when.step),
    }


def _regions(colour: str, series: Json, step: float) -> Iterator[Json]:
    """Yield a region for each run of samples without a gap."""
    times = [float(at) for at, value in series["values"] if value != "0"]
    begun = 0
    for position in range(1, len(times) + 1):
        if position < len(times) and times[position] - times[position - 1] <= step * 1.5:
            continue
        yield {
            "from": times[begun] * 1000,
            "to": times[position - 1] * 1000,
            "color": colour,
        }
        begun = position


def _found(known: Any, key: str, value: str, trouble: str) -> Json:
    for one in known:
        if str(one.get(key)) == value:
            return dict(one)
    raise NotFoundError(f"{trouble} {value[:60]!r}")


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError):
        return f"Prometheus answers {error.code}"
