"""Speak to proxies and to other servers from a pod, in every protocol of a crawler."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass

from tests.mesh.kubelet import Pod
from tests.mesh.networks import Network

TARGET = b"site-1.sim.test"
PAYLOAD = bytes(range(1, 201))


@dataclass
class Spoken:
    """What a server answered."""

    answer: bytes
    source: int
    """The crawler's port, by which the access log names the connection."""
    echoed: bytes = b""

    @property
    def code(self) -> int:
        return int(self.answer[9:12]) if self.answer[:5] == b"HTTP/" else 0


def http(pod: Pod, address: str, port: int, path: bytes = b"/") -> Spoken:
    """Send a plain request as to a proxy."""
    with pod.network.connect(address, port) as sock:
        return ask(sock, path)


def ask(sock: socket.socket, path: bytes = b"/") -> Spoken:
    """Send a plain request over a connection to a proxy, which stays open."""
    sock.sendall(b"GET http://%s%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (TARGET, path, TARGET))
    return Spoken(_answer(sock), _port(sock))


def all_said(network: Network, address: str, port: int, said: bytes) -> bytes:
    """Send these bytes and no more; return all that comes until the server closes."""
    with network.connect(address, port) as sock:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


def origin(pod: Pod, address: str, port: int) -> Spoken:
    """Send a plain request as to the server itself."""
    with pod.network.connect(address, port) as sock:
        sock.sendall(ORIGIN)
        return Spoken(_answer(sock), _port(sock))


ORIGIN = (
    b"GET /a//b/../c%2F HTTP/1.1\r\nhOST: h.sim.test\r\n"
    b"X-Odd_Header:  two \r\nConnection: close\r\n\r\n"
)


def tunnel(pod: Pod, address: str, port: int) -> Spoken:
    with pod.network.connect(address, port) as sock:
        return tunnel_over(sock)


def tunnel_over(sock: socket.socket) -> Spoken:
    """Open a tunnel over a connection to a proxy, which stays open."""
    sock.sendall(b"CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n" % (TARGET, TARGET))
    spoken = Spoken(_answer(sock), _port(sock))
    if spoken.code == 200:
        spoken.echoed = exchange(sock)
    return spoken


def tls(pod: Pod, address: str, port: int) -> Spoken:
    """Send a CONNECT inside TLS to the proxy."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        pod.network.connect(address, port) as plain,
        context.wrap_socket(plain, server_hostname="proxy.sim.test") as sock,
    ):
        sock.sendall(b"CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n" % (TARGET, TARGET))
        spoken = Spoken(_answer(sock), _port(sock))
        spoken.echoed = exchange(sock)
        return spoken


def socks5(pod: Pod, address: str, port: int) -> Spoken:
    with pod.network.connect(address, port) as sock:
        return socks5_over(sock)


def socks5_over(sock: socket.socket) -> Spoken:
    """Open a SOCKS5 connection over one to a proxy, which stays open."""
    sock.sendall(b"\x05\x01\x00")
    answer = _exactly(sock, 2)
    sock.sendall(b"\x05\x01\x00\x03" + bytes([len(TARGET)]) + TARGET + (443).to_bytes(2))
    answer += _exactly(sock, 10)
    return Spoken(answer, _port(sock), exchange(sock))


def banner(pod: Pod, address: str, port: int) -> tuple[bytes, float]:
    """Return the first bytes of a server that speaks first, and after how many seconds."""
    with pod.network.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.settimeout(20)
        started = time.perf_counter()
        sock.connect((address, port))
        said = sock.recv(100)
        return said, time.perf_counter() - started


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def _answer(sock: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        data = sock.recv(65536)
        if not data:
            return received
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            missing = int(line.partition(b":")[2]) - len(body)
            received += _exactly(sock, missing)
    return received


def exchange(sock: socket.socket) -> bytes:
    """Send the payload through a tunnel; return what comes back, which the server reverses."""
    sock.sendall(PAYLOAD)
    return _exactly(sock, len(PAYLOAD))


def _exactly(sock: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        data = sock.recv(count - len(received))
        if not data:
            return received
        received += data
    return received
