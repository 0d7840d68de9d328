"""Settings for the tests of every suite."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from tools.find import find

# A deadline for each example would fail tests on a busy machine.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start `long` files first: started last, one would keep the other workers waiting."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def promtool() -> Path:
    return find("promtool")
