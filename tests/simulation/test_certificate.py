"""TLS to the proxy and in a tunnel with the plan's certificate, instead of anonymous ECDH."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@pytest.fixture
def plan_changes(tmp_path: Path) -> dict[str, Any]:
    """A certificate made for this test: no key material lies in the repository."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sim.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = {"certificate": tmp_path / "tls.crt", "key": tmp_path / "tls.key"}
    files["certificate"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files["key"].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return {name: str(path) for name, path in files.items()}


def test_tls_works_with_a_certificate_too(vendors: Any) -> None:
    """A target or proxy with a certificate is reached by the same crawler as one without."""
    books = vendors.crawl(count=12, mix={"tunnel": 0.5, "tls": 0.5})
    assert sum(row["connections"] for row in books["opaque"]) == 6
    assert sum(row["count"] for row in books["true"] if row["outcome"] == "true_success") == 6
    assert books["unexpected"] == []
