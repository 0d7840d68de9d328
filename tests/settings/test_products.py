"""Which user buys which product: the function that Lua and the passive module are compared with."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies

from settings.products import MAX_USER_BYTES, Product, product_of, unused

patterns = strategies.text(alphabet="ab-*", min_size=1, max_size=7)
users = strategies.text(alphabet="ab-", max_size=9)


def products(*patterns: str) -> tuple[Product, ...]:
    return tuple(Product(user=user, name=f"p{i}") for i, user in enumerate(patterns))


@pytest.mark.parametrize(
    ("user", "product"),
    [
        ("brd-customer-hl_1-zone-resi_1-session-9", "residential"),
        ("-zone-resi", "residential"),
        ("BRD-ZONE-RESI", ""),
        ("dc", "datacenter"),
        ("dc2", ""),
        ("", ""),
        ("é\0\n-zone-resi", "residential"),
        ("-zone-resi".rjust(MAX_USER_BYTES, "x"), "residential"),
        ("-zone-resi".rjust(MAX_USER_BYTES + 1, "x"), ""),
    ],
)
def test_the_whole_name_counts_in_its_case(user, product):
    stack = (
        Product(user="*-zone-resi*", name="residential"),
        Product(user="dc", name="datacenter"),
        Product(user="*-zone-resi-us*", name="never"),
    )
    assert product_of(stack, user) == product


@given(listed=strategies.lists(patterns, min_size=1, max_size=4), user=users)
def test_the_first_pattern_that_fits_wins(listed, user):
    """As a regular expression says it, with `.*` for each star."""
    fitting = [
        f"p{i}"
        for i, pattern in enumerate(listed)
        if re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), user)
    ]
    assert product_of(products(*listed), user) == (fitting[0] if fitting else "")


@settings(max_examples=300)
@given(wider=patterns, narrower=patterns, asked=strategies.lists(users, max_size=30))
def test_what_is_refused_never_applies_and_nothing_else_is(wider, narrower, asked):
    """A pattern is refused if the one before takes all of its users: a user of it shows it."""
    problems = list(unused(products(wider, narrower)))
    own = [narrower.replace("*", text) for text in ("", "#", "a", "ab-", "b-a")]
    taken = [product_of(products(wider, narrower), user) for user in [*asked, *own]]
    if problems:
        assert "p1" not in taken
    else:
        assert "p1" in taken
