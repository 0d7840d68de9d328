"""`tls.originate`: the sidecar speaks TLS to the vendor, or nothing at all.

The crawlers speak plain HTTP, CONNECT or SOCKS5, in every mode of `inspect`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys

import pytest

from components.attribution.dry_run import basic
from components.attribution.tls import tls_fields
from lab.processes import children
from settings.tls import VendorTls
from tests.certificates import Authority
from tests.lab.conftest import running_sidecar, until
from tests.lab.tls_vendor import ESTABLISHED, GOOD, SOCKS_METHOD, tls_vendor

ADDRESS, NAME, OTHER = "127.1.0.10", "gw.vendor-j.test", "down.vendor-j.test"
LOGIN = basic("crawler", "hunter2-in-clear")
HEADER = f"Proxy-Authorization: {LOGIN}\r\n\r\n".encode()
PLAIN = b"GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n" + HEADER
CONNECT = b"CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n" + HEADER
SOCKS = b"\x05\x01\x00"
READ = {"plain": (PLAIN, GOOD), "tunnel": (CONNECT, ESTABLISHED), "socks": (SOCKS, SOCKS_METHOD)}
CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
MODES = ("http", "passive", "connections")


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module", params=MODES)
def originating(request, authority, tmp_path_factory):
    """Return a sidecar that speaks TLS to vendor-a, by address, and to vendor-j, by name."""
    changes = {
        "vendor-a": {"sni": NAME, "ca": authority.pem, "originate": True},
        "vendor-j": {"ca": authority.pem, "originate": True},
    }

    def changed(settings):
        vendors = tuple(
            vendor.model_copy(
                update={"inspect": request.param, "tls": VendorTls(**changes[vendor.name])}
            )
            if vendor.name in changes
            else vendor
            for vendor in settings.vendors
        )
        return settings.model_copy(update={"vendors": vendors})

    folder = tmp_path_factory.mktemp(request.param)
    with running_sidecar(folder, change_settings=changed) as sidecar, children() as family:
        zone = {
            NAME: {"addresses": ["127.21.0.1"], "ttl": 60},
            OTHER: {"addresses": ["127.21.0.2"], "ttl": 60},
        }
        file = folder / "zone.json"
        file.write_text(json.dumps(zone))
        family.start(
            "names",
            [
                *(sys.executable, "-m", "lab.name_server", "--zone", str(file)),
                *("--listen", f"127.0.0.1:{sidecar.ports.name_server}"),
            ],
            log=folder / "names.log",
        )
        yield request.param, sidecar


def exchange(address, port, request):
    """Return the first bytes of the answer; none if the connection ends."""
    with socket.create_connection((address, port), timeout=15) as crawler:
        crawler.sendall(request)
        with contextlib.suppress(ConnectionResetError):
            return crawler.recv(65536)
    return b""


@pytest.mark.parametrize("kind", READ)
def test_a_good_certificate_carries_everything(originating, authority, tmp_path, kind):
    _, sidecar = originating
    request, answer = READ[kind]
    context = authority.server(tmp_path, [NAME])
    with tls_vendor(ADDRESS, sidecar.ports.vendor_upstream, context) as vendor:
        received = exchange(ADDRESS, sidecar.ports.vendor, request)
    assert received.lower().startswith(answer[:15].lower())
    assert [one.split(b"\r\n")[0] for one in vendor.seen] == [request.split(b"\r\n")[0]]
    assert vendor.names == [NAME]
    assert_hidden(vendor)


def assert_hidden(vendor):
    """Neither the login nor what is asked for passed in clear."""
    assert vendor.wire
    for text in (LOGIN.encode(), LOGIN.split()[1].encode(), b"shop.test", b"CONNECT"):
        assert text not in bytes(vendor.wire)


def wrong_name(authority, folder):
    return authority.server(folder, ["gw.other.test"])


def expired(authority, folder):
    return authority.server(folder, [NAME], expired=True)


def unknown_ca(authority, folder):
    return Authority().server(folder, [NAME])


def in_clear(authority, folder):
    return None


@pytest.mark.parametrize("wrong", [wrong_name, expired, unknown_ca, in_clear])
@pytest.mark.parametrize("kind", READ)
def test_any_other_vendor_gets_nothing(originating, authority, tmp_path, wrong, kind):
    """The crawler sees a vendor that cannot be reached, and so do the counts."""
    mode, sidecar = originating
    before, failed = sidecar.requests(), connects_failed(sidecar)
    context = wrong(authority, tmp_path)
    with tls_vendor(ADDRESS, sidecar.ports.vendor_upstream, context) as vendor:
        received = exchange(ADDRESS, sidecar.ports.vendor, READ[kind][0])
        until(lambda: connects_failed(sidecar) > failed)
    is_read = mode == "http" and kind != "socks"
    assert received[:12] == (b"HTTP/1.1 503" if is_read else b"")
    assert_hidden(vendor)
    if is_read:
        until(lambda: sidecar.requests() - before)
        visibility = {"plain": "http", "tunnel": "tunnel"}[kind]
        counted = {("vendor-a", visibility, "connect_failed", "503"): 1}
        assert dict(sidecar.requests() - before) == counted
    elif mode == "passive":
        until(lambda: sidecar.requests() - before)
        assert {key[2] for key in sidecar.requests() - before} == {"connect_failed"}


def connects_failed(sidecar):
    name = "envoy_cluster_upstream_cx_connect_fail"
    return sidecar.counter(name, cluster_name="proxy-vendor_vendor-a")


def test_each_name_has_its_own_certificate(originating, authority, tmp_path):
    """Both lead to one cluster, and a session of one is none of the other."""
    _, sidecar = originating
    port = sidecar.ports.moved(3170)
    context = authority.server(tmp_path, [NAME])  # of one machine behind both
    with (
        tls_vendor("127.21.0.1", port, context) as vendor,
        tls_vendor("127.21.0.2", port, context) as other,
    ):
        context.sni_callback = lambda _object, name, _context: vendor.names.append(name)
        for address, is_good in (("127.241.0.1", True), ("127.241.0.2", False)) * 2:
            received = exchange(address, port, PLAIN)
            assert received.startswith(b"HTTP/1.1 200") == is_good
    assert vendor.names == [NAME, OTHER] * 2
    assert [len(vendor.seen), len(other.seen)] == [2, 0]
    assert_hidden(vendor)
    assert_hidden(other)


def test_turning_it_on_cuts_nothing_that_is_open(authority, tmp_path):
    """Open connections keep what they began with; the next request speaks TLS."""
    file, clusters = tmp_path / "cds" / "clusters.json", []

    def from_a_file(rendered):
        clusters.extend(rendered.bootstrap["static_resources"].pop("clusters"))
        watched = {"path": str(file), "watched_directory": {"path": str(file.parent)}}
        source = {"path_config_source": watched, "resource_api_version": "V3"}
        rendered.bootstrap["dynamic_resources"] = {"cds_config": source}
        file.parent.mkdir()
        write()
        return rendered

    def write():
        resources = [{"@type": CLUSTER_TYPE, **one} for one in clusters]
        changed = file.with_suffix(".new")
        changed.write_text(json.dumps({"resources": resources}))
        changed.replace(file)

    with (
        running_sidecar(tmp_path / "sidecar", from_a_file) as sidecar,
        tls_vendor(ADDRESS, sidecar.ports.vendor_upstream, None) as vendor,
        contextlib.ExitStack() as stack,
    ):
        before = [stack.enter_context(opened(sidecar.ports.vendor)) for _ in READ]
        for crawler, (request, answer) in zip(before, READ.values(), strict=True):
            crawler.sendall(request)
            assert crawler.recv(65536).lower().startswith(answer[:15].lower())
        (own,) = (one for one in clusters if one["name"] == "proxy-vendor_vendor-a")
        own |= tls_fields(VendorTls(originate=True, sni=NAME, ca=authority.pem))
        write()
        port = sidecar.ports.vendor
        until(lambda: exchange(ADDRESS, port, PLAIN).startswith(b"HTTP/1.1 503"))
        assert b"\x16\x03" in vendor.wire  # a handshake, which this vendor does not speak
        for crawler, kind in zip(before, READ, strict=True):
            crawler.sendall(PLAIN)
            kept = b"HTTP/1.1 503" if kind == "plain" else GOOD
            assert crawler.recv(65536).startswith(kept)


def opened(port):
    return socket.create_connection((ADDRESS, port), timeout=15)
