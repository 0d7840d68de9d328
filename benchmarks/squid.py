"""squid as a contender: a forward proxy that hands everything to the vendor and logs it."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import Proxy
from benchmarks.sidecars import PROXY, VENDOR, wait_until_listening
from lab.ports import Ports
from lab.processes import Children, require_free

NOT_INSTALLED = (
    "squid is not on PATH, so no row compares with it; "
    "on Debian, `apt-get install squid` as root (it starts a service on port 3128)"
)

CONFIGURATION = """\
http_port {address}:{port}
cache_peer {address} parent {vendor} 0 no-query no-digest no-netdb-exchange default login=PASSTHRU
never_direct allow all
http_access allow all
cache deny all
# In the process itself; Debian's default writes the log in a second process.
access_log stdio:{folder}/access.log
cache_log {folder}/cache.log
coredump_dir {folder}
pid_filename none
pinger_enable off
cache_effective_user nobody
shutdown_lifetime 0 seconds
"""


def squid_program() -> str | None:
    return shutil.which("squid") or shutil.which("squid", path="/usr/sbin")


@dataclass(frozen=True, kw_only=True)
class Squid:
    """A squid that may be started many times."""

    program: str
    ports: Ports
    folder: Path

    def start(self, family: Children) -> Proxy:
        """Start squid; return when it listens."""
        sockets = ((PROXY, self.ports.vendor),)
        require_free(sockets)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        if os.geteuid() == 0:
            # squid refuses to run as root, and then cannot write its log where only root may.
            shutil.chown(self.folder, "nobody")
            self.folder.parent.chmod(0o711)
        file = self.folder / "squid.conf"
        file.write_text(
            CONFIGURATION.format(
                address=PROXY,
                port=self.ports.vendor,
                vendor=VENDOR.vendor_upstream,
                folder=self.folder,
            )
        )
        pid = family.start(
            "squid", [self.program, "-N", "-f", str(file)], log=self.folder / "squid.log"
        )
        start = time.monotonic()
        wait_until_listening(family, "squid", sockets[0])
        return Proxy(pid=pid, sockets=sockets, ready_seconds=time.monotonic() - start)
