"""Correct books are never accused, and one wrong count is always found."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from books.comparison import compare
from books.reading import books_from_series
from tests.books.history import OFFSETS, START, History, history, play, row

SEEDS = st.integers(0, 2**32)


def unexplained(found):
    return [(row.key, row.unexplained_moves) for row in found.count_rows if row.unexplained]


@settings(max_examples=30, deadline=None)
@given(
    seed=SEEDS,
    downs=st.integers(0, 5),
    per_second=st.sampled_from([2, 15, 40]),
    exporters=st.sampled_from([("generator", "vendor"), ()]),
    from_zero=st.booleans(),
)
def test_correct_books_leave_nothing_unexplained(seed, downs, per_second, exporters, from_zero):
    """Whichever process dies when, alone or with others, scraped or not."""
    true = history(seed, downs=downs, per_second=per_second)
    assume(true.is_visible())
    found = true.compared(exporters=exporters, all_from_zero=from_zero)
    assert (unexplained(found), found.problems) == ([], [])
    assert found.counts > 0


def swapped(labels):
    other = {"vendor-a": "vendor-b", "vendor-b": "vendor-a"}
    return tuple((name, other.get(value, value)) for name, value in labels)


@settings(max_examples=30, deadline=None)
@given(
    seed=SEEDS,
    wrong=st.sampled_from(["lost", "doubled", "moved"]),
    process=st.sampled_from(sorted(OFFSETS)),
    killed=st.lists(st.sampled_from(["prometheus", *sorted(OFFSETS)]), min_size=2, max_size=2),
)
def test_one_wrong_count_is_found_whatever_died_in_quiet(seed, wrong, process, killed):
    """A gap excuses no more than the others counted in it, which is nothing here."""
    chance = random.Random(seed)
    downs = [(name, at, at + 2.0) for name, at in zip(killed, (20.0, 40.0), strict=True)]
    quiet = [(at - 7, at + 8) for _, at, _ in downs]
    true = play(History(downs=downs), chance, per_second=8, quiet=quiet)
    assume(true.is_visible())
    assert true.compared().unexplained == 0

    victim = chance.choice([one for one in true.bookings if one.process == process])
    false = replace(true, bookings=[one for one in true.bookings if one is not victim])
    if wrong == "doubled":
        false.bookings.append(replace(victim, amount=2))
    elif wrong == "moved":
        false.bookings.append(replace(victim, labels=swapped(victim.labels)))
    found = false.compared()
    # The generator's own mistake differs from both others.
    others = 2 if process == "generator" and "connect_failed" not in str(victim) else 1
    assert found.unexplained == others * (2 if wrong == "moved" else 1)
    assert any(key.vendor in str(victim.labels) for key, _ in unexplained(found))


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_without_a_gap_the_numbers_are_the_books_own(seed):
    """Nothing is estimated where nothing was lost."""
    true = play(History(), random.Random(seed), per_second=20)
    rows = true.compared().count_rows
    booked = dict.fromkeys(OFFSETS, 0)
    for one in true.bookings:
        booked[one.process] += 1
    assert [sum(row.books[n] or 0 for row in rows) for n in range(3)] == [
        booked[name] for name in ("generator", "vendor", "sidecar")
    ]


@pytest.mark.parametrize("process", sorted(OFFSETS))
def test_what_a_killed_process_forgot_is_explained_and_named(process):
    """It is at most what the others counted meanwhile."""
    found = play(
        History(downs=[(process, 30.35, 31.5)]), random.Random(7), per_second=60
    ).compared()
    assert found.unexplained == 0
    (event,) = found.events
    assert event.kind == process
    assert 30 <= found.explained_by(event) <= 60 * 5
    rows = [row for row in found.count_rows if row.parts]
    assert all(abs(part.amount) <= part.at_most for row in rows for part in row.parts)
    assert all(f"{process} {process} restarted between" in row.cause for row in rows)


@settings(max_examples=5, deadline=None)
@given(seeds=st.lists(SEEDS, min_size=3, max_size=3), downs=st.integers(0, 3))
def test_pods_of_a_cluster_are_compared_with_their_own_sidecar(seeds, downs):
    """Vendors know no pods: theirs are compared with all generators together."""

    def compared():
        answers = [each for n, one in enumerate(true) for each in one.answers_as(n)]
        return compare(books_from_series(answers, begun=START, all_from_zero=True))

    true = [history(seed, downs=downs, per_second=15) for seed in seeds]
    assume(all(one.is_visible() for one in true))
    true.append(play(History(), random.Random(seeds[0]), per_second=10))
    assert unexplained(compared()) == []

    # The last pod has no gap: no other pod's may excuse what it loses.
    seen = [one for one in true[-1].bookings if one.process == "sidecar"]
    true[-1].bookings.remove(seen[len(seen) // 2])
    found = compared()
    amounts = [row.unexplained for row in found.count_rows if row.unexplained]
    # As a vendor dies, a reset may be another's; the sum must still be right.
    assert amounts == [1] or (
        not amounts and "do not add up, 1 unexplained" in "".join(found.problems)
    )


def test_prometheus_away_loses_nothing_but_lengthens_the_gap_of_a_restart():
    """A counter goes on unread; what a sidecar counted until its end was never read."""
    away = ("prometheus", 20.0, 30.0)
    found = play(History(downs=[away]), random.Random(3), per_second=40).compared()
    assert (found.events, found.explained, found.unexplained) == ([], 0, 0)
    downs = [away, ("sidecar", 28.0, 28.5)]
    found = play(History(downs=downs), random.Random(3), per_second=40).compared()
    (event,) = found.events
    assert event.before - event.after > 10
    assert found.unexplained == 0
    assert found.explained_by(event) > 8 * 40 * 0.7


def test_the_first_count_of_a_generator_that_came_later_is_not_lost_unseen():
    """Its sidecar was scraped before it began, so both are known to be at 0 then."""
    true = play(History(downs=[("generator", 0.0, 10.0)]), random.Random(5), per_second=30)
    first = min((one for one in true.bookings if one.process == "sidecar"), key=lambda b: b.at)
    assert true.compared(all_from_zero=False).unexplained == 0
    true.bookings.remove(first)
    assert true.compared(all_from_zero=False).unexplained == 1


@pytest.mark.parametrize("visibility", ["tunnel", "socks"])
def test_a_tunnel_may_be_counted_as_soon_as_it_stands(visibility):
    """A passive sidecar counts it long before the generator does, and it is no difference."""
    true = play(History(), random.Random(4), per_second=20)
    for at in range(5, 45):
        true.in_flight.append((at, at + 6.0))
        for process, when in (("sidecar", at), ("vendor", at), ("generator", at + 6.0)):
            true.book(process, when, row(process, "vendor-a", visibility, "success"))
    found = true.compared()
    assert unexplained(found) == []
    true.bookings.remove(next(b for b in true.bookings if visibility in str(b.labels)))
    assert true.compared().unexplained


def test_a_steady_leak_is_found_in_the_middle_of_traffic():
    """The drift alone shows it, and less than was lost: scrapes leave some of it open."""
    true = play(History(), random.Random(5), per_second=60)
    lost = [one for one in true.bookings if one.process == "sidecar"][::50]
    true.bookings = [one for one in true.bookings if one not in lost]
    found = true.compared(all_from_zero=False)
    assert 0 < found.unexplained <= len(lost)
    assert {row.cause for row in found.count_rows if row.unexplained} == {"never seen by Envoy"}
