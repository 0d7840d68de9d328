"""The snapshot of a Prometheus that speaks TLS: its CA is checked before the password is sent."""

from __future__ import annotations

import pytest

from backups.names import BackupError
from backups.objects import snapshot
from tests.certificates import Authority
from tests.pages import answering


@pytest.fixture
def prometheus(tmp_path):
    """Return its page, its address, and a folder with a login and the CA."""
    folder = tmp_path / "tls"
    context = Authority().server(folder, ["127.0.0.1"])
    (folder / "username").write_text("prometheus")
    (folder / "password").write_text("secret")
    with answering(b'{"data": {"name": "20261130T010203Z-1"}}', context=context) as page:
        yield page, f"https://127.0.0.1:{page.port}", folder


def test_the_ca_of_monitoring_is_trusted(prometheus):
    page, url, folder = prometheus
    assert snapshot(url, folder, folder / "ca.crt") == "20261130T010203Z-1"
    assert len(page.logins) == 1


def test_another_gets_no_password(prometheus, tmp_path):
    page, url, folder = prometheus
    (tmp_path / "other.crt").write_text(Authority().pem)
    for ca in (tmp_path / "other.crt", None):
        with pytest.raises(BackupError, match="certificate verify failed"):
            snapshot(url, folder, ca)
    assert page.logins == []
