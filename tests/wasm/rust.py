"""Compiles the test programs of the parser and the filter for this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from wasm.build import HERE, RUSTC

Program = Callable[..., Path]


def compiler(folder: Path) -> Program:
    """Return what compiles a program, "parser/tests/fuzz.rs", into this folder.

    Overflows and wrong slices panic in it; in the module they would not be noticed.
    """
    common = [RUSTC, "--edition", "2021", "-D", "warnings", "-O", "-C", "debug-assertions=on"]
    common += ["--out-dir", str(folder), "-L", str(folder)]

    def compile_(name: str, *options: str) -> Path:
        subprocess.run([*common, *options, str(HERE / name)], check=True)
        return folder / Path(name).stem

    library = ("--crate-type", "rlib", "--crate-name")
    parser = ("--extern", "passive_parser")
    compile_("parser/src/lib.rs", *library, "passive_parser")

    def program(name: str, *options: str) -> Path:
        if not name.startswith("filter"):
            return compile_(name, *parser, *options)
        compile_("filter/src/lib.rs", *library, "passive", *parser)
        return compile_(name, *parser, "--extern", "passive", *options)

    return program
