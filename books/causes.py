"""Where an unexplained difference has its other half, or when it happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from books.counters import CONNECTION, COUNTS, OUTSIDE, WIRE_BYTES, Key
from books.events import clock
from books.offset import Move
from books.row import MESH, Row

NEVER_SEEN = "never seen by Envoy"
NOT_MADE = "not made by the generator"
LATE = "first bytes came later than Envoy waits for them"


def name_causes(rows: Sequence[Row]) -> None:
    """Set the cause of each row whose books differ."""
    net: Counter[Key] = Counter()
    for row in rows:
        for book, move in row.unexplained_moves:
            net[row.key] += move.amount if book == MESH else 0
    matched = _matched(net)
    for row in rows:
        if row.unexplained:
            row.cause = _cause(row.key, net, matched) or "; ".join(
                when(*move) for move in row.unexplained_moves[:3]
            )
        elif row.parts:
            row.cause = "; ".join(dict.fromkeys(str(part.event) for part in row.parts))
        elif row.difference and row.key.measure == WIRE_BYTES:
            row.cause = "the two are read at different moments"


def when(book: str, move: Move) -> str:
    """Return when a book departed from the generator's, and by how much."""
    span = clock(move.before)
    if move.before - move.after > 1:
        span = f"{clock(move.after)} to {span}"
    return f"{'mesh' if book == MESH else 'vendors'} {move.amount:+d} at {span}"


def _cause(key: Key, net: Mapping[Key, int], matched: Mapping[Key, str]) -> str | None:
    own = net.get(key, 0)
    if not own:
        return None
    return _late(key, own, net) or matched.get(key, NEVER_SEEN if own < 0 else NOT_MADE)


def _matched(net: Mapping[Key, int]) -> dict[Key, str]:
    """Match keys that lack counts with keys that have too many, the largest first.

    Each count is used once: the surplus of one row is not the loss of every other.
    """
    found: dict[Key, str] = {}
    left = {key: amount for key, amount in net.items() if amount}
    for key in sorted(left, key=lambda key: (-abs(left[key]), key)):
        other = _other_half(key, left)
        if other is None:
            continue
        names = (key.outcome, other.outcome)
        if key.vendor != other.vendor:
            names = (key.vendor, other.vendor)
        lacks = left[key] < 0
        found.setdefault(key, f"counted as {names[1]}" if lacks else f"from {names[1]}")
        found.setdefault(other, f"from {names[0]}" if lacks else f"counted as {names[0]}")
        amount = min(abs(left[key]), abs(left[other])) * (-1 if lacks else 1)
        left[key] -= amount
        left[other] += amount
    return found


def _other_half(key: Key, left: Mapping[Key, int]) -> Key | None:
    """Return where most of a key's counts may be: at another outcome, else at another vendor."""
    opposite = sorted(
        (other for other in left if left[other] * left[key] < 0),
        key=lambda other: (-abs(left[other]), other),
    )
    same_vendor = (other for other in opposite if other[:3] == key[:3])
    same_outcome = (other for other in opposite if other[2:] == key[2:])
    return next(same_vendor, None) or next(same_outcome, None)


def _late(key: Key, own: int, net: Mapping[Key, int]) -> str | None:
    """Return the one way from http or tunnel to opaque: Envoy inspects first bytes for 1 s."""
    if key.measure != COUNTS or key.vendor == OUTSIDE:
        return None
    visible = sum(
        amount
        for other, amount in net.items()
        if other.vendor == key.vendor and other.visibility in ("http", "tunnel")
    )
    opaque = net.get(Key(COUNTS, key.vendor, "opaque", CONNECTION), 0)
    if not visible < 0 < opaque:
        return None
    if key.visibility == "opaque":
        return f"from http or tunnel: {LATE}"
    return f"seen as opaque: {LATE}" if own < 0 else None
