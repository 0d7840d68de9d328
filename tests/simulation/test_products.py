"""Products behind one address and port, told by the proxy user, and refusals in own words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulation.crawler.reading import read_plan
from simulation.plans import PlanError
from simulation.proxy.plan import Behaviour
from simulation.proxy.reading import read_behaviour
from simulation.proxy.reading import read_plan as read_vendor_plan
from tests.simulation.conftest import Serving, crawl, free_ports, serving

PRODUCTS = [
    {"user": "*-zone-resi*", "name": "residential"},
    {"user": "*-zone-dc*", "name": "datacenter"},
    {"user": "*-mobile", "name": "mobile"},
]
USERS = {
    "USER_RESI": "me-zone-resi-session-zq{n}:zqword",
    "USER_DC": "me-zone-dc1-session-zq{n}:zqword",
    "USER_MOBILE": "me-mobile:zqword",
    "USER_ELSE": "me:zqword",
}
POOLS = {
    "USER_RESI": "residential",
    "USER_DC": "datacenter",
    "USER_MOBILE": "mobile",
}
ANSWERS = {
    "quota": [{"status": 407, "headers": {"x-error": "limit"}}],
    "policy": [{"status": 403, "headers": {"X-Code": "p1"}}, {"status": 470, "connect": True}],
    "blocked": [{"status": 491, "connect": False}],
    "auth-failed": [{"status": 407, "headers": {"x-error": "login"}}],
}


def listen(port: int, **more: Any) -> dict[str, Any]:
    return {"vendor": "a", "address": "127.0.0.1", "port": port, **more}


@pytest.fixture
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Serving, int]]:
    """The vendor's process, its products and words, and its port."""
    port, control = free_ports(["127.0.0.1"] * 2)
    place = listen(port, pool="other", products=PRODUCTS, visible=request.param)
    plan = {"listen": [place], "control_port": control, "vendors": {"a": {"answers": ANSWERS}}}
    with serving(plan, tmp_path) as found:
        yield found, port


def by_pool(books: dict[str, Any]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for row in books["pools"]:
        found[row["pool"], row["outcome"]] += row["count"]
    return found


@pytest.mark.parametrize("served", ["requests", "passive"], indirect=True)
def test_both_books_agree_on_products(served: tuple[Serving, int]) -> None:
    """By product and outcome, in every protocol; a user that fits none buys the place's pool."""
    vendor, port = served
    visible = json.loads((vendor.folder / "vendor.json").read_text())["listen"][0]["visible"]
    plan = {
        "count": 2000,
        "seed": 4,
        "timeout_after_seconds": 0.6,
        "mix": {"http": 0.4, "tunnel": 0.3, "socks5": 0.2, "tls": 0.1},
        "vendors": [
            {
                "name": "a",
                "address": "127.0.0.1",
                "port": port,
                "visible": visible,
                "pool": "other",
                "socks5_auth": True,
                "users": [
                    {"password_env": v, **({"pool": POOLS[v]} if v in POOLS else {})} for v in USERS
                ],
                "faults": dict.fromkeys((*ANSWERS, "auth-challenge", "reset"), 0.05),
            }
        ],
    }
    books = crawl(vendor.write(plan), **USERS)
    own = vendor.settled_books()
    assert not books["unexpected"], books["unexpected"]
    assert by_pool(books) == by_pool(own)
    booked = sum(row["count"] for row in books["counts"])
    assert by_pool(books).total() == booked
    pools = Counter[str]()
    for (pool, _), count in by_pool(books).items():
        pools[pool] += count
    assert set(pools) == {"residential", "datacenter", "mobile", "other"}
    assert all(count > booked / 6 for count in pools.values())
    # Sessions, users and passwords are in no book.
    assert "zq" not in json.dumps([books, own])
    assert "zq" not in vendor.get("/metrics")


@pytest.mark.parametrize("served", ["requests"], indirect=True)
def test_refusals_come_in_own_words(served: tuple[Serving, int]) -> None:
    """A vendor's words for GET and for CONNECT, in turn; the answer says to the crawler what is
    meant."""
    vendor, port = served
    seen = Counter[int]()
    for kind, fault in (("http", "policy"), ("tunnel", "policy"), ("http", "blocked")):
        plan = {
            "count": 10,
            "mix": {kind: 1},
            "vendors": [
                {"name": "a", "address": "127.0.0.1", "port": port, "faults": {fault: 1.0}}
            ],
        }
        books = crawl(vendor.write(plan))
        [row] = books["counts"]
        assert (row["outcome"], row["count"]) == (fault, 10)
    for row in vendor.settled_books()["refusals"]:
        seen[row["code"]] += row["count"]
    assert seen == {"403": 15, "470": 5, "491": 10}


def test_wrong_products_and_words_are_named() -> None:
    """A login in the place of a pattern is not shown."""
    place = listen(1, products=[{"user": "me:word", "name": "a"}])
    with pytest.raises(PlanError) as caught:
        read_vendor_plan({"listen": [place], "control_port": 2}, {})
    assert caught.value.findings == [
        "listen[0].products[0].user: (its value is not shown) is no pattern of user names: give "
        "one such as *-zone-resi*"
    ]
    findings: list[str] = []
    wrong = {"stall": [], "quota": [{"status": 100}], "policy": 403}
    for fault, answers in wrong.items():
        read_behaviour({"answers": {fault: answers}}, "", findings, {})
    assert findings[0].startswith("answers: ")
    assert findings[1:] == [
        "answers.quota[0].status: 100 is out of range: give a whole number from 200 to 999",
        "answers.policy: 403 is not a list of objects: give [{status, headers}]",
    ]
    assert read_behaviour({"answers": {}}, "", [], {}).answers == Behaviour().answers


def test_user_without_a_variable_is_named() -> None:
    """And its name, which stands in the environment alone, is nowhere."""
    users = [{"password_env": "USER_NONE", "pool": "a"}]
    vendor = {"name": "a", "address": "127.0.0.1", "port": 1, "users": users}
    with pytest.raises(PlanError) as caught:
        read_plan({"vendors": [vendor]}, {})
    assert caught.value.findings == [
        'vendors[0].users[0].password_env: "USER_NONE" is no set variable: export it'
    ]
