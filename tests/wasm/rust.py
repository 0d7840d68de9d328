"""Compiles the parser's test programs for this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from wasm.build import HERE, RUSTC

PARSER = HERE / "parser"

Program = Callable[..., Path]


def compiler(folder: Path) -> Program:
    """Return what compiles a program of wasm/parser/tests, by name, into this folder.

    Overflows and wrong slices panic in it; in the module they would not be noticed.
    """
    common = [RUSTC, "--edition", "2021", "-D", "warnings", "-O", "-C", "debug-assertions=on"]
    common += ["--out-dir", str(folder), "-L", str(folder)]
    library = ["--crate-type", "rlib", "--crate-name", "passive_parser"]
    subprocess.run([*common, *library, str(PARSER / "src" / "lib.rs")], check=True)

    def compile_(name: str, *options: str) -> Path:
        source = PARSER / "tests" / f"{name}.rs"
        subprocess.run([*common, "--extern", "passive_parser", *options, str(source)], check=True)
        return folder / name

    return compile_
