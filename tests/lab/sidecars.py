"""Emulated sidecars: one server on many loopback addresses, each with counters of its own."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

OUTCOMES = ("success", "blocked", "timeout", "target_error")
AHEAD = 4
BOUNDS = (50, 500, 5000)
DESTINATION = "store"
GATEWAY = "gw.vendor.test"
BACKLOG = 128
"""asyncio takes as many connections at once. With thousands, Prometheus would have given most of
them up by their turn on a busy machine, and the next scrapes would come on top: no more open files.
"""


def page(number: int, seconds: float, vendors: Sequence[str]) -> str:
    """Return what sidecar `number` exposes `seconds` after its start; rates differ by sidecar.

    Counters are not rounded, so that a rate over any window is the true one.
    """
    lines = []
    busy = 1 + number % 3
    for place, vendor in enumerate(vendors, 1):
        name = f'proxy_vendor="{vendor}"'
        of_workload = f'source_workload="w{number % 2}",source_workload_namespace="crawlers"'
        for rank, outcome in enumerate(OUTCOMES, 1):
            rate = 10 * busy * place / rank**2
            labels = (
                f'{name},{of_workload},proxy_visibility="{("http", "tunnel")[rank % 2]}",'
                f'proxy_outcome="{outcome}",proxy_target="{("shops", "other")[number % 2]}"'
                f',proxy_pool="{("datacenter", "residential")[rank // 2 % 2]}"'
            )
            lines.append(f"istio_requests_total{{{labels}}} {rate * seconds:.6f}")
        for rank, metric in enumerate(("connections_opened", "sent_bytes", "received_bytes"), 1):
            lines.append(f"istio_tcp_{metric}_total{{{name}}} {rank * busy * seconds:.6f}")
        for rank, way in enumerate(("request", "response"), 4):
            count = 1000 * busy * place / rank * seconds
            lines.append(f"istio_proxy_{way}_bytes_total{{{name}}} {count:.6f}")
    # Together, and of this type: else Prometheus makes no native histogram of them.
    lines.append("# TYPE istio_proxy_setup_milliseconds histogram")
    for place, vendor in enumerate(vendors, 1):
        name = f'proxy_vendor="{vendor}"'
        answered = [
            10 * busy * place * (rank / 4) ** (1 + number % 4) * seconds for rank in range(1, 5)
        ]
        for bound, count in zip((*BOUNDS, "+Inf"), answered, strict=True):
            lines.append(
                f'istio_proxy_setup_milliseconds_bucket{{{name},le="{bound}"}} {count:.6f}'
            )
        lines.append(f"istio_proxy_setup_milliseconds_count{{{name}}} {answered[-1]:.6f}")
        lines.append(f"istio_proxy_setup_milliseconds_sum{{{name}}} {100 * answered[-1]:.6f}")
    refused = 'envoy_cluster_upstream_cx_none_healthy{cluster_name="BlackHoleCluster"}'
    lines.append(f"{refused} {busy * seconds:.6f}")
    clusters = [*(f"proxy-vendor_{vendor}" for vendor in vendors), "PassthroughCluster"]
    clusters.append(f"proxy-destination_{DESTINATION}")
    for place, cluster in enumerate(clusters, 1):
        name = f'cluster_name="{cluster}"'
        for rank, metric in enumerate(
            ("total", "connect_fail", "connect_timeout", "tx_bytes_total", "rx_bytes_total"), 1
        ):
            rate = busy * place * (1000 if "bytes" in metric else 1) / rank
            lines.append(f"envoy_cluster_upstream_cx_{metric}{{{name}}} {rate * seconds:.6f}")
        lines.append(f"envoy_cluster_upstream_cx_active{{{name}}} {busy * place}")
    name = f'cluster_name="outbound|7777||{GATEWAY}"'  # Istio's own, of a name
    lines.append(f"envoy_cluster_upstream_cx_total{{{name}}} {busy * seconds:.6f}")
    lines.append(f"envoy_server_uptime {seconds:.0f}")
    lines.append(f'envoy_http_lua_errors{{prefix="proxyobs"}} {busy * seconds:.6f}')
    if number == 0:  # one with far more series than the others
        lines += [
            f'istio_requests_total{{proxy_vendor="{vendors[0]}",proxy_outcome="success",'
            f'response_code="{code}"}} {seconds / 100:.6f}'
            for code in range(400)
        ]
    return "\n".join(lines) + "\n"


@contextmanager
def exposed(pages: dict[str, Callable[[float], str]], port: int) -> Iterator[None]:
    """Serve each address's page, whatever the path, until the block ends.

    Samples are of full seconds, and of AHEAD seconds later than now: a rule that is evaluated finds
    a sample of every second of its window, though the scrape came late on a busy machine, and its
    rate is the true one.
    """
    start = int(time.time())
    rendered: dict[str, tuple[int, bytes]] = {}  # as several servers ask for it

    def body_of(address: str) -> bytes:
        second = int(time.time())
        if rendered.get(address, (0, b""))[0] != second:
            text = pages[address](second + AHEAD - start)
            stamp = f"{second + AHEAD}000"
            stamped = re.sub(r"^([^#].*)$", rf"\1 {stamp}", text, flags=re.MULTILINE)
            rendered[address] = (second, stamped.encode())
        return rendered[address][1]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        try:
            while (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET "):
                body = body_of(address)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    with serving(answer, list(pages), port):
        yield


@contextmanager
def serving(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    hosts: str | list[str],
    port: int,
) -> Iterator[None]:
    """Answer all connections in one thread until the block ends."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(answer, hosts, port, backlog=BACKLOG)
        ready.set()
        async with server:
            await server.serve_forever()

    def run() -> None:
        asyncio.set_event_loop(loop)
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(60)
        loop.close()
