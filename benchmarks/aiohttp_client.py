"""The generator's counterpart: a crawler as one writes it with aiohttp, the fastest of the usual.

`python -m benchmarks.aiohttp_client PROXY_URL COUNT http|tunnel` asks for COUNT pages through the
proxy, 16 at a time: on kept-alive connections, or each in a tunnel of its own with TLS inside.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

import aiohttp

from simulation.crawler.tls import tls_context

CONCURRENCY = 16
PAGE_BYTES = 1000


async def crawl(proxy: str, count: int, kind: str) -> None:
    """Ask for every page, and read it whole."""
    tunnel = kind == "tunnel"
    connector = aiohttp.TCPConnector(
        limit=CONCURRENCY, force_close=tunnel, ssl=tls_context() if tunnel else True
    )
    numbers = iter(range(count))
    scheme = "https" if tunnel else "http"
    login = aiohttp.BasicAuth("crawler", "simulated")

    async def work(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            url = f"{scheme}://site-{number % 100}.sim.test/p/{PAGE_BYTES}"
            async with session.get(url, proxy=proxy, proxy_auth=login) as answer:
                if answer.status != 200 or len(await answer.read()) != PAGE_BYTES:
                    raise RuntimeError(f"{url}: {answer.status}")

    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*map(work, itertools.repeat(session, CONCURRENCY)))


if __name__ == "__main__":
    asyncio.run(crawl(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
