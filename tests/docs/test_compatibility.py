"""docs/compatibility.md holds what the mesh tests recorded."""

from __future__ import annotations

from tests.mesh.compatibility import COUNTED, PAGE, SECTIONS, page, recorded
from tests.mesh.test_fail_open import VARIANTS
from tests.mesh.versions import PAIRS


def test_the_page_is_what_was_recorded() -> None:
    """A figure on the page was measured, and the page leaves out no recorded test."""
    results = recorded()
    assert set(results) == {pair.name for pair in PAIRS}
    assert PAGE.read_text(encoding="utf-8") == page(results)
    recorded_tests = {test for result in results.values() for test in result if test != COUNTED}
    assert recorded_tests == set(SECTIONS)


def test_every_patch_that_may_be_missing_is_a_row() -> None:
    """A case that was added and never recorded is missing on the page."""
    for result in recorded().values():
        rows = result["test_a_patch_that_does_not_arrive"]
        assert {row.removesuffix(", fails") for row in rows} == set(VARIANTS)
