"""Generated exchanges through a real Envoy: no byte differs, and every one is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lab.envoy import LabEnvoy
from tests.lab.conftest import Sidecar, running_sidecar, until
from tests.lab.test_passive_module import payload, read_passively
from tests.programs import run_to_end
from tests.wasm.rust import compiler

EXCHANGES = 20_000
ADDRESSES = ("127.1.0.10", "127.1.0.11", "127.1.0.12", "127.1.0.13")
"""Of vendor-a. Each has a crawler of its own, who takes one connection after the other."""


def counted(sidecar: Sidecar) -> Counter[str]:
    """Return counts in the words of wasm/parser/tests/play."""
    names = ("proxy_visibility", "proxy_outcome", "response_code", "proxy_target", "proxy_pool")
    found = sidecar.by(*names, of="istio_requests_total")
    counts = Counter({" ".join(words).rstrip(): value for words, value in found.items()})
    counts["opaque"] = sidecar.counter("istio_tcp_connections_opened_total")
    return counts


def expected(lines: list[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in lines:
        count, *words = line.split()
        if words != ["opaque"]:
            words[2] = label_of_code(int(words[2]))
        counts[" ".join(words)] += int(count)
    return counts


def label_of_code(status: int) -> str:
    if status in (0, 200, 404):  # with a value of their own in the generator's configuration
        return str(status)
    return f"{status // 100}xx" if status < 600 else "other"


def test_generated_exchanges_pass_and_are_counted(tmp_path: Path) -> None:
    """Framing, endings and protocols of all kinds, cut by real networks' rules."""
    program = compiler(tmp_path)("parser/tests/through.rs")
    configuration = run_to_end(program).stdout

    def configured(rendered: LabEnvoy) -> LabEnvoy:
        (resource,) = rendered.extensions["proxy_observability.passive.json"]["resources"]
        resource["typed_config"]["config"]["configuration"]["value"] = configuration
        return rendered

    with running_sidecar(
        tmp_path, configured, change_settings=read_passively, addresses=ADDRESSES
    ) as sidecar:
        ports = (sidecar.ports.vendor, sidecar.ports.vendor_upstream, EXCHANGES)
        sums = expected(run_to_end(program, *ports, *ADDRESSES).stdout.splitlines())
        assert sums.total() >= EXCHANGES
        until(lambda: counted(sidecar).total() >= sums.total())
        assert counted(sidecar) == sums
        module, cluster = payload(sidecar)
        assert module == cluster
