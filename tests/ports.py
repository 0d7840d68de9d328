"""Choose ports that are free, and that no other test chooses at the same time."""

from __future__ import annotations

import random
import socket
from collections import deque
from collections.abc import Sequence

BLOCK = 100
# Linux gives outgoing connections ports from 32768 on.
FIRST, LAST = 10_000, 32_000

LOOPBACK = ("127.0.0.1", "127.1.0.10", "::1")  # 127.1.0.10: a simulated vendor

# The last port of each chosen block stays bound, so that no other worker and no other run chooses
# the block before this test listens on its ports.
_claims: deque[socket.socket] = deque()
CLAIMS = 40


def free_block(addresses: Sequence[str] = LOOPBACK) -> int:
    """Claim a block of ports and return the first; all but the last are free on every address."""
    for base in random.sample(range(FIRST, LAST, BLOCK), (LAST - FIRST) // BLOCK):
        claim = _bound("127.0.0.1", base + BLOCK - 1)
        if claim is None:
            continue
        if all(_free(address, base + n) for address in addresses for n in range(BLOCK - 1)):
            _claims.append(claim)
            if len(_claims) > CLAIMS:
                _claims.popleft().close()
            return base
        claim.close()
    raise AssertionError(f"no {BLOCK} ports in a row are free between {FIRST} and {LAST}")


def free_ports(addresses: Sequence[str]) -> list[int]:
    """Return one free port for each address, all different; fewer than a block."""
    base = free_block(sorted(set(addresses)))
    assert len(addresses) < BLOCK
    return [base + n for n in range(len(addresses))]


def _free(address: str, port: int) -> bool:
    probe = _bound(address, port)
    if probe is not None:
        probe.close()
    return probe is not None


def _bound(address: str, port: int) -> socket.socket | None:
    """Return a socket that holds the port, or None if it is taken."""
    holder = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        holder.bind((address, port))
    except OSError:
        holder.close()
        return None
    return holder
