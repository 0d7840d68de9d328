"""A real Prometheus that answers for a ledger, which `lab/ledger_blocks.py` fills."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from books.prometheus import Prometheus
from tests.ports import free_block
from tools.find import find

READY_SECONDS = 120.0


class Served(NamedTuple):
    """A running Prometheus."""

    api: Prometheus
    url: str
    pid: int


@contextmanager
def serving(data: Path) -> Iterator[Served]:
    """Run Prometheus on a data folder, with nothing to scrape."""
    port = free_block(["127.0.0.1"])
    url = f"http://127.0.0.1:{port}"
    config = data.parent / "nothing.yml"
    config.write_text("{}")
    command = [
        *(str(find("prometheus")), f"--config.file={config}", f"--storage.tsdb.path={data}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=10y"),
    ]
    with (
        (data.parent / "prometheus.log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            _wait(url, process)
            yield Served(Prometheus(url, {}), url, process.pid)
        finally:
            process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "Prometheus ended; see prometheus.log"
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("Prometheus is not ready")
