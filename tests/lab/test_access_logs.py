"""Log lines for vendors' traffic on the sidecar's standard output, by a real Envoy."""

from __future__ import annotations

import json
import socket

from tests.lab.conftest import running_sidecar, until
from tests.lab.scripted import ask, vendor

SECRET = "zqsecretzq"
REQUEST = (
    f"GET http://user:{SECRET}@{SECRET}.test/{SECRET}?q={SECRET} HTTP/1.1\r\n"
    f"Host: {SECRET}.test\r\nProxy-Authorization: Basic {SECRET}\r\nCookie: {SECRET}\r\n\r\n"
)
FORBIDDEN = f"HTTP/1.1 403 {SECRET}\r\nContent-Length: 2\r\nX-Error: {SECRET}\r\n\r\nno"


def with_logs(settings):
    """One vendor of each kind: vendor-a by HTTP, vendor-b passive, vendor-i by connections."""
    vendors = tuple(
        one.model_copy(update={"inspect": "passive"}) if one.name == "vendor-b" else one
        for one in settings.vendors
    )
    telemetry = settings.telemetry.model_copy(update={"access_logs": True})
    return settings.model_copy(update={"vendors": vendors, "telemetry": telemetry})


def lines(folder):
    text = (folder / "envoy.log").read_text()
    # The last one may be half written.
    return [json.loads(line) for line in text.splitlines() if line[:2] + line[-1:] == '{"}']


def test_each_kind_of_traffic_has_its_line_without_secrets(tmp_path):
    """Operators see who failed how; nobody sees what was crawled, or with which password."""
    with running_sidecar(tmp_path, change_settings=with_logs) as sidecar:
        ports = sidecar.ports
        with (
            vendor("127.1.0.10", ports.vendor_upstream, FORBIDDEN),
            vendor("127.2.0.10", ports.vendor_upstream, FORBIDDEN),
            vendor("127.7.0.10", ports.vendor_upstream, FORBIDDEN),
        ):
            for address in ("127.1.0.10", "127.2.0.10", "127.7.0.10"):
                assert ask(address, ports.vendor, REQUEST).endswith("no")
        ask("127.1.0.99", ports.vendor, REQUEST)  # nobody listens there
        until(lambda: len(lines(tmp_path)) == 4)
    found = {(one["vendor"], one["visibility"], one["proxy"][:10]): one for one in lines(tmp_path)}
    http = found["vendor-a", "http", "127.1.0.10"]
    assert (http["outcome"], http["code"], http["flags"]) == ("blocked", 403, "-")
    assert http["upstream"] == f"127.1.0.10:{ports.vendor_upstream}"
    assert http["bytes_sent"] == 2
    refused = found["vendor-a", "http", "127.1.0.99"]
    assert (refused["outcome"], refused["code"], refused["flags"]) == ("connect_failed", 503, "UF")
    for name, kind, address in (
        ("vendor-b", "passive", "127.2.0.10"),
        ("vendor-i", "opaque", "127.7.0.10"),
    ):
        line = found[name, kind, address]
        assert (line["bytes_received"], line["bytes_sent"]) == (len(REQUEST), len(FORBIDDEN))
    assert SECRET not in (tmp_path / "envoy.log").read_text()


def test_nothing_is_printed_unless_asked_for(tmp_path):
    """A busy crawler would fill its node's disk."""
    with running_sidecar(tmp_path) as sidecar:
        with vendor("127.1.0.10", sidecar.ports.vendor_upstream):
            assert ask("127.1.0.10", sidecar.ports.vendor).endswith("ok")
        with socket.create_connection(("127.7.0.10", sidecar.ports.vendor)):
            pass
        until(lambda: sidecar.requests())
    assert lines(tmp_path) == []
