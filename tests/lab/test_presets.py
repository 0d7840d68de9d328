"""Every answer that a preset's vendor documents, through the real Envoy in every mode."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from ipaddress import ip_network

import pytest

from settings.presets import DocumentedAnswer, Kind, preset, preset_names
from settings.vendors import AddressRange
from tests.lab.conftest import running_sidecar, until
from tests.lab.scripted import ask, vendor

LOGIN = base64.b64encode(b"somebody:no-password").decode()
REQUESTS: dict[Kind, str] = {
    "plain": "GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n",
    "tunnel": "CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n",
}
MOST_UNCLEAR = 24
"""Pairs of answer and request that cannot be told apart, of all presets. A rule that tells one
apart lowers it."""


@dataclass(frozen=True)
class Documented:
    preset: str
    kind: Kind
    answer: DocumentedAnswer

    @property
    def address(self) -> str:
        return address(self.preset)

    @property
    def is_clear(self) -> bool:
        return self.kind not in self.answer.unclear

    def __str__(self) -> str:
        headers = " ".join(f"{name}:{value}" for name, value in self.answer.headers.items())
        return f"{self.preset} {self.kind} {self.answer.status} {headers}".strip()

    @property
    def text(self) -> str:
        headers = "".join(f"{name}: {value}\r\n" for name, value in self.answer.headers.items())
        return f"HTTP/1.1 {self.answer.status} Word\r\n{headers}Content-Length: 0\r\n\r\n"


DOCUMENTED = [
    Documented(name, kind, answer)
    for name in preset_names()
    for answer in preset(name).answers
    for kind in answer.kinds
]


def address(name: str) -> str:
    """Return where the preset's vendor is in this test; its names are not resolved."""
    return f"127.{31 + preset_names().index(name)}.0.10"


@pytest.fixture(scope="module", params=["http", "passive"])
def sidecar(request, tmp_path_factory):
    """Return a sidecar whose vendors are those of the presets, by address."""

    def changed(settings):
        like = settings.vendors[0]
        vendors = tuple(
            like.model_copy(
                update={
                    "name": name,
                    "cidrs": (AddressRange(ip_network(address(name))),),
                    "inspect": request.param,
                    "outcomes": preset(name).example().outcomes,
                }
            )
            for name in preset_names()
        )
        return settings.model_copy(update={"vendors": vendors})

    folder = tmp_path_factory.mktemp(request.param)
    addresses = [address(name) for name in preset_names()]
    with running_sidecar(folder, change_settings=changed, addresses=addresses) as own:
        yield own


@pytest.mark.parametrize("documented", DOCUMENTED, ids=str)
def test_what_a_documented_answer_counts_as(sidecar, documented):
    """It has the outcome that the vendor's documentation gives it, once, or else a site's."""
    request = f"{REQUESTS[documented.kind]}Proxy-Authorization: Basic {LOGIN}\r\n\r\n"
    before = sidecar.requests()
    with vendor(documented.address, sidecar.ports.vendor_upstream, documented.text):
        ask(documented.address, sidecar.ports.vendor, request)
        until(lambda: sidecar.requests() - before)
    ((found, count),) = (sidecar.requests() - before).items()
    assert (found[0], count) == (documented.preset, 1)
    if documented.is_clear:
        assert found[2] == documented.answer.meaning
    elif documented.kind == "plain" and not documented.answer.headers:
        # A site may have said it: no rule for the vendor's tunnels may judge it.
        assert found[2] == ("blocked" if documented.answer.status == 403 else "target_error")


def test_how_many_cannot_be_told_apart(capsys):
    """The number is bounded, so that a preset cannot declare its way out of its table."""
    with capsys.disabled():
        print()
        for name in preset_names():
            own = [one for one in DOCUMENTED if one.preset == name]
            unclear = [one for one in own if not one.is_clear]
            print(
                f"{name}: {len(preset(name).answers)} documented answers, {len(own)} with the kind "
                f"of request, {len(unclear)} cannot be told apart"
            )
    assert sum(not one.is_clear for one in DOCUMENTED) <= MOST_UNCLEAR


def test_an_answer_with_two_meanings_is_declared():
    """Two documented answers that are the same bytes and differ in meaning are both unclear."""
    meanings: dict[object, set[str]] = {}
    for one in DOCUMENTED:
        if one.is_clear:
            meanings.setdefault((one.preset, one.kind, one.text), set()).add(one.answer.meaning)
    assert [key for key, found in meanings.items() if len(found) > 1] == []
