"""What a crawler and a vendor notice of an Envoy between them: compared with none at all.

Each exchange is played alone on its connection, behind a plain request, and with plain ones behind
it. docs/limits.md and docs/fidelity.md list what differs with `inspect: http`, and nothing else.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from lab.system import ROOT
from tests.lab.conftest import free_ports
from tests.lab.odd_exchanges import CASES
from tests.lab.odd_script import BEHIND
from tests.lab.with_and_without import became, every_odd, played_directly, played_through

ODD = every_odd()
LEAST = 300
BAD_ANSWERS = {("http", "bad_answer"), ("tunnel", "bad_answer")}
GOES = 3  # whether Envoy sees a segment and the FIN behind it at once is chance


@pytest.fixture(scope="module")
def direct():
    return played_directly(ODD, free_ports())


@pytest.fixture(scope="module")
def passive(tmp_path_factory):
    return played_through(ODD, "passive", tmp_path_factory.mktemp("passive"))


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    return played_through(ODD, "http", tmp_path_factory.mktemp("http"))


def differing(direct, records):
    return sorted(key for key, record in records.items() if record != direct[key])


# Nothing parsed, nothing changed.


def test_where_connections_alone_are_counted_nothing_differs(direct, tmp_path):
    """Every byte both ways, and how each end comes. Each connection is counted once."""
    played = played_through(ODD, "connections", tmp_path)
    differences = differing(direct, played.records)
    print(f"connections: {len(ODD)} exchanges, {len(direct)} plays, {len(differences)} differ")
    assert len(ODD) >= LEAST
    assert differences == []
    assert played.opaque == len(direct)


def test_where_bytes_are_only_read_nothing_differs(direct, passive):
    """The meter that touches nothing; each byte is counted once."""
    differences = differing(direct, passive.records)
    print(f"passive: {len(ODD)} exchanges, {len(direct)} plays, {len(differences)} differ")
    assert differences == []
    sizes = {key: (sum(map(len, r.received)), len(r.answered)) for key, r in direct.items()}
    assert passive.moved == sizes


UNREAD = (  # counted by connection from there on; limits.md says so in words
    *("odd-line-method-latin1", "odd-line-space-first", "odd-line-http-*", "odd-line-no-minor"),
    *("odd-line-other-protocol", "odd-line-no-target", "method-of-*", "spaced-tabs"),
    *("version-2.0", "version-0.9", "coding-gzip", "coding-unknown", "*-returns"),
    *("bad-length-[!lt]*", "bad-chunk-size", "bad-chunk-negative", "bad-chunk-0x"),
    *("chunk-too-long", "before-a-line-half", "before-a-head-ends", "answer-in-head"),
    # What follows the answer.
    *("bad-status-[!en]*", "bad-status-n[eo]*", "status-2000", "answer-line-[!13ns]*"),
    *("bad-answer-length-[dp]*", "answer-chunk-bad-size", "answer-chunk-too-long"),
    "bad-204-chunks",
)


def test_what_is_read_is_counted_wherever_it_stands(passive):
    """A request that is not is one of a connection that counts as opaque from there on."""
    expected = {"alone": 0, "second": 1, "first": BEHIND}
    missing = {
        (name, position): ODD[name].requests + expected[position] - sum(counted.values())
        for (name, position), counted in passive.counted.items()
        if ODD[name].requests
    }
    assert min(missing.values()) == 0
    unread = {key for key, number in missing.items() if number}
    assert {name for name, _ in unread} == matching(UNREAD)
    assert unread <= passive.unread
    no_http = {name for name, one in ODD.items() if not one.requests}
    socks = {name for name in no_http if passive.counted[name, "alone"]}
    assert {v for name in socks for v, _ in passive.counted[name, "alone"]} == {"socks"}
    assert socks >= matching(["socks5*"])
    assert passive.opaque >= len(unread) + len(no_http - socks)


@pytest.mark.parametrize("inspect", ["connections", "passive"])
def test_another_vendors_http_port_breaks_a_few(direct, tmp_path, inspect):
    """The inspector reads a connection's first line before any chain is chosen."""
    played = played_through(ODD, inspect, tmp_path, beside_http=True)
    named = patterns("limits.md", "### On a port that another vendor")
    found = {name for name, _ in differing(direct, played.records)}
    assert found <= matching(named)
    assert matching(["line-of-*"]) <= found
    assert found & RACES


# HTTP parsed: what differs stands in the pages.


def patterns(page, heading):
    """Return what the tables or sentences below a heading name in back quotes, without tests."""
    level = heading.split()[0]
    text = (ROOT / "docs" / page).read_text().split(heading, 1)[1]
    text = re.split(r"\n#{2,3} " if level == "###" else r"\n## ", text)[0]
    cells = [row.rsplit(" | ", 1)[-1] for row in text.splitlines() if " | " in row] or [text]
    found = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    return [name for name in found if not name.startswith("test_") and matching([name])]


def matching(names):
    return {case for case in ODD if any(fnmatchcase(case, name) for name in names)}


# Envoy cuts a connection whose bytes and FIN it meets at once; a FIN that comes later it carries.
RACES = matching(["half-close-*"])


def stated():
    """Return what the pages say of each case: alone on its connection, and behind another."""
    found = {}
    for heading in ("### Towards the vendor", "### Towards the crawler", "## Connections"):
        for name in patterns("fidelity.md", heading):
            for case in matching([name]):
                assert case not in found, case
                found[case] = ("changed", "changed")
    text = (ROOT / "docs" / "limits.md").read_text().split("## What Envoy does not carry", 1)[1]
    rows = r"^.* \| (\w+)(?:, later (\w+))? \| (.*)$"
    for first, later, cases in re.findall(rows, text.split("\n## ")[0], re.MULTILINE):
        for case in matching(re.findall(r"`([^`]+)`", cases)):
            assert case not in found, case
            found[case] = (first, later or first)
    return found


def differences(played, direct, names):
    """Return what became of each of these that is not the same in all positions."""
    found = {}
    for name in names:
        positions = {}
        for position in ODD[name].positions():
            key = (name, position)
            # What is no HTTP is counted by connections alone.
            counted = sum(played.counted[key].values()) if ODD[name].requests else 1
            positions[position] = became(position, direct[key], played.records[key], counted)
        if set(positions.values()) != {"same"}:
            found[name] = (positions["alone"], positions.get("second"))
    return found


def test_what_differs_with_http_parsed_is_what_the_pages_say(direct, http, tmp_path):
    """Whoever reads limits.md and fidelity.md knows all that Envoy refuses and changes."""
    said = stated()
    found = differences(http, direct, ODD)
    print(f"http: {len(ODD)} exchanges, {len(direct)} plays, {len(found)} exchanges differ")
    wrong = disagreeing(said, found)
    for go in range(GOES if 0 < len(wrong) < 20 else 0):
        again = {name: ODD[name] for name in wrong}
        found = differences(played_through(again, "http", tmp_path / str(go)), direct, again)
        wrong &= disagreeing({name: said[name] for name in said if name in wrong}, found)
    assert {name: (said.get(name), found.get(name)) for name in sorted(wrong)} == {}


def test_what_envoy_refuses_is_held_against_nobody(direct, http):
    """A refused request is `rejected`, an answer that Envoy does not take `bad_answer`."""
    rejected = http.without_pool["http", "rejected"] + http.without_pool["tunnel", "rejected"]
    assert rejected == http.without_pool.total()
    refused = 0
    for (name, position), record in http.records.items():
        counted = http.counted[name, position]
        state = became(position, direct[name, position], record, counted.total())
        refused += state in ("400", "404", "431", "501")
        rejected += sum(number for (_, outcome), number in counted.items() if outcome == "rejected")
        if state == "502":
            assert counted.keys() - {("http", "success")} <= BAD_ANSWERS, name
    assert rejected == refused


def disagreeing(said, found):
    return {name for name in said.keys() | found.keys() if not agree(name, said, found)}


def agree(name, said, found):
    if name in RACES:
        return name in said and set(found.get(name, ())) <= {"cut", "same", None}
    if name not in said or name not in found:
        return False
    positions = 2 if found[name][1] else 1
    return said[name][:positions] == found[name][:positions]


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_the_one_that_is_written(http, name):
    """To the byte: in `odd_exchanges`, the bytes that replace others."""
    case, record = CASES[name], http.records[name, "alone"]
    assert (record.received, record.answered) == ((case.at_vendor,), case.at_crawler)


def test_a_request_that_is_carried_is_counted(direct, http):
    """Also behind an odd one: but for what the pages call uncounted."""
    uncounted = {name for name, states in stated().items() if "uncounted" in states}
    for name in ODD.keys() - uncounted:
        if (name, "first") in direct and http.records[name, "first"] == direct[name, "first"]:
            assert sum(http.counted[name, "first"].values()) == ODD[name].requests + BEHIND, name


@pytest.mark.parametrize("name", ["before-a-line-half", "before-a-head-ends"])
def test_a_head_that_never_completes_is_no_request(http, name):
    """It meets no filter, so a mesh counts nothing; nor does the stand-in for istio.stats."""
    assert not http.counted[name, "alone"]
    assert http.counted[name, "second"] == {("http", "success"): 1}
