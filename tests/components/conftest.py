from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def promtool() -> Path:
    from tools.find import find  # at use: the other tests need no binary

    return find("promtool")
