"""Listens for the vendors of a plan until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import signal
import sys

from simulation.endpoint import listen
from simulation.plans import PlanError, host_to_bind
from simulation.process import named_bind, place
from simulation.proxy.books import Books
from simulation.proxy.connection import Connection, Shared
from simulation.proxy.control import control_page
from simulation.proxy.plan import Plan
from simulation.proxy.tls import tls_context
from simulation.proxy.vendor import Vendor

LISTEN_BACKLOG = 4096
CLOSING_SECONDS = 0.5


async def serve(plan: Plan) -> Books:
    """Serve until SIGTERM or SIGINT.

    Raises:
        PlanError: an address or a certificate cannot be had; nothing is left listening then.
    """
    loop = asyncio.get_running_loop()
    try:
        tls = tls_context(plan)
    except (OSError, ValueError) as error:  # ssl.SSLError is the first
        named = json.dumps(plan.certificate)
        raise PlanError([f"certificate: {named} gives no TLS: {error}: give PEM files"]) from None
    books = Books()
    shared = Shared(
        plan=plan,
        books=books,
        tls=tls,
        chance=random.Random(plan.seed),
        vendors={item.vendor: Vendor(item.vendor, plan, books) for item in plan.listen},
    )
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with contextlib.AsyncExitStack() as servers:
        for item in plan.listen:
            factory = functools.partial(Connection, shared, shared.vendors[item.vendor], item)
            with named_bind(item.address, item.port):
                # With a shorter backlog a burst of crawlers would wait 1 s for each SYN retry.
                server = await loop.create_server(
                    factory, host_to_bind(item.address), item.port, backlog=LISTEN_BACKLOG
                )
            servers.callback(server.close)
        pages = functools.partial(control_page, shared)
        control = await listen(pages, plan.control_host, plan.control_port)
        servers.callback(control.close)
        where = f"http://{place(plan.control_host, plan.control_port)}/books"
        places = "1 address" if len(plan.listen) == 1 else f"{len(plan.listen)} addresses"
        print(f"vendor: {places}, books at {where}", file=sys.stderr)
        await stop.wait()
    deadline = loop.time() + CLOSING_SECONDS
    while books.open and loop.time() < deadline:  # connections that are just closing count
        await asyncio.sleep(0.02)
    return books
