"""The parser of `inspect: passive`, as a program of this machine: its Rust tests, and fuzzing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from wasm.build import HERE, RUSTC

PARSER = HERE / "parser"

FUZZED = int(os.environ.get("FUZZED", "1000000"))
"""Exchanges. A million take 20 s; by hand, set more: `FUZZED=20000000 make test SUITE=wasm`."""

Program = Callable[..., Path]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Compiles a program of wasm/parser/tests. Overflows and wrong slices panic in it."""
    folder = tmp_path_factory.mktemp("parser")
    common = [RUSTC, "--edition", "2021", "-D", "warnings", "-O", "-C", "debug-assertions=on"]
    common += ["--out-dir", str(folder), "-L", str(folder)]

    def compile_(name: str, *options: str) -> Path:
        source = PARSER / "tests" / f"{name}.rs"
        subprocess.run([*common, "--extern", "passive_parser", *options, str(source)], check=True)
        return folder / name

    library = ["--crate-type", "rlib", "--crate-name", "passive_parser"]
    subprocess.run([*common, *library, str(PARSER / "src" / "lib.rs")], check=True)
    return compile_


@pytest.mark.parametrize("name", ["config", "exchanges"])
def test_rust_tests_pass(compiled: Program, name: str) -> None:
    subprocess.run([compiled(name, "--test"), "--quiet"], check=True)


def test_counts_do_not_depend_on_where_bytes_are_cut(compiled: Program) -> None:
    """Generated exchanges are counted as their maker says; damaged ones break no bound."""
    subprocess.run([compiled("fuzz"), str(FUZZED)], check=True)


def test_hostile_input_costs_little(compiled: Program) -> None:
    subprocess.run([compiled("hostile")], check=True)
