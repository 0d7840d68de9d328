"""docs/compatibility.md holds what the mesh tests recorded."""

from __future__ import annotations

from tests.mesh.compatibility import COUNTED, PAGE, SECTIONS, page, recorded
from tests.mesh.versions import PAIRS


def test_the_page_is_what_was_recorded() -> None:
    """A figure on the page was measured, and the page leaves out no recorded test."""
    results = recorded()
    assert set(results) == {pair.name for pair in PAIRS}
    assert PAGE.read_text(encoding="utf-8") == page(results)
    recorded_tests = {test for result in results.values() for test in result if test != COUNTED}
    assert recorded_tests == set(SECTIONS)
