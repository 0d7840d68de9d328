"""The HTTP libraries of Python that crawlers use."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import httpx
import requests

from tests.clients.jobs import REQUEST_SECONDS, Job, Seen, answer


def with_requests(jobs: Sequence[Job], authority: str, ca: Path) -> list[list[Seen]]:
    def page(session: requests.Session, url: str) -> Seen:
        try:
            got = session.get(url, timeout=REQUEST_SECONDS)
        except requests.RequestException as error:
            refused = re.search(r"Tunnel connection failed: (\d{3})", str(error))
            return Seen(int(refused[1]) if refused else None, type(error).__name__)
        return answer(got.status_code, got.content, got.headers)

    found = []
    for job in jobs:
        with requests.Session() as session:
            session.trust_env, session.verify = False, str(ca)
            session.proxies = dict.fromkeys(("http", "https"), job.proxy_url(authority))
            found.append([page(session, url) for url in job.urls])
    return found


def with_httpx(jobs: Sequence[Job], authority: str, ca: Path) -> list[list[Seen]]:
    def page(client: httpx.Client, url: str) -> Seen:
        try:
            got = client.get(url)
        except httpx.HTTPError as error:
            refused = re.match(r"\d{3}", str(error))
            return Seen(int(refused[0]) if refused else None, type(error).__name__)
        return answer(got.status_code, got.content, got.headers)

    found = []
    verify = ssl.create_default_context(cafile=str(ca))
    for job in jobs:
        with httpx.Client(
            proxy=job.proxy_url(authority), verify=verify, trust_env=False, timeout=REQUEST_SECONDS
        ) as client:
            found.append([page(client, url) for url in job.urls])
    return found


def with_aiohttp(jobs: Sequence[Job], authority: str, ca: Path) -> list[list[Seen]]:
    trusted = ssl.create_default_context(cafile=str(ca))

    async def page(session: aiohttp.ClientSession, url: str, proxy: str) -> Seen:
        try:
            async with session.get(url, proxy=proxy, ssl=trusted) as got:
                return answer(got.status, await got.read(), dict(got.headers))
        except aiohttp.ClientError as error:
            return Seen(getattr(error, "status", None), type(error).__name__)

    async def every() -> list[list[Seen]]:
        found = []
        limit = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        for job in jobs:
            async with aiohttp.ClientSession(timeout=limit) as session:
                proxy = job.proxy_url(authority)
                found.append([await page(session, url, proxy) for url in job.urls])
        return found

    return asyncio.run(every())
