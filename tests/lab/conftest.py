"""Real Envoy and Prometheus on loopback; every test picks ports that nothing else holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.envoy import LabEnvoy
from lab.loopback import get_text
from lab.ports import Ports
from lab.processes import children
from lab.system import (
    EXTENSIONS,
    ROOT,
    load_settings,
    rendered_envoy,
    start_envoy,
    wait_until_ready,
)
from settings.stack import StackSettings
from tests.ports import free_block


def free_ports() -> Ports:
    """Return ports of which none is taken on 127.0.0.1 or on an address of a vendor."""
    return Ports(free_block())


@pytest.fixture
def ports() -> Ports:
    return free_ports()


WAIT_SECONDS = 60.0
"""For what usually takes less than a second: a busy machine is no failure."""

LAB_SECONDS = 600.0
"""For a whole run of the lab; a drill alone may wait five minutes, and says then what for."""

REQUESTS = "(?:envoy_lab_)?istio_requests_total"  # the passive module's has no prefix
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sidecar:
    """Envoy with the rendered chains of the lab's stack; the test itself is the vendor."""

    ports: Ports
    extension_dir: Path

    def stats(self) -> str:
        return get_text(f"http://127.0.0.1:{self.ports.envoy_admin}/stats/prometheus")

    def samples(self, name: str) -> Iterator[tuple[dict[str, str], int]]:
        """Yield the labels and the value of each of a metric's series."""
        for found in re.finditer(rf"^{name}(?:{{(.*)}})? (\d+)$", self.stats(), re.MULTILINE):
            yield dict(LABEL.findall(found[1] or "")), int(found[2])

    def counter(self, name: str, **labels: str) -> int:
        """Return the sum of a metric's series with these labels, 0 if there is none."""
        return sum(n for own, n in self.samples(name) if labels.items() <= own.items())

    def by(self, *names: str, of: str = REQUESTS) -> Counter[tuple[str, ...]]:
        """Return a metric's sum by these labels, each "" where a series has none."""
        counts: Counter[tuple[str, ...]] = Counter()
        for labels, value in self.samples(of):
            counts[tuple(labels.get(name, "") for name in names)] += value
        return counts

    def requests(self) -> Counter[tuple[str, ...]]:
        """Return counts by (vendor, visibility, outcome, response code)."""
        return self.by("proxy_vendor", "proxy_visibility", "proxy_outcome", "response_code")

    def opaque_connections(self, vendor: str) -> int:
        name = "(?:envoy_lab_)?istio_tcp_connections_opened_total"
        return self.counter(name, proxy_vendor=vendor)


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """An Envoy of the test's own, its counters at zero."""
    with running_sidecar(tmp_path) as own:
        yield own


@pytest.fixture(scope="module")
def shared_sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One Envoy for a module's many cases."""
    with running_sidecar(tmp_path_factory.mktemp("sidecar")) as shared:
        yield shared


ADDRESSES = (
    *("127.1.0.10", "127.1.0.99", "127.2.0.10", "127.9.0.10"),
    *("127.6.0.10", "127.7.0.10", "::1"),
)


@contextmanager
def running_sidecar(
    folder: Path,
    change: Callable[[LabEnvoy], LabEnvoy] = lambda rendered: rendered,
    *,
    change_settings: Callable[[StackSettings], StackSettings] = lambda settings: settings,
    addresses: Sequence[str] = ADDRESSES,
) -> Iterator[Sidecar]:
    """Run an Envoy with the rendered chains, as `change` returned them, until the block ends."""
    ports = free_ports()
    settings = change_settings(load_settings(ports))
    rendered = change(rendered_envoy(settings, addresses, ports, folder))
    with children() as family:
        start_envoy(family, rendered, folder)
        wait_until_ready(family, "envoy", f"http://127.0.0.1:{ports.envoy_admin}/ready")
        yield Sidecar(ports, folder / EXTENSIONS)


def until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """Return the first true value of `condition`; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


def run_lab(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m lab.<module>` to its end, as make does."""
    return subprocess.run(
        [sys.executable, "-m", f"lab.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LAB_SECONDS,
        check=False,
    )
