from __future__ import annotations

from pathlib import Path

import pytest

from tools.find import find


@pytest.fixture(scope="session")
def promtool() -> Path:
    return find("promtool")
