"""The user name that Lua reads of `Proxy-Authorization`, and the product that it finds for it."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings, strategies

from components.attribution.dry_run import basic
from settings.products import MAX_USER_BYTES, Product, product_of
from tests.lua.test_attribution import kib, pooled, script_of, vendor

ADDRESS = "10.1.0.1:3128"
SOLD = (
    Product(user="*-zone-resi*", name="residential"),
    Product(user="*-zone-dc", name="datacenter"),
    Product(user="acme-*-m*b", name="mobile"),
    Product(user="alone", name="sub-user"),
)
SCRIPT = script_of(vendor("10.1.0.0/16", products=SOLD))


def encoded(text: str) -> str:
    return b64encode(text.encode("latin-1")).decode()


def user_of(authorization: str) -> str | None:
    """Return the user name, with the base64 of Python's library: up to the first colon."""
    scheme, _, digits = authorization.replace("\t", " ").partition(" ")
    if scheme.lower() != "basic":
        return None
    digits = digits.lstrip(" ")
    for end in range(len(digits) + 1):
        # What is decoded as its digits come; behind the colon anything may stand.
        cut = digits[:end]
        try:
            known = b64decode(cut + "A" * (-len(cut) % 4), validate=True)[: end * 6 // 8]
        except ValueError:
            return None
        if b":" in known:
            return known.partition(b":")[0].decode("latin-1")
    return None


@pytest.mark.parametrize(
    ("authorization", "product"),
    [
        (basic("c-zone-resi-session-1"), "residential"),
        (basic("c-zone-dc"), "datacenter"),
        (basic("alone", "*-zone-resi*"), "sub-user"),
        (basic("acme-1-mob"), "mobile"),
        (basic("acme-1-mb"), "mobile"),
        (basic("acme--b"), None),
        (basic("c-ZONE-resi"), None),
        (basic(""), None),
        ("bAsIc   \t " + encoded("alone:x"), "sub-user"),
        ("Basic" + encoded("alone:x"), None),
        ("Bearer " + encoded("alone:x"), None),
        ("Basic " + encoded("alone:"), "sub-user"),
        ("Basic " + encoded("alone:").rstrip("="), "sub-user"),
        ("Basic " + encoded("alone:xx").rstrip("="), "sub-user"),
        ("Basic " + encoded("alone:xyz") + "!%&", "sub-user"),
        ("Basic " + encoded("alone:")[:-2] + "\xff", None),
        ("Basic " + encoded("alone"), None),
        ("Basic alone:x", None),
        ("Basic " + encoded("alone:x").replace("b", "-"), None),
        ("Basic " + encoded("-zone-resi".rjust(256, "x") + ":x"), "residential"),
        ("Basic " + encoded("-zone-resi".rjust(257, "x") + ":x"), None),
        ("Basic " + "A" * 1_000_000, None),
        ("Basic" + " " * 1_000_000, None),
        ("Basic " + encoded("\0\xff%-zone-resi:x"), "residential"),
        ("Basic", None),
        ("Basic ", None),
        ("", None),
        (None, None),
    ],
)
def test_the_user_name_names_the_product(authorization, product):
    """In any form that a client sends; what is no user name names none, and raises nothing."""
    seen = SCRIPT.request(ADDRESS, authorization=authorization)
    assert seen == ({"proxy_pool": product} if product else {})


texts = strategies.text(strategies.characters(max_codepoint=255), max_size=20)
patterns = strategies.text(alphabet="ab*", min_size=1, max_size=6)
users = strategies.text(alphabet="ab", max_size=8)


@settings(max_examples=200, deadline=None)
@given(listed=strategies.lists(patterns, min_size=1, max_size=5), asked=strategies.lists(users))
def test_agrees_with_the_stack_on_every_user(listed, asked):
    products = tuple(Product(user=user, name=f"p{i}") for i, user in enumerate(listed))
    # A copy, which may have patterns that the model refuses.
    script = script_of(vendor("10.1.0.0/16").model_copy(update={"products": products}))
    for user in asked:
        seen = script.request(ADDRESS, authorization=basic(user, "b*:"))
        assert seen.get("proxy_pool", "") == product_of(products, user), user


@settings(max_examples=500, deadline=None)
@given(
    authorization=strategies.one_of(
        texts,
        texts.map(lambda text: f"Basic {text}"),
        texts.map(lambda text: f"Basic {encoded(text)}"),
        strategies.tuples(texts, texts).map(lambda parts: f"Basic {encoded(parts[0])}{parts[1]}"),
        strategies.tuples(texts, strategies.integers(0, 30)).map(
            lambda parts: f"Basic {encoded(parts[0] + ':')[: parts[1]]}"
        ),
    )
)
def test_reads_base64_as_the_library_does(authorization):
    """Cut, damaged or whole: the same user name, or none; `*` tells whether there is one."""
    script = script_of(vendor("10.1.0.0/16", products=(Product(user="*", name="any"),)))
    is_read = script.request(ADDRESS, authorization=authorization) == {"proxy_pool": "any"}
    user = user_of(authorization)
    assert is_read == (user is not None and len(user) <= MAX_USER_BYTES)


def test_without_a_product_the_range_names_the_pool():
    """Products and pools stand side by side."""
    script = script_of(pooled("10.1.0.0/24", products=SOLD), vendor("10.2.0.0/24", name="vendor-b"))
    assert script.request(ADDRESS, authorization=basic("alone")) == {"proxy_pool": "sub-user"}
    assert script.request(ADDRESS, authorization=basic("nobody")) == {"proxy_pool": "isp"}
    assert script.request(ADDRESS) == {"proxy_pool": "isp"}
    assert script.request("10.2.0.1:3128", authorization=basic("alone")) == {}


def test_vendors_of_a_shared_range_sell_their_own():
    """The port tells the vendor, and only its patterns are looked at."""
    own = {3128: "vendor-a", 8080: "vendor-b", 9000: "vendor-c"}
    script = script_of(
        *(
            vendor(
                "10.6.0.0/24",
                name=name,
                ports=(port,),
                products=(Product(user="al*", name=f"of-{name}"),) if port != 9000 else (),
            )
            for port, name in own.items()
        )
    )
    said = [script.request(f"10.6.0.1:{port}", authorization=basic("alone")) for port in own]
    assert said == [{"proxy_pool": "of-vendor-a"}, {"proxy_pool": "of-vendor-b"}, {}]


def test_nothing_is_remembered_by_user():
    """20,000 sessions leave nothing behind once the collector ran, and no byte of the last one."""
    script = script_of(vendor("10.1.0.0/16", products=SOLD))
    before = kib(script)
    for number in range(20_000):
        script.request(ADDRESS, authorization=basic(f"c-zone-resi-session-{number}"))
    assert kib(script) - before < 100
