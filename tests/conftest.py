"""What holds for tests of every level."""

from __future__ import annotations

import hypothesis
import pytest

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have `long` files first: a worker that began one last would keep the others waiting."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
