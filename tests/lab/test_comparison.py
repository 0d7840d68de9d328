"""Three sets of books, compared without running anything."""

from __future__ import annotations

import pytest

from lab.comparison import CONNECTION, Books, compare, exact_counts, mesh_books

A_OK = ("vendor-a", "http", "success")
A_LIMITED = ("vendor-a", "http", "rate_limited")
B_OK = ("vendor-b", "http", "success")
A_REFUSED = ("vendor-a", "http", "connect_failed")


def books(counts):
    return Books(counts=counts, opaque_bytes={}, outside_connections=0)


def rows(generator, mesh, vendors=None):
    witness = generator if vendors is None else vendors
    return compare(books(generator), books(witness), books(mesh))


def test_equal_books_have_no_difference_and_no_cause():
    """Silence means agreement."""
    found = rows({A_OK: 5, B_OK: 7}, {A_OK: 5, B_OK: 7})
    assert [(row.difference, row.cause) for row in found] == [(0, None), (0, None)]
    assert exact_counts(found) == (12, 12)


@pytest.mark.parametrize(
    ("mesh", "causes"),
    [
        ({A_OK: 3, B_OK: 4, A_LIMITED: 2}, ["from success", "counted as rate_limited", None]),
        ({A_OK: 5, B_OK: 4}, [None, None]),
        ({B_OK: 9}, ["counted as vendor-b", "from vendor-a"]),
        ({A_OK: 4, B_OK: 4}, ["never seen by Envoy", None]),
        ({A_OK: 6, B_OK: 4}, ["not of the generator's making", None]),
    ],
)
def test_a_difference_names_its_other_half(mesh, causes):
    """Where the missing counts went is said, if one place explains it."""
    assert [row.cause for row in rows({A_OK: 5, B_OK: 4}, mesh)] == causes


def test_a_surplus_is_not_exact_although_nothing_is_missing():
    """Counting twice is as wrong as not counting."""
    (row,) = rows({A_OK: 5}, {A_OK: 6})
    assert row.difference == 1


def test_a_vendor_cannot_know_of_connections_that_failed():
    """There its column is empty, and not compared."""
    (row,) = rows({A_REFUSED: 5}, {A_REFUSED: 5}, vendors={})
    assert row.vendor_books is None
    assert exact_counts([row]) == (5, 5)
    assert row.as_json() == {
        "vendor": "vendor-a",
        "visibility": "http",
        "outcome": "connect_failed",
        "generator": 5,
        "vendor_books": None,
        "mesh": 5,
        "difference": 0,
        "cause": None,
    }


def test_the_vendors_own_books_are_a_witness():
    """What only the vendor disagrees on is not exact either."""
    (row,) = rows({A_OK: 5}, {A_OK: 5}, vendors={A_OK: 4})
    assert row.vendor_difference == -1
    assert exact_counts([row]) == (4, 5)


def test_bytes_are_named_from_the_crawlers_side():
    """Istio's `received` is what the sidecar received from the crawler: what it sent."""
    of_a = {"proxy_vendor": "vendor-a"}
    found = mesh_books(
        requests=[],
        connections=[{"metric": of_a, "value": [0, "3"]}],
        sent=[{"metric": of_a, "value": [0, "70"]}],
        received=[{"metric": of_a, "value": [0, "10"]}],
        passthrough=[{"metric": {}, "value": [0, "2"]}],
        wire_sent=[{"metric": of_a, "value": [0, "12"]}],
        wire_received=[{"metric": of_a, "value": [0, "75"]}],
    )
    assert found.counts == {("vendor-a", "opaque", CONNECTION): 3}
    assert found.opaque_bytes == {("vendor-a", "sent"): 10, ("vendor-a", "received"): 70}
    assert found.outside_connections == 2
