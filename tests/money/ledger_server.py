"""A real Prometheus that answers for a ledger, which `lab/ledger_blocks.py` fills."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from books.prometheus import Prometheus
from lab.processes import children
from lab.system import wait_until_ready
from tests.ports import free_block
from tools.find import find


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
    with children() as family:
        pid = family.start("ledger", command, log=data.parent / "prometheus.log")
        wait_until_ready(family, "ledger", f"{url}/-/ready")
        yield Served(Prometheus(url, {}), url, pid)
