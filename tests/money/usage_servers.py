"""A vendor's usage API on loopback, with the answers that its documentation shows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

from tests import pages
from tests.pages import Answer, Asked, Page

Answers = Callable[[Asked], Any]
"""Returns JSON, or bytes as they are, or (status, bytes)."""


def serving(answers: Answers) -> contextlib.AbstractContextManager[Page]:
    def answer(asked: Asked) -> Answer:
        found = answers(asked)
        status, content = found if isinstance(found, tuple) else (200, found)
        headers = {"Location": "https://elsewhere.example/"} if status == 302 else {}
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return status, body, headers

    return pages.serving(answer)


def bright_data(asked: Asked) -> Any:
    """Ten days of the zone `resi`: 1 GB on the first, 2 GB on the second, …"""
    start, end = asked.query["from"][:10], asked.query["to"][:10]
    length = (date.fromisoformat(end) - date.fromisoformat(start)).days
    sums = [number * 10**9 for number in range(1, length + 1)]
    if asked.path == "/zone/cost":
        span = {"from": "1-Nov-2026", "to": "11-Nov-2026"}
        found = {"cost": 8.4, "bw": sum(sums), "gbs": sum(sums) / 10**9, "range": span}
        return {"c_1": {"custom": found}}
    arrays = {
        "bw_sum": sums,
        "bw_dn": [one - 10**6 for one in sums],
        "bw_up": [10**6] * length,
        "http_direct_req": [1] * length,
        "https_direct_req": [9] * length,
    }
    span = {"from": f"{start}T00:00:00.000Z", "to": f"{end}T00:00:00.000Z"}
    return {"c_1": {"customer_id": "c_1", **span, "data": {asked.query["zone"]: arrays}}}


def oxylabs(asked: Asked) -> Any:
    if asked.path == "/v2/login":
        return {"user_id": "ox_user", "token": "a-jwt"}
    if asked.path.endswith("/client-stats"):
        return {"traffic": 1.0, "date_from": "2026-11-01", "date_to": "2026-11-30"}
    day = date.fromisoformat(asked.query["date"])
    return {"traffic": day.day / 4, "requests": 10, "results": []}


def oxylabs_unblocker(asked: Asked) -> Any:
    return {
        "meta": {"group_by": asked.query["group_by"], "date_from": asked.query["date_from"]},
        "data": {
            "sources": [
                {
                    "date": day,
                    "results_count_all": "9",
                    "average_response_time": 2.18,
                    "request_traffic": "900",
                    "response_traffic": f"{number}000",
                    "title": "universal",
                }
                for number, day in enumerate(
                    days(asked.query["date_from"], asked.query["date_to"]), 1
                )
            ]
        },
    }


def decodo(asked: Asked) -> Any:
    listed = days(asked.json["startDate"][:10], asked.json["endDate"][:10])
    rows = [
        {"grouping_key": day, "rx_tx_bytes": 1000 * number, "rx_bytes": 900, "tx_bytes": 100}
        for number, day in enumerate(listed, 1)
    ]
    total = sum(row["rx_tx_bytes"] for row in rows)
    return {"metadata": {"totals": {"total_rx_tx": total}}, "data": rows}


def zyte(asked: Asked) -> Any:
    listed = days(asked.query["start_time"][:10], asked.query["end_time"][:10])
    rows = [
        {
            "day": day,
            "organization_id": int(asked.query["organization_id"]),
            "request_count": 40,
            "billed_traffic_bytes": 7 * number,
            "cost_microusd_total": "52000.00",
            "response_time_sec_avg": "5.49",
            "status_codes": [{"code": 200, "count": 40}],
        }
        for number, day in enumerate(listed, 1)
    ]
    page, half = int(asked.query["page"]), len(rows) // 2
    part = rows[:half] if page == 1 else rows[half:]
    return {"page": page, "page_size": 500, "results": part, "total_result_count": len(rows)}


def webshare(asked: Asked) -> Any:
    start, end = asked.query["timestamp__gte"][:10], asked.query["timestamp__lte"][:10]
    real = [
        {
            # 17:00 in California is 01:00 of the next day in UTC.
            "timestamp": f"{date.fromisoformat(day) - timedelta(days=1)}T17:00:00-08:00",
            "is_projected": False,
            "bandwidth_total": 7000 * number,
            "requests_total": 9,
            "requests_failed": 1,
        }
        for number, day in enumerate(days(start, end), 1)
    ]
    projected = {**real[-1], "timestamp": f"{end}T23:00:00+00:00", "is_projected": True}
    return [*real, projected]


def days(first: str, last: str) -> list[str]:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [str(start + timedelta(days=number)) for number in range((end - start).days + 1)]


ANSWERS: Mapping[str, Answers] = {
    "bright-data": bright_data,
    "decodo": decodo,
    "oxylabs": oxylabs,
    "oxylabs-unblocker": oxylabs_unblocker,
    "webshare": webshare,
    "zyte": zyte,
}
