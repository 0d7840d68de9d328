"""A wrong plan is refused whole, and each finding names the fix."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulation.crawler.cli import main as crawler_main
from simulation.crawler.faults import FAULTS
from simulation.proxy.cli import main as vendor_main

GOOD = {"name": "vendor-a", "address": "127.0.0.1", "port": 3128}
SERVED = {"listen": [{"vendor": "a", "address": "127.0.0.1", "port": 3128}], "control_port": 1}


PROGRAMS = {"crawler": crawler_main, "vendor": vendor_main}


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Return what a program prints about a plan that it refuses."""

    def refuse(program: str, plan: object) -> list[str]:
        path = tmp_path / "plan.json"
        path.write_text(plan if isinstance(plan, str) else json.dumps(plan))
        assert PROGRAMS[program](["--plan", str(path)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        return [line.removeprefix(f"{program}: ") for line in said.err.splitlines()]

    return refuse


def test_crawler_names_every_finding(refused: Any) -> None:
    """Every finding is printed, with key, value, reason and fix."""
    plan = {
        "sed": 1,
        "count": 0,
        "concurrency": True,
        "mix": {"http": 0.5},
        "vendors": [
            GOOD,
            {**GOOD, "port": 70000, "faults": {"reset": 0.7, "stall": 0.5}},
            {**GOOD, "name": "outside", "address": "proxy", "faults": {"typo": 1}},
        ],
        "outside": [{"address": "127.0.0.1", "port": 1, "share": 1.5}, 7],
        "target": {"sizes_bytes": [[0.5, 10], [0.1, 20]]},
    }
    faults = ", ".join(FAULTS)
    assert refused("crawler", plan) == [
        "concurrency: true is out of range: give a whole number from 1 to 10000",
        "count: 0 is out of range: give a whole number from 1 to 10000000",
        'mix: {"http": 0.5} does not sum to 1: the shares make up all counts',
        "outside[0].share: 1.5 is out of range: give a number from 0 to 1",
        "outside[1]: 7 is not an object: give {address, port, share, name}",
        "sed: 1 is an unknown key: use seed",
        "target.sizes_bytes: [[0.5, 10], [0.1, 20]] is no list of rising sizes:"
        " give [[quantile 0 to 1, bytes 0 to 4194304], ...], both rising",
        'vendors[1].faults: {"reset": 0.7, "stall": 0.5} sums to 1.2:'
        " shares are at most 1 together",
        "vendors[1].port: 70000 is out of range: give a whole number from 1 to 65535",
        'vendors[2].address: "proxy" is not an IP address: give one such as 10.1.0.10',
        f'vendors[2].faults: {{"typo": 1}} names typo: use {faults}',
    ]


def test_crawler_names_every_clash_of_good_keys(refused: Any) -> None:
    """Keys are compared with each other once each of them is good by itself."""
    plan = {
        "vendors": [
            {**GOOD, "weight": 0, "faults": {"dead": 0.1, "reset": 0.2}},
            {**GOOD, "name": "outside", "weight": 0},
        ],
        "per_host_concurrency": 8,
    }
    assert refused("crawler", plan) == [
        "per_host_concurrency: 8 has no hosts: add hosts",
        "vendors: [0.0, 0.0] are all the weights: give one above 0",
        "vendors[0].faults.dead: 0.1 has no dead_address: add one",
        'vendors[1].name: "outside" is kept for addresses outside: give another',
    ]


@pytest.mark.parametrize(
    ("plan", "finding"),
    [
        ([], "plan: [] is not an object: give {"),
        ({}, "vendors: is missing: add it"),
        ({"vendors": []}, "vendors: [] is not a list of objects: give at least one entry"),
    ],
)
def test_crawler_refuses_half_a_plan(refused: Any, plan: object, finding: str) -> None:
    """An empty or half-made plan starts nothing."""
    assert refused("crawler", plan)[0].startswith(finding)


REFUSED = """
{"password_env": "NO_SUCH_VARIABLE"}
→ password_env: "NO_SUCH_VARIABLE" is no set variable: export it
{"password_env": "HOME"}
→ password_env: "HOME" holds no user:password: set it so
{"mix": {"opaque": 1}}
→ mix: {"opaque": 1} names opaque: use http, tunnel, tls, socks5
{"vendor": {"mix": {"tls": 0.5}}}
→ vendors[0].mix: {"tls": 0.5} does not sum to 1: the shares make up all counts
{"vendor": {"visible": "nothing"}}
→ vendors[0].visible: "nothing" is unknown: use requests or passive or connections
{"vendor": {"visible": "connections", "faults": {"reset": 0.1}}}
→ vendors[0].faults: {"reset": 0.1} show in no connection: leave them out
{"outside": {"address": "::1", "port": 1, "share": 0.1}}
→ outside: {"address": "::1", "port": 1, "share": 0.1} is not a list of objects: give [{...}], or
{"outside": [{"address": "::1", "port": 1, "share": 0.6}, {"address": "::1", "port": 1,
"share": 0.6}]}
→ outside: [0.6, 0.6] are shares above 1 together: give less
{"arrival": "poisson"}
→ arrival: "poisson" has no rate: add requests_per_second
{"arrival": "closed", "requests_per_second": 5}
→ requests_per_second: 5.0 has no meaning in arrival closed: leave out one
{"shape": [[0, 1], [9, 2]]}
→ shape: [[0.0, 1.0], [9.0, 2.0]] shapes a rate, arrival closed has none: leave it out
{"requests_per_second": 5, "shape": [[9, 1], [9, 2]]}
→ shape: [[9, 1], [9, 2]] is no course: give [[seconds, factor], ...], seconds rising
{"requests_per_second": 5, "shape": [[0, 0]]}
→ shape: [[0, 0]] is 0 throughout: give a factor above 0
{"requests_per_second": 5, "shape": [[0, 1], [90, 2]], "shape_period_seconds": 60}
→ shape_period_seconds: 60.0 ends before the shape does: give more
{"shape_period_seconds": 60}
→ shape_period_seconds: 60.0 has no shape to repeat: add shape
{"hosts": {}}
→ hosts.count: is missing: add it
{"retries": {"codes": [200]}}
→ retries.codes: [200] is no list of status codes: give [403, 429], each from 400 to
{"vendor": {"session": "stick"}}
→ vendors[0].session: "stick" is unknown: use rotating or sticky
{"vendor": {"password_env": "NO_SUCH_VARIABLE"}}
→ vendors[0].password_env: "NO_SUCH_VARIABLE" is no set variable: export it
{"max_gb_per_day": 1, "vendor": {"simulated": false, "faults": {"reset": 0.1}}}
→ vendors[0].faults: {"reset": 0.1} are for simulated vendors: leave them out
{"vendor": {"simulated": false}}
→ max_gb_per_day: null bounds no cost, but traffic of vendor-a is paid for: add
{"max_gb_per_day": 0}
→ max_gb_per_day: 0 is out of range: give a number from 1e-06 to 1e+06
{"budget_file": "/tmp/used"}
→ budget_file: "/tmp/used" has no budget to keep: add max_gb_per_day
{"linger_seconds": 5}
→ linger_seconds: 5.0 shows nothing: add metrics_port
{"timeout_seconds": 10}
→ timeout_seconds: 10.0 is so near timeout_after_seconds 10 that both sides may differ:
{"timeout_seconds": 5, "vendor": {"faults": {"slow": 0.1}}}
→ timeout_seconds: 5.0 is too short for the fault slow: exceed timeout_after
{"profile": "scrapy", "in_flight_cap": 8}
→ concurrency: 16 is above in_flight_cap 8: lower it
{"requests_per_second": 100, "in_flight_cap": 500, "shape": [[0, 1], [60, 2]],
"timeout_seconds": 30, "mix": {"tunnel": 1}, "vendor": {"faults": {"slow": 1}}}
→ in_flight_cap: 500 is below the 6000 that the rate keeps in flight: raise it, or
{"profile": "scrap"}
→ profile: "scrap" is unknown: use one of burst, diurnal, ramp, scrapy, steady, or the
{"profile": 7}
→ profile: 7 is no name: give one of burst, diurnal,
{"profile": "./gone.json"}
→ profile: "./gone.json" cannot be read as JSON:
"""  # keys of a good plan, those of its `vendor` within, and how the finding begins


@pytest.mark.parametrize(
    ("keys", "finding"), re.findall(r"^(\{(?:.|\n)*?)\n→ (.*)$", REFUSED, re.MULTILINE)
)
def test_crawler_refuses(refused: Any, keys: str, finding: str) -> None:
    """A good plan with one wrong key, or with keys that clash, starts nothing."""
    plan = json.loads(keys)
    plan["vendors"] = [{**GOOD, **plan.pop("vendor", {})}]
    assert refused("crawler", plan)[0].startswith(finding)


def test_vendor_names_every_finding(refused: Any) -> None:
    """The vendor's plan is read as strictly as the crawler's."""
    place = {"vendor": "a", "address": "127.0.0.1", "port": 3128}
    bad = {"vendor": "", "prot": 1, "visible": "no"}
    assert refused("vendor", {"listen": [place, bad], "seed": -1}) == [
        "control_port: is missing: add it",
        "listen[1].address: is missing: add it",
        "listen[1].port: is missing: add it",
        "listen[1].prot: 1 is an unknown key: use port",
        'listen[1].vendor: "" is not a name: give letters, digits, hyphens and dots',
        'listen[1].visible: "no" is unknown: use requests or passive or connections',
        "seed: -1 is out of range: give a whole number from 0 to 9223372036854775808",
    ]
    clashing = {"listen": [place, place], "control_port": 1, "key": "x.pem"}
    assert refused("vendor", clashing) == [
        "certificate: null stands alone: give certificate and key, or none",
        "listen[1].port: 3128 repeats 127.0.0.1: give each address once",
    ]


@pytest.mark.parametrize("program", ["crawler", "vendor"])
def test_file_that_is_no_json_is_one_line(refused: Any, tmp_path: Path, program: str) -> None:
    """A truncated ConfigMap gives a sentence, not a traceback."""
    for content in ("{", "[" * 100_000, '{"seed": ' + "9" * 5000 + "}"):
        [line] = refused(program, content)
        assert line.startswith(f"{tmp_path}/plan.json: cannot be read as JSON: ")


@pytest.mark.parametrize(
    ("program", "plan"),
    [
        ("crawler", {"vendors": [{**GOOD, "password": "s3cr3t"}]}),
        ("crawler", {"vendors": [{**GOOD, "address": "http://me:s3cr3t@10.1.0.10:3128"}]}),
        ("crawler", {"vendors": [{**GOOD, "password_env": "me:s3cr3t"}]}),
        ("crawler", {"vendors": [{**GOOD, "user": "me:s3cr3t"}]}),
        ("crawler", {"vendors": [GOOD], "proxy_url": "s3cr3t"}),
        ("crawler", {"vendors": [{**GOOD, "name": "me:a/s3cr3t@a"}]}),
        ("crawler", {"vendors": [{**GOOD, "address": "10.1.0.10:3128:me:s3cr3t"}]}),
        ("crawler", {"vendors": [{**GOOD, "name": "10.1.0.10:3128@me:s3cr3t"}]}),
        ("crawler", {"vendors": [{**GOOD, "mix": {"me:s3cr3t": 1}}]}),
        ("crawler", {"vendors": [GOOD], "arrival": "Bearer s3cr3t"}),
        ("crawler", {"vendors": [GOOD], "profile": "https://host.example/s3cr3t?token=s3cr3t"}),
        ("crawler", {"vendors": [GOOD], "me:s3cr3t": "x"}),
        ("vendor", {**SERVED, "vendors": {"a": {"dialect": {"quota": "me:s3cr3t"}}}}),
        ("vendor", {**SERVED, "vendors": {"a": {"credentials": {"me": "PATH", "you": "s3cr3t!"}}}}),
        ("vendor", {**SERVED, "vendors": {"a": {"credentials": {"me:s3cr3t": "PATH"}}}}),
    ],
)
def test_finding_shows_no_secret_in_a_wrong_place(refused: Any, program: str, plan: object) -> None:
    """A finding goes to a pod's log."""
    lines = refused(program, plan)
    assert lines
    assert "s3cr3t" not in "\n".join(lines)


@pytest.mark.parametrize("program", ["crawler", "vendor"])
def test_finding_is_one_line_that_moves_no_terminal(refused: Any, program: str) -> None:
    """A finding is one short line of printable characters, whatever the file has."""
    lines = refused(program, {"\x1b[2J\n": 1, "long": "x" * 100_000, "k" * 100_000: 1})
    assert all(line.isprintable() and len(line) < 2000 for line in lines)
    assert any(line.startswith("text of 5 characters: 1 is an unknown key") for line in lines)


def test_login_that_is_no_utf8_is_refused(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program refuses it at the start instead of raising at the first count."""
    monkeypatch.setenv("ODD", "me:\udcff")
    assert refused("crawler", {"vendors": [{**GOOD, "password_env": "ODD"}]}) == [
        'vendors[0].password_env: "ODD" holds no text in UTF-8: set it anew'
    ]
    customers = {"a": {"credentials": {"me": "ODD"}}}
    [line] = [each for each in refused("vendor", {**SERVED, "vendors": customers}) if "ODD" in each]
    assert "gives me ODD, which is no UTF-8: set it anew" in line


@pytest.mark.parametrize(("address", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_port_in_use_leaves_nothing_listening(refused: Any, address: str, shown: str) -> None:
    """The vendor serves all its addresses or none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as taken, socket.socket(family) as spare:
        spare.bind((address, 0))
        port, other = taken.getsockname()[1], spare.getsockname()[1]
        spare.close()
        plan = {
            "listen": [
                {"vendor": "a", "address": address, "port": other},
                {"vendor": "a", "address": address, "port": port},
            ],
            "control_port": 1,
        }
        assert refused("vendor", plan) == [
            f"{shown}:{port} is in use: stop what listens there, or change it in the plan"
        ]
        with socket.socket(family) as probe:
            assert probe.connect_ex((address, other)) != 0


def test_crawler_says_when_its_metrics_port_is_taken(refused: Any) -> None:
    """Nothing is sent when the metrics cannot be served."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        plan = {"vendors": [GOOD], "metrics_port": port}
        assert refused("crawler", plan) == [
            f"127.0.0.1:{port} is in use: stop what listens there, or change it in the plan"
        ]


@pytest.mark.parametrize("program", ["crawler", "vendor"])
def test_help_fits_a_screen(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--help fits 24 lines of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        PROGRAMS[program](["--help"])
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 24
    assert max(map(len, said.splitlines())) <= 80
