"""Network namespaces: the world with vendors and control plane, and one for each pod.

A namespace ends with the process that holds it, also when the tests are killed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from lab.processes import Children
from tests.programs import run_to_end

T = TypeVar("T")

GATEWAY, GATEWAY6 = "10.99.0.1", "fd00:99::1"
"""The world's address of etcd, the API server, istiod and the relay."""

WORLDS = ("10.0.0.0/10", "10.200.0.0/16", "fd00:a::/32")
"""All these addresses are the world's: those of vendors, and those of other servers."""

CRAWLER, CRAWLER6 = "10.98.0.1", "fd00:98::1"
"""Source addresses of a crawler's connections in its pod, not known outside."""
PORTS = range(10000, 32768)  # the kernel picks ports from 32768 on

RESOLV_CONF = f"""nameserver {GATEWAY}
search crawlers.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
"""
"""As a kubelet writes it into a pod; names.py runs the server."""

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_LIBC = ctypes.CDLL(None, use_errno=True)

PACKAGES = {
    **dict.fromkeys(("unshare", "nsenter", "setpriv"), "util-linux"),
    "ip": "iproute2",
    **dict.fromkeys(("iptables-restore", "ip6tables-restore"), "iptables"),
    "openssl": "openssl",
}
"""Program -> the Debian package that has it."""


def why_not() -> str | None:
    """Return why this machine cannot have the namespaces, None if it can."""
    missing = [program for program in PACKAGES if shutil.which(program) is None]
    if missing:
        packages = dict.fromkeys(PACKAGES[program] for program in missing)
        return f"{', '.join(missing)} missing; install {', '.join(packages)}"
    made = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    if made.returncode != 0:
        return f"no network namespace can be made ({made.stderr.strip()}); it takes root"
    return None


class Network:
    """One namespace."""

    def __init__(self, family: Children, name: str, folder: Path) -> None:
        self.name = name
        outside = Path("/proc/self/ns/net").readlink()
        log = folder / f"{name}.netns.log"
        self._holder = family.start(name, ["unshare", "--net", "sleep", "infinity"], log=log)
        deadline = time.monotonic() + 30
        while Path(self.path).readlink() == outside:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.005)
        # A thread inside the namespace makes sockets; every thread can use them.
        self._inside = ThreadPoolExecutor(1, initializer=self._enter)
        self._own_ports: Iterator[int] | None = None
        self._resolving: list[str] = []
        self.run("ip link set lo up")

    @property
    def path(self) -> str:
        return f"/proc/{self._holder}/ns/net"

    def _enter(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)

    def call(self, function: Callable[[], T]) -> T:
        """Run a short function inside the namespace."""
        return self._inside.submit(function).result()

    def socket(
        self, family: int = socket.AF_INET, type_: int = socket.SOCK_STREAM
    ) -> socket.socket:
        return self.call(lambda: socket.socket(family, type_))

    def resolve_as_a_pod(self, folder: Path) -> None:
        """Let what `command` runs find a pod's /etc/resolv.conf."""
        file = folder / "resolv.conf"
        file.write_text(RESOLV_CONF)
        mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        self._resolving = ["unshare", "--mount", "sh", "-c", mount, os.fspath(file)]

    def know_connections_by_port(self) -> None:
        """Let `connect` use each source port only once.

        The kernel gives two connections to different places the same port. REDIRECT sends both to
        one place, so NAT gives the second another port, which the crawler does not know: it would
        not find the connection in the sidecar's log, or take an earlier one for it.
        """
        self.run(f"ip addr add {CRAWLER}/32 dev lo", f"ip -6 addr add {CRAWLER6}/128 dev lo nodad")
        self._own_ports = iter(PORTS)

    def connect(self, address: str, port: int, timeout: float = 10.0) -> socket.socket:
        """Return a connection that a program inside the namespace could have made."""
        made = self.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        made.settimeout(timeout)
        try:
            if self._own_ports and not ip_address(address).is_loopback:
                made.bind((CRAWLER6 if ":" in address else CRAWLER, next(self._own_ports)))
            made.connect((address, port))
        except OSError:
            made.close()
            raise
        return made

    def command(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs `command` inside; the kernel kills it with the tests.

        After SIGTERM, istiod and the API server would take their time, and unshare would stay.
        """
        entered = ["nsenter", f"--net={self.path}", *self._resolving]
        return [*entered, "setpriv", "--pdeathsig=KILL", *command]

    def container(self, command: Sequence[str], user: int) -> list[str]:
        """Return a command that runs `command` inside as this user, in a process namespace.

        When the kernel kills it with the tests, the first process of the namespace dies with it,
        and with that process all others of the namespace.
        """
        alone = ["unshare", "--pid", "--kill-child"]
        identity = [f"--reuid={user}", f"--regid={user}", "--clear-groups", "--pdeathsig=KILL"]
        return self.command([*alone, "setpriv", *identity, *command])

    def run(self, *lines: str) -> None:
        """Run short commands one after another."""
        for line in lines:
            run_to_end(*self.command(line.split()))

    def close(self) -> None:
        self._inside.shutdown()


def build_world(family: Children, folder: Path) -> Network:
    """Return the world, with a bridge for the pods."""
    world = Network(family, "world", folder)
    world.run(
        # Without a fixed address the bridge would change it with each pod, and lose packets.
        "ip link add pods address 02:00:00:00:00:01 type bridge",
        f"ip addr add {GATEWAY}/16 dev pods",
        f"ip -6 addr add {GATEWAY6}/64 dev pods nodad",
        "ip link set pods up",
        *(f"ip {'-6 ' * (':' in one)}route add local {one} dev lo" for one in WORLDS),
    )
    return world


def plug_in(world: Network, pod: Network, number: int) -> tuple[str, str]:
    """Connect a pod to the bridge; return its addresses."""
    own, own6 = f"10.99.{1 + number // 250}.{1 + number % 250}", f"fd00:99::{number + 16:x}"
    holder = pod.path.split("/")[2]
    world.run(
        f"ip link add pod{number} type veth peer name eth0 netns {holder}",
        f"ip link set pod{number} master pods up",
    )
    pod.run(
        f"ip addr add {own}/16 dev eth0",
        f"ip -6 addr add {own6}/64 dev eth0 nodad",
        "ip link set eth0 up",
        f"ip route add default via {GATEWAY}",
        f"ip -6 route add default via {GATEWAY6}",
    )
    pod.know_connections_by_port()
    return own, own6
