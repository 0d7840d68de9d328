"""No password of a proxy reaches a terminal, wherever its line was pasted."""

from __future__ import annotations

import pytest

from settings import loading
from settings.loading import ROOT, SettingsError, parse_settings
from settings.masking import masked
from settings.which import main

LOGINS = {
    "203.0.113.5:8080:someuser:SECRETPASS": "203.0.113.5:8080:***",
    "[2001:db8::1]:8080:someuser:SECRETPASS": "[2001:db8::1]:8080:***",
    "brd.superproxy.io:33335:someuser:SECRETPASS": "brd.superproxy.io:33335:***",
    "203.0.113.5;8080;someuser;SECRETPASS": "203.0.113.5;8080:***",
    "someuser:SECRETPASS@203.0.113.5:8080": "***@203.0.113.5:8080",
    "http://someuser:SECRET/P@SS@203.0.113.5:8080": "http://***@203.0.113.5:8080",
    "someuser:SECRETPASS:203.0.113.5:8080": "***:203.0.113.5:8080",
}


@pytest.mark.parametrize(("text", "masked_text"), LOGINS.items())
def test_a_login_is_masked(text, masked_text):
    """Address and port stay, so that the line can be found."""
    assert masked(text) == masked_text


@pytest.mark.parametrize(
    "text", ["2001:db8::1", "::1", "10.1.0.0/33", "registry:5000/x:latest", "10.1.0.10:3128", "30s"]
)
def test_what_holds_no_login_is_shown(text):
    """A masked value could not be corrected."""
    assert masked(text) == text


@pytest.mark.parametrize("text", [*LOGINS, "203.0.113.5 8080 someuser SECRETPASS"])
def test_no_place_for_an_address_prints_a_login(text, tmp_path, monkeypatch, capsys):
    """Range files, ranges, endpoints, names of keys and `make which`, as text and as JSON."""
    monkeypatch.setattr(loading, "ROOT", tmp_path)
    (tmp_path / "ranges.txt").write_text(f"{text}\n")
    with pytest.raises(SettingsError) as refused:
        parse_settings(
            {
                "cluster": text,
                "vendors": [
                    {"name": "vendor-a", "cidrs": [text]},
                    {"name": "vendor-b", "cidrsFile": "ranges.txt"},
                    {"name": "vendor-c", "cidrs": [{"range": text}]},
                ],
                "loadGenerator": {"endpoints": {"vendor-a": text, text: text}},
            }
        )
    monkeypatch.setenv("STACK_FILE", str(ROOT / "Pulumi.dev.yaml"))
    assert main([text, "--stack", "dev", "--out", str(tmp_path)]) == 2
    printed = "".join(
        [str(refused.value), *capsys.readouterr(), (tmp_path / "which.json").read_text()]
    )
    assert "ranges.txt:1: " in printed
    assert "ADDRESS: " in printed
    for word in ("someuser", "SECRET", "P@SS"):
        assert word not in printed
