"""Gateways by name on a laptop: two name servers, one for crawlers and one for Envoy.

The crawlers' gives each name its virtual address, as pilot-agent's DNS proxy does in a pod. Envoy's
gives the addresses where the simulated vendors are, and others every few seconds.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.ports import Ports
from lab.processes import Children
from settings.vendors import Vendor

ROOT = Path(__file__).parents[1]

STAND_INS = (
    "pilot-agent's DNS proxy -> a name server of the lab with the names' virtual addresses",
    "the world's DNS -> another of the lab, whose answers change every 3 s",
    "a listener for a name -> it listens itself, where virtualOutbound would hand over",
)

_SHARED = ("127.21.0.1", "127.21.0.2", "127.21.0.3")
_IN_TURN = (_SHARED[:1], _SHARED[1:], _SHARED[2:], _SHARED[:2])

ANSWERS: Mapping[str, Sequence[Sequence[str]]] = {
    "gw.vendor-j.test": _IN_TURN,
    "gw.vendor-k.test": (*_IN_TURN[2:], *_IN_TURN[:2]),
    "gw.vendor-l.test": (("::1",),),
    "down.vendor-j.test": (("127.21.0.99",),),
}
"""What DNS says of the lab's names, one answer after the other."""

CHANGE_SECONDS = 3.0
TTL_SECONDS = 2
VIRTUAL_TTL_SECONDS = 30  # pilot-agent's


def is_down(name: str) -> bool:
    """Whether nobody is where a name leads."""
    return name.startswith("down.")


def resolver(ports: Ports) -> tuple[str, int]:
    """Return the name server that Envoy asks."""
    return "127.0.0.1", ports.name_server


def captured_resolver(ports: Ports) -> str:
    """Return the name server that crawlers ask, as their plan has it."""
    return f"127.0.0.1:{ports.captured_name_server}"


@contextlib.contextmanager
def name_servers(
    family: Children, vendors: Sequence[Vendor], ports: Ports, folder: Path
) -> Iterator[None]:
    """Run both for the length of the block, and change what DNS says."""
    hosts = [host for vendor in vendors for host in vendor.hosts]
    _write(
        folder / "virtual-names.json",
        {
            host.name: {"addresses": [str(host.address)], "ttl": VIRTUAL_TTL_SECONDS}
            for host in hosts
        },
    )
    names = [host.name for host in hosts]
    _write(folder / "names.json", _zone(names, 0))
    for name, port in (
        ("names", ports.name_server),
        ("virtual-names", ports.captured_name_server),
    ):
        family.start(
            name,
            [
                *(sys.executable, "-m", "lab.name_server", "--listen", f"127.0.0.1:{port}"),
                *("--zone", str(folder / f"{name}.json")),
            ],
            log=folder / f"{name}.log",
            environment={"PYTHONPATH": str(ROOT)},
        )
    ended = threading.Event()
    changing = threading.Thread(target=_change, args=(names, folder, ended), daemon=True)
    changing.start()
    try:
        yield
    finally:
        ended.set()
        changing.join()


def _change(names: Sequence[str], folder: Path, ended: threading.Event) -> None:
    for turn in itertools.count(1):
        if ended.wait(CHANGE_SECONDS):
            return
        _write(folder / "names.json", _zone(names, turn))


def _zone(names: Sequence[str], turn: int) -> dict[str, Any]:
    answers = {name: ANSWERS[name] for name in names}
    return {
        name: {"addresses": list(in_turn[turn % len(in_turn)]), "ttl": TTL_SECONDS}
        for name, in_turn in answers.items()
    }


def _write(file: Path, zone: dict[str, Any]) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(zone, indent=1), encoding="utf-8")
    temporary.replace(file)
