"""docs/compatibility.md says what ran, no less and no more."""

from __future__ import annotations

from tests.mesh.compatibility import COUNTED, PAGE, SECTIONS, page, recorded
from tests.mesh.versions import PAIRS


def test_the_page_is_what_was_recorded() -> None:
    """Nobody wrote a figure by hand, and no test was recorded that the page leaves out."""
    results = recorded()
    assert set(results) == {pair.name for pair in PAIRS}
    assert PAGE.read_text(encoding="utf-8") == page(results)
    told = {test for result in results.values() for test in result if test != COUNTED}
    assert told == set(SECTIONS)
