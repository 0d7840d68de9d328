"""The real program, run once per stack; variants from edited copies of a stack's file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from render.program import Run
from render.program import run_program as run
from settings import loading
from settings.loading import PROJECT, ROOT

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="session")
def run_program() -> Callable[[str], Run]:
    """Run `__main__.py` with a stack's shipped file."""
    return functools.cache(lambda stack: run(stack, shipped(stack)))


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, Edit], Path]:
    """Return the path of a copy of a stack's file, after `edit` changed its keys."""

    def copy(stack: str, edit: Edit) -> Path:
        document = yaml.safe_load(shipped(stack).read_text())
        keys = {key.removeprefix(f"{PROJECT}:"): value for key, value in document["config"].items()}
        edit(keys)
        path = tmp_path / f"Pulumi.{stack}.yaml"
        config = {f"{PROJECT}:{key}": value for key, value in keys.items()}
        path.write_text(yaml.safe_dump({"config": config}))
        return path

    return copy


@pytest.fixture
def in_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Edit]:
    """Return an edit that gives the first vendor its ranges in a file, as thousands must be."""

    def edit_of(ranges: list[str]) -> Edit:
        monkeypatch.setattr(loading, "ROOT", tmp_path)  # where the file is looked for
        (tmp_path / "ranges.txt").write_text("\n".join(ranges))

        def edit(keys: dict[str, Any]) -> None:
            del keys["vendors"][0]["cidrs"]
            keys["vendors"][0]["cidrsFile"] = "ranges.txt"

        return edit

    return edit_of


def shipped(stack: str) -> Path:
    return ROOT / f"Pulumi.{stack}.yaml"
