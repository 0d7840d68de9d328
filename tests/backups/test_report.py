"""The page by which Prometheus learns of a backup."""

from __future__ import annotations

import http.client
import threading
import time

from backups.report import METRIC, serve_until_scraped
from components.prometheus.config import BACKUP_METRICS
from tests.ports import free_ports


def read(address: str, port: int, source: str) -> str:
    deadline = time.monotonic() + 60
    while True:
        try:
            connection = http.client.HTTPConnection(
                address, port, timeout=60, source_address=(source, 0)
            )
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_it_ends_when_every_prometheus_has_read_it():
    """One replica alone would leave the other with a stale backup; the same one twice is one."""
    (port,) = free_ports(["127.0.0.1"])
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(serve_until_scraped(port, 2, 60)))
    thread.start()
    for _ in range(2):
        page = read("127.0.0.1", port, "127.0.0.1")
    assert thread.is_alive()
    assert (METRIC,) == BACKUP_METRICS
    assert abs(float(page.split()[-1]) - time.time()) < 30
    read("127.0.0.1", port, "127.0.0.2")
    thread.join(60)
    assert ended == [True]


def test_it_does_not_wait_for_ever():
    """A Prometheus that is down keeps no pod."""
    (port,) = free_ports(["127.0.0.1"])
    assert not serve_until_scraped(port, 1, 0.1)
