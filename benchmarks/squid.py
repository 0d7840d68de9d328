"""The same hop through squid, the proxy that crawler fleets otherwise count with."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

from benchmarks.cpu import Proxy, Start, cpu_a_unit
from benchmarks.crawlers import Address, kept_alive
from benchmarks.measure import Measure, cpu_ratio
from benchmarks.sidecars import PLACES, PROXY, VENDOR, one_vendor, sidecar, start_vendor
from lab.processes import Children, LabError, children, require_free
from lab.system import READY_SECONDS

NAME = "CPU a request: HTTP chain / squid with access log"
REQUESTS, WARM_UP = 100, 2_000
SQUID: Address = ("127.0.0.1", PLACES[1].vendor)

# crawler -> squid -> vendor, as crawler -> Envoy -> vendor: it asks the vendor for everything and
# keeps nothing. It writes its log itself; Debian's default hands lines to a process of its own.
_CONFIGURATION = """\
http_port {address}:{port}
cache_peer {vendor} parent {vendor_port} 0 no-query no-digest default
never_direct allow all
http_access allow all
cache deny all
access_log stdio:{folder}/access.log squid
cache_log {folder}/cache.log
pid_filename none
netdb_filename none
coredump_dir {folder}
pinger_enable off
shutdown_lifetime 0 seconds
"""


def against_squid() -> list[Measure]:
    """Compare the rendered HTTP chain with squid; nothing is installed to do so."""
    program = shutil.which("squid", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        note = "not measured: squid is not installed (apt-get install squid)"
        return [Measure(name=NAME, value=None, goal=1.0, note=note)]
    with tempfile.TemporaryDirectory() as name, children() as family:
        folder = Path(name)
        start_vendor(family, folder)
        envoy = sidecar(PLACES[0], folder, one_vendor(PLACES[0]))
        starts: list[Start] = [envoy.start, functools.partial(_start_squid, folder, program)]
        ours, other = cpu_a_unit(starts, kept_alive, units=REQUESTS, warm_up=WARM_UP)
        family.check()
    return [cpu_ratio(NAME, ours, other, goal=1.0)]


def _start_squid(folder: Path, program: str, family: Children) -> Proxy:
    """Start squid in the foreground, one process; return once it listens."""
    require_free([SQUID])
    own = folder / "squid"
    own.mkdir(exist_ok=True)
    # Started by root it becomes another user, who has to get at its files.
    folder.chmod(0o711)
    own.chmod(0o777)
    config = own / "squid.conf"
    config.write_text(
        _CONFIGURATION.format(
            address=SQUID[0],
            port=SQUID[1],
            vendor=PROXY,
            vendor_port=VENDOR.vendor_upstream,
            folder=own,
        )
    )
    pid = family.start("squid", [program, "-N", "-f", str(config)], log=own / "output.log")
    deadline = time.monotonic() + READY_SECONDS
    while not _listens(SQUID):
        family.check()
        if time.monotonic() > deadline:
            raise LabError(f"squid did not listen within {READY_SECONDS:.0f} s")
        time.sleep(0.05)
    return Proxy(pid=pid, sockets=(SQUID,))


def _listens(address: Address) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0
