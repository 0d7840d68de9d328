"""Opens the crawler's connections, by address or by name, and notes why one could not be had."""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import os
import socket
from collections import Counter
from typing import Final

from simulation.crawler.admission import RefusalPause, tracked
from simulation.crawler.books import Wire
from simulation.crawler.connection import Connection
from simulation.crawler.faults import OPAQUE
from simulation.crawler.http1 import Answer
from simulation.crawler.names import Names
from simulation.crawler.outcomes import Seen
from simulation.crawler.plan import Plan
from simulation.crawler.sequence import PlannedRequest
from simulation.process import place

NOT_THERE = "start the vendor, or correct its address and port"
NOT_NAMED = "correct the host, or the plan's name_server"
USED_UP = "this machine has no more: raise `ulimit -n`, or give less in flight"
# This machine has no more ports, files or memory: no vendor's fault.
LOCAL_ERRORS: Final = {errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Opener:
    """Opens a connection for each planned request that needs one of its own.

    `connecting` are the tasks that wait for one: nothing is sent or counted yet.
    """

    def __init__(
        self, plan: Plan, refusals: RefusalPause, trouble: Counter[tuple[str, str, str]]
    ) -> None:
        self._plan, self._refusals, self._trouble = plan, refusals, trouble
        self._names = Names(plan.name_server)
        self._limit_seconds = plan.limit_seconds()
        self.connecting: set[asyncio.Task[None]] = set()

    async def open(self, planned: PlannedRequest, wire: Wire) -> Connection | Seen:
        """Return a connection, or how it ended before it was one."""
        try:
            async with asyncio.timeout(self._limit_seconds):
                with tracked(self.connecting):
                    connection = await self._connect(planned, wire)
        except TimeoutError:
            self._note_trouble(planned, f"no connection in {self._limit_seconds:g} s", NOT_THERE)
            return Seen("left", Answer(), self._limit_seconds)
        except socket.gaierror as error:
            self._note_trouble(planned, error.strerror or "the name has no address", NOT_NAMED)
            return self._refused(planned)
        except OSError as error:
            local = error.errno in LOCAL_ERRORS
            fix = USED_UP if local else NOT_THERE
            self._note_trouble(planned, os.strerror(error.errno or 0), fix)
            return Seen("local", Answer()) if local else self._refused(planned)
        self._refusals.connected()
        return connection

    async def _connect(self, planned: PlannedRequest, wire: Wire) -> Connection:
        host, port = self._place(planned)
        if not _is_address(host):
            host = await self._names.address(host)
        factory = functools.partial(Connection, wire)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(factory, host, port)
        return connection

    def _refused(self, planned: PlannedRequest) -> Seen:
        if planned.fault != "dead":
            self._refusals.refused()
        return Seen("refused", Answer())

    def _note_trouble(self, planned: PlannedRequest, reason: str, fix: str) -> None:
        if planned.fault != "dead":
            who = self._plan.vendors[planned.vendor].name if planned.vendor >= 0 else "outside"
            self._trouble[who, f"{place(*self._place(planned))}: {reason}", fix] += 1

    def _place(self, planned: PlannedRequest) -> tuple[str, int]:
        if planned.vendor < 0:
            outside = self._plan.outside[~planned.vendor]
            return outside.address, outside.port
        vendor = self._plan.vendors[planned.vendor]
        dead = (vendor.dead_host or vendor.dead_address) if planned.fault == "dead" else None
        port = vendor.opaque_port if planned.protocol in OPAQUE else vendor.port
        return dead or vendor.host or vendor.address or "", port


@functools.lru_cache(maxsize=1024)
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
