"""Three sets of books of one window, row by row: what differs, and what of it a gap explains.

The generator's books are compared with its own sidecar's, pod by pod, and with the vendors', all
together. Every reading is one of Prometheus' scrapes, so a process that dies takes what it
counted since its last one with it. How much that can be is in the *other* books: what they
counted of the same row meanwhile. Beyond it nothing is explained.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from audit.offset import ANYTHING, NOTHING, Bounds, Course, Gap, Move, Point, follow
from audit.series import COUNTS, OPAQUE_BYTES, WIRE_BYTES, Read, Row, Target

Json = dict[str, Any]

# Between one side's booking of a count and the other's, beside the time it is in flight: an event
# loop's turn and a socket's way. Seconds on a machine that is overloaded.
LAG_SECONDS = 1.5
# Bytes under way when a connection was reset are seen by one side alone.
WIRE_TOLERANCE = 0.001
ENDED_GRACE_SECONDS = 5.0  # a process outlives the scrape that missed it
EDGE_INTERVALS = 3  # scrapes at the window's edges which the other book's may lack

SIDECAR, GENERATOR, VENDOR = "sidecar", "generator", "vendor"
CONNECTION = "connection"
UNKNOWN = "unknown"  # the vendor's name for what is outside every range
ALL = "all outcomes"
UNEXPECTED, RESET = "unexpected", "reset"
RESTARTED, ENDED, AWAY = "restarted", "ended", "was away"

# What a sidecar may call a count whose vendor died, and which the generator could not tell.
BROKEN = frozenset({"connect_failed", RESET, "timeout", "rejected", "client_cancelled"})
# The generator left: it does not know what its sidecar had found out in that very moment.
LEFT = ("timeout", "client_cancelled")
# The vendor cannot know of them: nothing reached it.
UNKNOWN_TO_VENDOR = frozenset({"connect_failed", "rejected"})


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A load generator and the sidecar of the same pod."""

    generator: Target
    sidecar: Target


@dataclass(frozen=True, kw_only=True)
class Parties:
    """Whose books there are.

    `lonely` are generators of which no sidecar is scraped, `never_up` targets of which all scrapes
    failed, `interval_seconds` is from one scrape to the next.
    """

    pairs: Sequence[Pair]
    vendors: Sequence[Target]
    lonely: Sequence[str] = ()
    never_up: Sequence[str] = ()
    interval_seconds: float = 0.0


class Uncompared(NamedTuple):
    """Counts of a time in which only one of two books was read.

    `book` is the one beside the generator's; `says` whose, and when.
    """

    book: str
    says: str
    counts: int


class Event(NamedTuple):
    """A process restarted between two moments, ended or was away: counts may be lost there."""

    kind: str
    name: str
    after: float
    before: float
    what: str

    def says(self) -> str:
        span = f"between {clock(self.after)} and {clock(self.before)}"
        return f"{self.kind} {self.name} {self.what} {span}"


class Part(NamedTuple):
    """What a row lost (or got too much of, above 0) for one event's sake.

    `book` is whose reading differs from the generator's; -1 in `at_most` is no bound.
    """

    event: Event
    book: str
    amount: int
    at_most: int


@dataclass(kw_only=True)
class Line:
    """One row of the audit. Differences are the other's minus the generator's.

    `explained` and `unexplained` are counts (or bytes) in all, whatever their sign, of both
    comparisons; `vendor_books` is None where no vendor knows.
    """

    row: Row
    generator: int | None
    mesh: int
    vendor_books: int | None = None
    difference: int = 0
    vendor_difference: int = 0
    explained: int = 0
    unexplained: int = 0
    parts: list[Part] = field(default_factory=list)
    surprises: list[tuple[str, Move]] = field(default_factory=list)
    cause: str | None = None
    apart_seconds: float = 0.0
    """Of wire bytes: how much later than the mesh's the vendors' books were read."""

    @property
    def most(self) -> int:
        """What the book that has most has."""
        return max(self.generator or 0, self.mesh, self.vendor_books or 0)

    def explained_by(self, event: Event) -> int:
        """Return how much an event explains; once, though two books may differ for its sake."""
        by_book: Counter[str] = Counter()
        for part in self.parts:
            if part.event == event:
                by_book[part.book] += abs(part.amount)
        return max(by_book.values(), default=0)

    def add(self, course: Course, book: str, events: Sequence[Event]) -> None:
        self.explained += course.explained
        self.unexplained += course.unexplained
        for move in course.moves:
            if move.gap is None:
                self.surprises.append((book, move))
            else:
                self.parts += _shared_out(move, move.gap, book, events)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The outcome: rows of counts, rows of bytes, and the events of the window."""

    lines: list[Line]
    byte_lines: list[Line]
    events: list[Event]
    begun: float
    ended: float
    in_flight: tuple[int, int]
    """At the generators' first and last read: counted by one side, not yet by the other."""
    uncompared: list[Uncompared]
    loose: list[str]
    """Findings that are no row's."""

    @property
    def counts(self) -> int:
        return sum(line.generator or 0 for line in self.lines)

    @property
    def unexplained(self) -> int:
        return sum(line.unexplained for line in self.lines)

    @property
    def explained(self) -> int:
        return sum(self.explained_by(event) for event in self.events)

    def explained_by(self, event: Event) -> int:
        """Return how many counts an event explains.

        Once each: a count that moved is missing in one row and too much in another, and what one
        process forgot differs from both others.
        """
        more: Counter[tuple[str, str, str]] = Counter()
        less: Counter[tuple[str, str, str]] = Counter()
        for line in self.lines:
            for part in line.parts:
                if part.event == event:
                    side = more if part.amount > 0 else less
                    side[part.book, line.row.vendor, line.row.visibility] += abs(part.amount)
        most: Counter[tuple[str, str]] = Counter()
        for book, vendor, visibility in {*more, *less}:
            key = book, vendor, visibility
            most[vendor, visibility] = max(most[vendor, visibility], more[key], less[key])
        return most.total()


def audit(parties: Parties, *, lag_seconds: float = LAG_SECONDS) -> Audit:
    """Compare all books.

    Args:
        parties: the targets, over the same window.
        lag_seconds: how far apart two books may book the same count.
    """
    generators = [pair.generator for pair in parties.pairs]
    sidecars = [pair.sidecar for pair in parties.pairs]
    events = _events(parties)
    edge_seconds = lag_seconds + EDGE_INTERVALS * parties.interval_seconds
    lines: dict[Row, Line] = {}
    loose = [f"{pod}: its sidecar is not scraped: not audited" for pod in parties.lonely]
    loose += [f"{name}: was never up in this window: not audited" for name in parties.never_up]
    uncompared: list[Uncompared] = []
    ends: list[float] = []
    for pair in parties.pairs:
        mesh = _Comparison(
            witness=[_with_sums(pair.sidecar, frozenset())],
            ground=[_with_sums(pair.generator, frozenset())],
            events=events,
            allowed=_mesh_allows(pair, _serving(parties.vendors)),
            lag_seconds=lag_seconds,
            connections_lag=True,
        )
        if not mesh.reads:
            loose.append(f"{pair.generator.name}: no moment at which both books were read")
            continue
        ends.append(mesh.reads[-1].until)
        uncompared += mesh.uncompared("mesh", pair.generator.name, edge_seconds)
        for row in mesh.rows(COUNTS, OPAQUE_BYTES):
            if row.vendor == UNKNOWN and not _has_outside(row, pair.generator):
                continue
            course = mesh.course(row)
            seen = mesh.witnessed(row)
            line = lines.setdefault(row, Line(row=row, generator=0, mesh=0))
            line.mesh += seen
            line.difference += course.difference
            line.generator = (line.generator or 0) + seen - course.difference
            line.add(course, "mesh", events)
    if parties.vendors and generators:
        for vendor, theirs in _vendors(parties, generators, events, lag_seconds):
            if theirs.reads:
                _add_vendor(lines, vendor, theirs, events)
                uncompared += theirs.uncompared("vendor_books", vendor, edge_seconds)
            elif any(row.vendor == vendor for row in lines):
                loose.append(
                    f"{vendor}: no moment at which its books and all generators' were read"
                )
    loose += _sum_findings(lines)
    counts = [one for row, one in sorted(lines.items()) if row.measure == COUNTS]
    counts = [one for one in counts if one.row.what != ALL and _is_shown(one)]
    byte_lines = [one for row, one in sorted(lines.items()) if row.measure == OPAQUE_BYTES]
    for wire in _wire(sidecars, parties.vendors, events, lag_seconds):
        if isinstance(wire, Line):
            byte_lines.append(wire)
        else:
            loose.append(wire)
    _name_causes(counts)
    _name_causes(byte_lines)
    return Audit(
        lines=counts,
        byte_lines=byte_lines,
        events=events,
        begun=min((t.reads[0].at for t in (*generators, *sidecars) if t.reads), default=0.0),
        ended=max(ends, default=0.0),
        in_flight=(
            sum(one.under_way(0) for one in generators if one.reads),
            sum(one.under_way(len(one.reads) - 1) for one in generators),
        ),
        uncompared=uncompared,
        loose=loose,
    )


def _vendors(
    parties: Parties, generators: Sequence[Target], events: Sequence[Event], lag_seconds: float
) -> Iterable[tuple[str, _Comparison]]:
    """Yield each simulated vendor, its processes beside all generators."""
    ground = {one.name: _with_sums(one, UNKNOWN_TO_VENDOR) for one in generators}
    serving = _serving(parties.vendors)
    for vendor, names in sorted(serving.items()):
        witness = [one for one in parties.vendors if one.name in names]
        yield (
            vendor,
            _Comparison(
                witness=[_with_sums(_of(vendor, one), UNKNOWN_TO_VENDOR) for one in witness],
                ground=[_of(vendor, one) for one in ground.values()],
                events=events,
                allowed=_vendors_allow(parties, serving),
                lag_seconds=lag_seconds,
                connections_lag=True,
                requests_lead=True,
                behind={pair.sidecar.name: ground[pair.generator.name] for pair in parties.pairs},
            ),
        )


def _of(vendor: str, one: Target) -> Target:
    """Leave a target the rows that a vendor knows of."""
    rows = {
        row: values
        for row, values in one.totals.items()
        if row.vendor == vendor and row.what not in UNKNOWN_TO_VENDOR
    }
    return replace(one, totals=rows)


def _add_vendor(
    lines: dict[Row, Line], vendor: str, books: _Comparison, events: Sequence[Event]
) -> None:
    for row in sorted({*books.rows(COUNTS, OPAQUE_BYTES), *lines}):
        if row.vendor != vendor or row.what in UNKNOWN_TO_VENDOR:
            continue
        if vendor == UNKNOWN and row not in lines:
            continue
        course = books.course(row)
        line = lines.setdefault(row, Line(row=row, generator=0, mesh=0))
        line.vendor_difference = course.difference
        line.vendor_books = (line.generator or 0) + course.difference
        line.add(course, "vendor_books", events)


def _serving(vendors: Sequence[Target]) -> dict[str, set[str]]:
    """Return which processes are which vendor; on a laptop, one is all of them."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for one in vendors:
        for row in one.totals:
            found[row.vendor].add(one.name)
    return dict(found)


def _has_outside(row: Row, generator: Target) -> bool:
    """Whether the generator means what its sidecar passes through: a pod may have other traffic.

    Of that the mesh knows connections alone.
    """
    return row.measure == COUNTS and row in generator.totals


def _wire(
    sidecars: Sequence[Target],
    vendors: Sequence[Target],
    events: Sequence[Event],
    lag_seconds: float,
) -> Iterable[Line | str]:
    """Compare bytes on the wire: the generator's are other bytes, those up to its sidecar.

    Yields a text where they cannot be.
    """
    for vendor, names in sorted(_serving(vendors).items()):
        if vendor == UNKNOWN or not sidecars:
            continue
        others = {one.name for one in vendors} - names
        wire = _Comparison(
            witness=sidecars,
            ground=[one for one in vendors if one.name in names],
            events=[e for e in events if e.kind != GENERATOR and e.name not in others],
            # Bytes of a cut connection are not the same at both ends.
            allowed=lambda event, row, inc: Bounds(-inc.ground(row), inc.witness(row)),
            lag_seconds=lag_seconds,
            tolerance=WIRE_TOLERANCE,
        )
        rows = [row for row in wire.rows(WIRE_BYTES) if row.vendor == vendor]
        if rows and not wire.reads:
            yield f"{vendor}: no moment at which its wire bytes and all sidecars' were read"
            continue
        for row in rows:
            # As read: they are the same but for the tolerance and what is under way.
            seen, own = wire.witnessed(row), wire.grounded(row)
            line = Line(row=row, generator=None, mesh=seen, vendor_books=own)
            line.difference = seen - own
            line.apart_seconds = wire.apart_seconds
            if line.difference:  # no other cause is found: no surprise
                line.cause = f"read {line.apart_seconds:.1f} s apart, in traffic"
            line.add(wire.course(row), "mesh", wire.events)
            yield line


# --- what an event may have done ------------------------------------------------------------


class _Increases(NamedTuple):
    """What both sides counted of a row around an event."""

    ground: Callable[[Row], float]
    witness: Callable[[Row], float]
    under_way: float


Allowed = Callable[[Event, Row, _Increases], Bounds]


def _mesh_allows(pair: Pair, serving: Mapping[str, Set[str]]) -> Allowed:
    """What an event may do to mesh minus generator."""

    def allows(event: Event, row: Row, inc: _Increases) -> Bounds:
        if event.name not in _concerned(event, row, [pair], serving):
            return NOTHING
        if event.kind == GENERATOR:
            return Bounds(0, inc.witness(row))
        lost = inc.ground(row) if event.kind == SIDECAR else 0
        if row.measure != COUNTS:
            if event.kind == VENDOR:  # bytes of a cut connection are not the same at both ends
                return Bounds(-inc.ground(row), inc.witness(row))
            return Bounds(-lost, 0)
        if row.visibility == "opaque" or row.what == ALL:
            return Bounds(-lost, 0)
        # The sidecar answered in the vendor's place: the generator cannot tell why.
        untold = inc.ground(row._replace(what=UNEXPECTED))
        resets = inc.ground(row._replace(what=RESET))
        own = inc.ground(row) if row.what in (UNEXPECTED, RESET, *LEFT) else 0
        # Those called by another name here, with theirs.
        others = untold + sum(inc.ground(row._replace(what=w)) for w in LEFT if w != row.what)
        if row.what == "connect_failed":
            others += resets
        return Bounds(-max(own, lost), others if row.what in BROKEN else 0)

    return allows


def _vendors_allow(parties: Parties, serving: Mapping[str, Set[str]]) -> Allowed:
    """What an event may do to the vendors' books minus the generators'."""

    def allows(event: Event, row: Row, inc: _Increases) -> Bounds:
        if event.name not in _concerned(event, row, parties.pairs, serving):
            return NOTHING
        if row.measure != COUNTS:
            low = 0 if event.kind == GENERATOR else -inc.ground(row)
            return Bounds(low, inc.witness(row))
        if event.kind == GENERATOR:
            return Bounds(0, inc.witness(row) + inc.under_way)
        if row.visibility == "opaque":
            return Bounds(-inc.ground(row), 0)
        cut = sum(inc.ground(row._replace(what=what)) for what in (UNEXPECTED, RESET))
        if event.kind == VENDOR:
            return Bounds(-inc.ground(row), 0 if row.what == ALL else cut)
        if row.what == ALL:
            return Bounds(-cut, 0)
        own = inc.ground(row) if row.what in (UNEXPECTED, RESET, *LEFT) else 0
        left = sum(inc.ground(row._replace(what=what)) for what in LEFT if what != row.what)
        return Bounds(-own, cut + left)

    return allows


def _concerned(
    event: Event, row: Row, pairs: Sequence[Pair], serving: Mapping[str, Set[str]]
) -> Set[str]:
    """Return whose events of this kind concern a row."""
    if event.kind == VENDOR:
        return serving.get(row.vendor, set())
    if event.kind == SIDECAR:
        return {pair.sidecar.name for pair in pairs}
    return {pair.generator.name for pair in pairs}


# --- one set of books beside another --------------------------------------------------------


@dataclass(kw_only=True)
class _Comparison:
    """`witness` minus `ground`, each a sum over targets, at the witness's reads.

    `connections_lag`: the ground counts a connection when it opens, the witness when it closes.
    `requests_lead`: the witness counts a request before the ground does.
    `behind`: by a sidecar's name, the part of the ground whose counts go through it.
    """

    witness: Sequence[Target]
    ground: Sequence[Target]
    events: Sequence[Event]
    allowed: Allowed
    lag_seconds: float
    connections_lag: bool = False
    requests_lead: bool = False
    tolerance: float = 0.0
    behind: Mapping[str, Target] = field(default_factory=dict)
    reads: list[Read] = field(init=False)

    def __post_init__(self) -> None:
        self.reads = []
        self._indices: list[tuple[list[int], list[int], list[int], list[int]]] = []
        for read in sorted({read for one in self.witness for read in one.reads}):
            lows = _all(one.last_by(read.until) for one in self.witness)
            highs = _all(one.first_from(read.at) for one in self.witness)
            floors = _all(one.last_by(read.at - self.lag_seconds) for one in self.ground)
            tops = _all(one.first_after(read.until, self.lag_seconds) for one in self.ground)
            if lows and highs and floors and tops:
                self.reads.append(read)
                self._indices.append((lows, highs, floors, tops))

    def rows(self, *measures: str) -> list[Row]:
        both = (*self.witness, *self.ground)
        return sorted({row for one in both for row in one.totals if row.measure in measures})

    def witnessed(self, row: Row) -> int:
        """Return the witness's total at its last comparable read."""
        if not self.reads:
            return 0
        return _total(self.witness, row, self._indices[-1][0])

    def grounded(self, row: Row) -> int:
        """Return the ground's total at the first reads behind the last comparable one."""
        return _total(self.ground, row, self._indices[-1][3]) if self.reads else 0

    @property
    def apart_seconds(self) -> float:
        """How long before those of `grounded` the reads of `witnessed` were begun."""
        last = zip(self.ground, self._indices[-1][3], strict=True)
        return max(one.reads[index].until for one, index in last) - self.reads[-1].at

    def uncompared(self, book: str, whose: str, edge_seconds: float) -> Iterable[Uncompared]:
        """Yield what either side counted long before the first comparable read or behind the last.

        It is as much as either knows for certain; books that both began at 0 have no before.
        """
        both = (*self.witness, *self.ground)
        made = {row for one in self.ground for row in one.totals}
        rows = [
            r for r in self.rows(COUNTS) if r.what != ALL and (r.vendor != UNKNOWN or r in made)
        ]

        def counts(side: Sequence[Target], indices: Sequence[int]) -> int:
            return sum(_total(side, row, indices) for row in rows)

        begun = min(one.reads[0].at for one in both)
        first, last = self.reads[0], self.reads[-1]
        if not self._begin_at_zero and first.at - begun > edge_seconds:
            lows, _, floors, _ = self._indices[0]
            known = max(counts(self.witness, lows), counts(self.ground, floors))
            yield Uncompared(book, f"{whose}, {clock(begun)} to {clock(first.at)}", known)
        ended = max(one.reads[-1].until for one in both)
        if ended - last.until > edge_seconds:
            _, highs, _, tops = self._indices[-1]
            known = max(
                counts(side, [len(one.reads) - 1 for one in side]) - counts(side, indices)
                for side, indices in ((self.witness, highs), (self.ground, tops))
            )
            yield Uncompared(book, f"{whose}, {clock(last.until)} to {clock(ended)}", known)

    @property
    def _begin_at_zero(self) -> bool:
        return all(one.from_zero for one in (*self.witness, *self.ground))

    def course(self, row: Row) -> Course:
        gaps = self._gaps(row)
        points = []
        blocked = iter(gaps)
        gap = next(blocked, None)
        for read, indices in zip(self.reads, self._indices, strict=True):
            while gap is not None and read.at >= gap.before:
                gap = next(blocked, None)
            if gap is None or read.until <= gap.after:
                points.append(Point(read.at, self._bounds(row, *indices)))
        return follow(points, gaps, NOTHING if self._begin_at_zero else ANYTHING)

    def _bounds(
        self, row: Row, lows: list[int], highs: list[int], floors: list[int], tops: list[int]
    ) -> Bounds:
        low, high = _total(self.witness, row, lows), _total(self.witness, row, highs)
        floor, top = _total(self.ground, row, floors), _total(self.ground, row, tops)
        if row.measure == COUNTS:
            if row.visibility == "opaque":
                floor -= self.connections_lag * _under_way(self.ground, floors)
            else:
                top += self.requests_lead * _under_way(self.ground, tops)
        play = self.tolerance * max(high, top)
        return Bounds(low - top - play, high - floor + play)

    def _gaps(self, row: Row) -> list[Gap]:
        """Return the gaps of a row; those that overlap, as one."""
        found: list[Gap] = []
        for number, event in enumerate(self.events):
            by = self.allowed(event, row, self._increases(event))
            if by == NOTHING:
                continue
            after, before = event.after - self.lag_seconds, event.before + self.lag_seconds
            gap = Gap(after, before, by, ((number, by),))
            if found and after < found[-1].before:
                last = found.pop()
                gap = Gap(
                    last.after,
                    max(last.before, before),
                    Bounds(last.by.low + by.low, last.by.high + by.high),
                    (*last.shares, *gap.shares),
                )
            found.append(gap)
        return found

    def _increases(self, event: Event) -> _Increases:
        after, before = event.after - self.lag_seconds, event.before + self.lag_seconds

        def increase(targets: Sequence[Target], row: Row) -> float:
            found = 0.0
            for one in targets:
                first, last = one.last_by(after), one.first_from(before)
                if first is None or last is None:
                    return math.inf
                found += one.total(row, last) - one.total(row, first)
                if row.measure == COUNTS and row.visibility == "opaque":
                    found += one.under_way(first)
            return found

        ground = self.ground
        if event.kind == SIDECAR and event.name in self.behind:
            ground = [self.behind[event.name]]
        return _Increases(
            ground=lambda row: increase(ground, row),
            witness=lambda row: increase(self.witness, row),
            under_way=sum(one.under_way(one.last_by(after) or 0) for one in self.ground),
        )


def _all(indices: Iterable[int | None]) -> list[int]:
    """Return the indices, none if one of them is not known."""
    found: list[int] = []
    for index in indices:
        if index is None:
            return []
        found.append(index)
    return found


def _total(targets: Sequence[Target], row: Row, indices: Sequence[int]) -> int:
    return sum(one.total(row, index) for one, index in zip(targets, indices, strict=True))


def _under_way(targets: Sequence[Target], indices: Sequence[int]) -> int:
    return sum(one.under_way(index) for one, index in zip(targets, indices, strict=True))


def _with_sums(one: Target, without: frozenset[str]) -> Target:
    """Add a row for each vendor and visibility: counts that moved between rows still add up."""
    sums: dict[Row, list[int]] = {}
    for row, values in one.totals.items():
        if row.measure == COUNTS and row.visibility != "opaque" and row.what not in without:
            key = row._replace(what=ALL)
            known = sums.get(key)
            sums[key] = [a + b for a, b in zip(known, values, strict=True)] if known else [*values]
    return replace(one, totals={**one.totals, **sums})


def _events(parties: Parties) -> list[Event]:
    found = [
        event
        for pair in parties.pairs
        for kind, one in ((SIDECAR, pair.sidecar), (GENERATOR, pair.generator))
        for event in _ends_of(kind, one)
    ]
    found += [event for one in parties.vendors for event in _ends_of(VENDOR, one)]
    return sorted(found, key=lambda event: (event.after, event.before))


def _ends_of(kind: str, one: Target) -> Iterable[Event]:
    for what, indices in ((RESTARTED, one.restarts), (AWAY, one.absences)):
        for index in indices:
            yield Event(kind, one.name, one.reads[index - 1].at, one.reads[index].until, what)
    if one.ended and one.reads:
        last = one.reads[-1]
        yield Event(kind, one.name, last.at, last.until + ENDED_GRACE_SECONDS, ENDED)


# --- findings -------------------------------------------------------------------------------


def _shared_out(move: Move, gap: Gap, book: str, events: Sequence[Event]) -> list[Part]:
    """Name the events of a gap that a move may be put down to, each up to what it allows."""
    left, found = move.amount, []
    for number, by in gap.shares:
        amount = int(by.nearest(left))
        if amount:
            at_most = by.high if left > 0 else -by.low
            found.append(
                Part(events[number], book, amount, -1 if math.isinf(at_most) else int(at_most))
            )
            left -= amount
    return found


def _is_shown(line: Line) -> bool:
    return bool(line.generator or line.mesh or line.vendor_books or line.unexplained)


def _sum_findings(lines: dict[Row, Line]) -> list[str]:
    """Name vendors whose rows each pass, but do not add up."""
    told: Counter[tuple[str, str]] = Counter()
    for row, line in lines.items():
        if row.what != ALL:
            told[row.vendor, row.visibility] += line.unexplained
    return [
        f"{row.vendor} {row.visibility}: its rows do not add up, {line.unexplained} unexplained "
        f"({', '.join(surprise(*one) for one in line.surprises)})"
        for row, line in sorted(lines.items())
        if row.what == ALL and line.unexplained and not told[row.vendor, row.visibility]
    ]


def _name_causes(lines: Sequence[Line]) -> None:
    """Say where an unexplained difference has its other half, if one place fits, or when it was."""
    net: defaultdict[Row, int] = defaultdict(int)
    for line in lines:
        for book, move in line.surprises:
            net[line.row] += move.amount if book == "mesh" else 0
    halves = _halves(net)
    for line in lines:
        if line.unexplained:
            line.cause = _half(line.row, net, halves) or "; ".join(
                surprise(*one) for one in line.surprises[:3]
            )
        elif line.parts:
            line.cause = "; ".join(dict.fromkeys(part.event.says() for part in line.parts))


def _half(row: Row, net: Mapping[Row, int], halves: Mapping[Row, str]) -> str | None:
    own = net.get(row, 0)
    if not own:
        return None
    if row.measure == COUNTS and row.vendor != UNKNOWN and (late := _late(row, own, net)):
        return late
    nowhere = "never seen by Envoy" if own < 0 else "not of the generator's making"
    return halves.get(row, nowhere)


def _halves(net: Mapping[Row, int]) -> dict[Row, str]:
    """Match rows that lack counts with rows that have too many, the largest first.

    Each count once: what one row had too many is not every other's loss.
    """
    found: dict[Row, str] = {}
    left = {row: amount for row, amount in net.items() if amount}
    for row in sorted(left, key=lambda row: (-abs(left[row]), row)):
        other = _other_half(row, left)
        if other is None:
            continue
        what, others = (
            (row.what, other.what) if row[:3] == other[:3] else (row.vendor, other.vendor)
        )
        is_less = left[row] < 0
        found.setdefault(row, f"counted as {others}" if is_less else f"from {others}")
        found.setdefault(other, f"from {what}" if is_less else f"counted as {what}")
        matched = min(abs(left[row]), abs(left[other])) * (-1 if is_less else 1)
        left[row] -= matched
        left[other] += matched
    return found


def _other_half(row: Row, left: Mapping[Row, int]) -> Row | None:
    """Return where the most of a row's counts may be: another outcome's row, or else vendor's."""
    opposite = sorted(
        (other for other in left if left[other] * left[row] < 0),
        key=lambda other: (-abs(left[other]), other),
    )
    of_vendor = (other for other in opposite if other[:3] == row[:3])
    elsewhere = (o for o in opposite if (o.visibility, o.what) == (row.visibility, row.what))
    return next(of_vendor, None) or next(elsewhere, None)


def _late(row: Row, own: int, net: Mapping[Row, int]) -> str | None:
    """Name the one way from a visible row to an opaque one: Envoy looks at first bytes for 1 s."""
    clear = sum(
        value
        for other, value in net.items()
        if other.vendor == row.vendor and other.visibility in ("http", "tunnel")
    )
    opaque = net.get(Row(COUNTS, row.vendor, "opaque", CONNECTION), 0)
    if clear < 0 < opaque and row.visibility == "opaque":
        return "from http or tunnel: first bytes came later than Envoy waits for them"
    if clear < 0 < opaque and own < 0:
        return "seen as opaque: first bytes came later than Envoy waits for them"
    return None


def surprise(book: str, move: Move) -> str:
    """Return when books parted, and by how much."""
    name = {"mesh": "mesh", "vendor_books": "vendors"}[book]
    span = clock(move.before)
    if move.before - move.after > 1:
        span = f"{clock(move.after)} to {span}"
    return f"{name} {move.amount:+d} at {span}"


def clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S.%f")[:-5]
