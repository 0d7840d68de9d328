"""The outcome and the code that Envoy counts for each exchange, in every mode that reads HTTP."""

from __future__ import annotations

import pytest

from settings.vendors import OutcomeRule
from tests.lab.conftest import running_sidecar, until
from tests.lab.exchanges import EXCHANGES, REFUSED_BY_ENVOY, UNANSWERED
from tests.lab.scripted import PLAIN, ask, vendor

OWN_RULES = (
    OutcomeRule(status=778, header="X-Own", contains="two words", outcome="policy"),
    OutcomeRule(status=778, outcome="quota_exhausted"),
    OutcomeRule(status=200, header="x-own", outcome="blocked"),
    OutcomeRule(status=403, header="x-own", contains="login", outcome="auth_failed"),
    OutcomeRule(status=779, header="x-own", connect=True, outcome="policy"),
    OutcomeRule(status=779, connect=False, outcome="auth_failed"),
)


@pytest.fixture(scope="module", params=["http", "passive"])
def reading(request, tmp_path_factory):
    """Return a sidecar whose vendor-a is read in this mode, and has rules of its own."""

    def changed(settings):
        first, *others = settings.vendors
        own = {"inspect": request.param, "outcomes": OWN_RULES}
        return settings.model_copy(update={"vendors": (first.model_copy(update=own), *others)})

    folder = tmp_path_factory.mktemp(request.param)
    with running_sidecar(folder, change_settings=changed) as sidecar:
        yield request.param, sidecar


@pytest.fixture(scope="module")
def http_reading(tmp_path_factory):
    with running_sidecar(tmp_path_factory.mktemp("envoy")) as sidecar:
        yield sidecar


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_what_an_exchange_counts_as(reading, exchange):
    """The table of outcomes, read by Envoy itself: one count, with this outcome and code."""
    mode, sidecar = reading
    # The passive module has no status to count where the vendor sent none.
    is_unread = mode == "passive" and exchange in UNANSWERED
    _counts_once(sidecar, exchange, "0" if is_unread else exchange.code)


@pytest.mark.parametrize("exchange", REFUSED_BY_ENVOY, ids=lambda exchange: exchange.name)
def test_what_envoy_refuses_is_not_held_against_the_vendor(http_reading, exchange):
    """A vendor whose answers only Envoy dislikes has not failed: `bad_answer`, never `reset`."""
    _counts_once(http_reading, exchange, exchange.code)


def _counts_once(sidecar, exchange, code):
    before = sidecar.requests()
    with vendor("127.1.0.10", sidecar.ports.vendor_upstream, exchange.answer):
        ask("127.1.0.10", sidecar.ports.vendor, exchange.request, to_end=exchange.to_end)
        until(lambda: sidecar.requests() - before)
    key = ("vendor-a", exchange.visibility, exchange.outcome, code)
    assert dict(sidecar.requests() - before) == {key: 1}


def test_no_two_exchanges_are_alike():
    """Every row of the table is tried, none twice."""
    both = (*EXCHANGES, *REFUSED_BY_ENVOY)
    names = [exchange.name for exchange in both]
    assert sorted(set(names)) == sorted(names)
    assert len({(exchange.request, exchange.answer) for exchange in both}) == len(names)


def test_a_vendor_that_nobody_answers_for_is_connect_failed(sidecar):
    """Envoy's 503 stands for the refused connection; no set-up time is recorded for it."""
    ports = sidecar.ports
    assert " 503 " in ask("127.1.0.99", ports.vendor, PLAIN)
    assert sidecar.requests() == {("vendor-a", "http", "connect_failed", "503"): 1}
    # Envoy adds histograms to its output once they were flushed; look for the label set alone.
    assert 'proxy_setup_milliseconds_count{proxy_vendor="vendor-a"' not in sidecar.stats()
