"""No password and no token reaches a terminal, wherever its text was pasted."""

from __future__ import annotations

import json
import re
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settings import loading
from settings.loading import ROOT, SettingsError, load_stack_file, parse_settings
from settings.masking import kind_of_proxy, quoted
from settings.values.handed_out import refusal_of
from settings.which import main

LOGINS = (
    "203.0.113.5:8080:lamer:hunter2",
    "[2001:db8::1]:8080:lamer:hunter2",
    "2001:db8::1:8080:lamer:hunter2",
    "brd.superproxy.io:33335:lamer:hunter2",
    "203.0.113.5;8080;lamer;hunter2",
    "203.0.113.5 8080 lamer hunter2",
    "http,203.0.113.5,8080,lamer,hunter2",
    '"203.0.113.5","8080","lamer","hunter2"',
    "socks5 203.0.113.5 1080 lamer hunter2",
    "lamer:hunter2@203.0.113.5:8080",
    "203.0.113.5:8080@lamer:hunter2",
    "gw.example:8800@lamer:hunter2",
    "http://lamer:hun/ter2@203.0.113.5:8080",
    "lamer:hunter2:203.0.113.5:8080",
    "lamer:hun/ter2:203.0.113.5:8080",
    "lamer:hunter2 203.0.113.5",
    "lamer:hunter2",
)
URLS = (
    "https://hooks.example/services/lamer/hunter2",
    "https://hooks.example?token=hunter2",
    "https://hooks.example/x?lamer=hunter2",
    "https://lamer:hunter2@hooks.example/",
)
WORDS = ("lamer", "hunter2", "hun/ter2", "ter2")


@pytest.mark.parametrize("text", [*LOGINS, *URLS, "Authorization: Bearer hunter2", "::1%hunter2"])
def test_what_may_hold_a_secret_is_described(text):
    assert not any(word in quoted(text) for word in WORDS)


def test_a_description_helps_to_find_the_text():
    assert quoted("lamer:hunter2") == "text of 13 characters"
    assert quoted("Bearer hunter2") == "text of 14 characters with a space"
    assert quoted(URLS[0]) == "a URL at https://hooks.example"
    assert quoted("x" * 61) == "text of 61 characters"


@pytest.mark.parametrize(
    "text",
    [
        *("2001:db8::1", "::1", "2001:db8::/129", "[2001:db8::1]:3128", "10.1.0.0/33", "10.1/16"),
        *("registry/x:latest", "quay.io/x/y:v0.29.0", "10.1.0.10:3128", "gw.example:70000", "30s"),
        *("https://shop.example", "http://prometheus:9090", "*.shop.example", "Vendor_A", "120%"),
    ],
)
def test_ordinary_mistakes_are_quoted(text):
    """A value that is not shown is harder to correct."""
    assert quoted(text) == (repr(text) if text != "2001:db8::/129" else "text of 14 characters")


@pytest.mark.parametrize("text", [one for one in LOGINS if "." in one and "ter2 " not in one])
def test_a_proxy_with_its_login_is_recognised(text):
    """The remedy then says to change the password."""
    assert kind_of_proxy(text) == "login"


@pytest.mark.parametrize("text", ["1." * 500_000, "1.1-" * 250_000, "a.b:80 " * 140_000])
def test_a_megabyte_without_line_ends_is_read_at_once(text):
    """As of a wrong file: the patterns would take hours for all of it."""
    kind_of_proxy(text)
    refusal_of(text)


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """All that is printed when a text is pasted anywhere."""
    monkeypatch.setattr(loading, "ROOT", tmp_path)

    def everything(text: str) -> str:
        return everything_said(text, tmp_path, monkeypatch, capsys)

    return everything


def everything_said(text, folder, monkeypatch, capsys):
    (folder / "ranges.txt").write_text(f"{text}\n")
    receivers = [
        {"name": text, "kind": text},
        {"name": "a", "kind": "slack", "channel": text},
        text,
    ]
    listed = text.split(",")  # as YAML reads the text between brackets
    host = {"name": text, "ports": listed, "pool": text, "virtualAddress": text}
    mapping = dict(zip(("ip", "port", "username", "password"), listed, strict=False))
    vendors: list[object] = [
        {"name": "vendor-a", "cidrs": [text], "hosts": [text, host]},
        {"name": "vendor-b", "cidrsFile": "ranges.txt", "hosts": text},
        {"name": "vendor-c", "cidrs": [{"range": text}], "cidrsFile": text},
        {"name": "vendor-d", "cidrs": listed, "hosts": listed, "products": [{"user": text}]},
        {"name": "vendor-e", "cidrs": [mapping], "hosts": [mapping], "ports": listed},
        {text: 1},
    ]
    values: dict[str, object] = {
        "cluster": text,
        "vendors": vendors,
        "destinations": [{"name": text, "cidrs": listed, "hosts": listed}],
        "loadGenerator": {
            "endpoints": {"vendor-a": text, "vendor-b": listed, "vendor-c": mapping, text: text},
            "mix": {text: 1},
            "profile": text,
        },
        "crawlers": {"selector": {"app": text, text: "x"}, "namespaces": {"app": text}},
        "grafana": {"image": text},
        "istio": {"chartSource": f"{text}?" if "://" in text else text},
        "alertmanager": {"receivers": receivers, "critical": [text]},
        "alerts": {"runbookUrl": text, "ruleFiles": [text]},
        "prometheus": {"federateFrom": [{"cluster": text, "url": text, "stack": text}]},
        "simulatedVendors": {"vendors": {"vendor-a": {"endpoint": text}}},
        text: text,
    }
    with pytest.raises(SettingsError) as refused:
        parse_settings(values)
    with pytest.raises(SettingsError) as lists_refused:
        parse_settings(values | {"loadGenerator": {"endpoints": listed}})
    monkeypatch.setenv("STACK_FILE", str(ROOT / "Pulumi.dev.yaml"))
    assert main([text, "--stack", "dev", "--out", str(folder)]) == 2
    assert main(["10.1.0.1", "--stack", text]) == 2
    return "".join(
        [
            str(refused.value),
            str(lists_refused.value),
            *capsys.readouterr(),
            (folder / "which.json").read_text(),
        ]
    )


@pytest.mark.parametrize("text", [*LOGINS, *URLS])
def test_no_place_prints_a_secret(text, said):
    """Range files, ranges, endpoints, lists, labels, keys and `make which`: as text and as JSON."""
    printed = said(text)
    assert "ranges.txt:1: " in printed
    assert "ADDRESS: " in printed
    assert "STACK: " in printed
    for word in WORDS:
        assert word not in printed


HOSTS = ("203.0.113.5", "[2001:db8::5]", "2001:db8::5", "gw.vendor.example")
ORDERS = ("hpul", "ulhp", "thpul", "hpult", "hplu", "tulhp", "hul", "uhpl")


@st.composite
def lines_of_lists(draw) -> str:
    """A line that a vendor's list may have; user and password hold "zq"."""
    anything = st.text(string.ascii_letters + string.digits + "!$%^&*()_+-=~.#/?", max_size=8)
    # Without the form of a host's name.
    letters = anything.filter(lambda text: not re.search(r"\.[A-Za-z]{2,}[.,]?$", text))
    parts = {
        "h": draw(st.sampled_from(HOSTS)),
        "p": str(draw(st.integers(1, 65535))),
        "u": f"zqu{draw(letters)}",
        "l": f"zqp{draw(letters)}",
        "t": draw(st.sampled_from(("http", "socks5", "US", "1"))),
    }
    form = draw(st.sampled_from(("list", "url", "json", "back")))
    if form == "url":
        return draw(st.sampled_from(("", "http://", "socks5h://"))) + (
            f"{parts['u']}:{parts['l']}@{parts['h']}:{parts['p']}"
        )
    if form == "back":
        return f"{parts['h']}:{parts['p']}@{parts['u']}:{parts['l']}"
    if form == "json":
        values = [parts[key] for key in draw(st.sampled_from(ORDERS))]
        named = dict(zip(("ip", "port", "user", "pw", "type"), values, strict=False))
        return json.dumps(draw(st.sampled_from((values, named, [named], [":".join(values)]))))
    between = draw(st.sampled_from((":", ";", ",", "|", "\t", " ", ", ", " : ", ";;")))
    quote = draw(st.sampled_from(("", '"', "'")))
    words = [f"{quote}{parts[key]}{quote}" for key in draw(st.sampled_from(ORDERS))]
    before, after = (
        draw(st.sampled_from(("", "\ufeff", " ", "- "))),
        draw(st.sampled_from(("", "\r", ",", ";", " "))),
    )
    return f"{before}{between.join(words)}{after}"


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(lines_of_lists())
def test_no_line_of_a_list_is_printed(said, line):
    """Whatever the order, what stands between the parts, and in which quotes."""
    assert "zq" not in said(line)


@pytest.mark.parametrize(
    "text",
    [
        "config: {a: *hunter2}",
        "config: {a: !hunter2 x}",
        "config: {a: &hunter2 x, b: &hunter2 y}",
        "config: {'lamer:hunter2': 1, 'lamer:hunter2': 2}",
        "config: {lamer hunter2: 1}\nlamer hunter2: 1",
        "config: {proxy-observability:cluster: !!binary aHVudGVyMg==}",
    ],
)
def test_what_is_no_stack_file_is_not_quoted(text, tmp_path):
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_stack_file(file)
    assert not any(word in json.dumps(refused.value.findings) for word in WORDS)


@pytest.mark.parametrize("text", ["2001:db8:2::/48", "2001:db8:1:2::/64", "2001:db8:2::1/48"])
def test_a_range_is_no_login(text: str) -> None:
    """A part of an IPv6 address may look like a port, with a user name after it."""
    assert kind_of_proxy(text) == "other"
