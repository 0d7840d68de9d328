"""An odd exchange, and the positions on a connection in which it is played."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.lab.odd_exchanges import answer, request
from tests.lab.script import Ends, Script, Turn

PLAIN = Turn(sends=(request(b"http://shop.test/plain"),), answers=(answer(),))
BEHIND = 3


@dataclass(frozen=True, kw_only=True)
class Odd:
    script: Script
    requests: int = 1
    """How many requests it has; 0 for a connection that is no HTTP."""
    keeps: bool = True
    """Whether plain requests may follow on the same connection."""

    def positions(self) -> dict[str, Script]:
        """Return the scripts: alone, second on its connection, and with three plain ones behind."""
        found = {"alone": self.script}
        turns = self.script.turns
        if self.requests and turns[0].sends:
            found["second"] = replace(self.script, turns=(PLAIN, *turns))
        if self.keeps:
            found["first"] = replace(self.script, turns=(*turns, *[PLAIN] * BEHIND))
        return found


def odd(
    sends: bytes | tuple[bytes, ...],
    answers: bytes | tuple[bytes, ...],
    *more: Turn,
    ends: Ends = "crawler",
    tunnel: bool = False,
    requests: int = 1,
) -> Odd:
    first = Turn(sends=_segments(sends), answers=_segments(answers))
    script = Script(turns=(first, *more), ends=ends)
    keeps = ends == "crawler" and not tunnel and requests > 0
    return Odd(script=script, requests=requests, keeps=keeps)


def _segments(of: bytes | tuple[bytes, ...]) -> tuple[bytes, ...]:
    if isinstance(of, tuple):
        return of
    return (of,) if of else ()
