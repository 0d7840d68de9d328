"""`make verify` believes a forwarded Prometheus that speaks TLS by its name in the cluster."""

from __future__ import annotations

import pytest

from books.prometheus import Prometheus, PrometheusError
from tests.certificates import Authority
from tests.pages import answering
from verify.trust import trusting

NAME = "prometheus.monitoring.svc"
SCALAR = b'{"status": "success", "data": {"resultType": "scalar", "result": [7.5, "7.5"]}}'


@pytest.fixture
def authority():
    return Authority()


@pytest.fixture
def url(authority, tmp_path):
    with answering(SCALAR, context=authority.server(tmp_path, [NAME])) as page:
        yield f"https://127.0.0.1:{page.port}"


def test_the_name_in_the_cluster_is_enough(url, authority):
    assert Prometheus(url, {}, trusting(authority.pem, NAME)).now() == 7.5


def test_another_name_or_ca_is_not(url, authority):
    for trust in (
        trusting(authority.pem, "alertmanager.monitoring.svc"),
        trusting(Authority().pem, NAME),
        None,
    ):
        with pytest.raises(PrometheusError, match="certificate verify failed"):
            Prometheus(url, {}, trust).now()
