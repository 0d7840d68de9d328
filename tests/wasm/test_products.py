"""The product that the module's parser finds for a user is the one that the stack file says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings, strategies

from components.attribution.dry_run import basic
from components.attribution.passive import module_configuration
from settings.products import Product, product_of
from settings.vendors import Vendor
from tests.lua.test_products import encoded, user_of
from tests.programs import run_to_end
from tests.wasm.rust import compiler

Reader = Callable[[Sequence[Product], Sequence[str]], list[str]]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    program = compiler(tmp_path_factory.mktemp("native"))("parser/tests/products.rs")

    def read_all(products: Sequence[Product], values: Sequence[str]) -> list[str]:
        vendor = Vendor(name="v", cidrs=("10.1.0.0/16",), inspect="passive")
        vendor = vendor.model_copy(update={"products": tuple(products)})
        lines = "".join(f"{value.encode('latin-1').hex()}\n" for value in values)
        configuration = module_configuration((vendor,), (), 10)
        return run_to_end(program, configuration, input=lines).stdout.splitlines()

    return read_all


patterns = strategies.text(alphabet="ab*", min_size=1, max_size=6)
users = strategies.text(alphabet="ab", max_size=8)


@settings(max_examples=100, deadline=None)
@given(
    listed=strategies.lists(patterns, min_size=1, max_size=5),
    asked=strategies.lists(users, min_size=1, max_size=50),
)
def test_agrees_with_the_stack_on_every_user(read: Reader, listed: list[str], asked: list[str]):
    products = [Product(user=user, name=f"p{i}") for i, user in enumerate(listed)]
    expected = [product_of(products, user) for user in asked]
    assert read(products, [basic(user, "b*:") for user in asked]) == expected


texts = strategies.text(strategies.characters(max_codepoint=255), max_size=20)
values = strategies.one_of(
    texts,
    texts.map(lambda text: f"Basic {text}"),
    texts.map(lambda text: f"Basic {encoded(text)}"),
    texts.map(lambda text: f"bASIC\t {encoded(text + ':')}"),
    strategies.tuples(texts, texts).map(lambda parts: f"Basic {encoded(parts[0])}{parts[1]}"),
    strategies.tuples(texts, strategies.integers(0, 30)).map(
        lambda parts: f"Basic {encoded(parts[0] + ':')[: parts[1]]}"
    ),
    strategies.integers(250, 260).map(lambda length: basic("x" * length)),
)


@settings(max_examples=100, deadline=None)
@given(asked=strategies.lists(values, min_size=1, max_size=50))
def test_reads_base64_as_the_library_does(read: Reader, asked: list[str]):
    """Cut, damaged or whole: the same user name, or none."""
    products = [Product(user="*a*", name="with-a"), Product(user="*", name="any")]
    known = [user_of(value) for value in asked]
    expected = ["" if user is None else product_of(products, user) for user in known]
    assert read(products, asked) == expected
