"""Every client that does not verify certificates finds one, at the proxy and inside a tunnel."""

from __future__ import annotations

import ssl

import pytest

from simulation.proxy.tls import PUBLIC_TEST_CERTIFICATE
from tests.simulation.vendor_process import Client, VendorProcess, vendor_process


@pytest.fixture
def vendors(tmp_path):
    with vendor_process(tmp_path, {"a": {}}) as found:
        yield found


def not_verifying() -> ssl.SSLContext:
    """What `curl -k` does: every default of the TLS library, but no verification."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("where", ["proxy", "tunnel"])
def test_public_certificate_is_presented(vendors: VendorProcess, where: str) -> None:
    """Anonymous TLS alone would end such a client with a handshake failure."""
    with Client(vendors.ports["a"]) as client:
        if where == "tunnel":
            assert client.connect().status == 200
        wrapped = not_verifying().wrap_socket(client.socket, server_hostname="site.sim.test")
        client.socket = wrapped
        assert wrapped.version() == "TLSv1.3"
        pem = ssl.DER_cert_to_PEM_cert(wrapped.getpeercert(binary_form=True) or b"")
        assert pem in PUBLIC_TEST_CERTIFICATE.read_text()
        target = "/p/70" if where == "tunnel" else "http://site.sim.test/p/70"
        assert len(client.ask(target).body) == 70
