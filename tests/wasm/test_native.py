"""The module's sources as programs of this machine: their Rust tests, and fuzzing."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.wasm.rust import Program, compiler

FUZZED = int(os.environ.get("FUZZED", "1000000"))
"""Exchanges. A million take 20 s; by hand, set more: `FUZZED=20000000 make test SUITE=wasm`."""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return compiler(tmp_path_factory.mktemp("native"))


@pytest.mark.parametrize("name", ["config", "exchanges"])
def test_rust_tests_pass(compiled: Program, name: str) -> None:
    subprocess.run([compiled(f"parser/tests/{name}.rs", "--test"), "--quiet"], check=True)


def test_counts_do_not_depend_on_where_bytes_are_cut(compiled: Program) -> None:
    """Generated exchanges are counted as their maker says; damaged ones break no bound."""
    subprocess.run([compiled("parser/tests/fuzz.rs"), str(FUZZED)], check=True)


def test_hostile_input_costs_little(compiled: Program) -> None:
    subprocess.run([compiled("parser/tests/hostile.rs")], check=True)


def test_hooks_in_any_order_lose_no_memory(compiled: Program) -> None:
    """Nothing panics, also where Envoy would call what it should not."""
    subprocess.run([compiled("filter/tests/hooks.rs"), "5000000"], check=True)
