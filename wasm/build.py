"""Build wasm/passive.wasm and its sha256: the same bytes on every machine, from any folder.

    python -m wasm.build --out FOLDER

writes there, and without `--out` in place of the committed module.

Debian 12's packages are the pinned toolchain: rustc 1.63, its standard library for wasm32, lld and
binaryen's wasm-opt. Exit code 2: it cannot be built here; the last line says why.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
MODULE = "passive.wasm"

RUSTC = "/usr/bin/rustc"
"""By its path: a newer compiler of rustup's, first on PATH, would build other bytes."""
WASM_OPT = "/usr/bin/wasm-opt"
VERSIONS = {RUSTC: "rustc 1.63.0", WASM_OPT: "wasm-opt version 108"}
PACKAGES = {
    RUSTC: "rustc",
    "/usr/lib/rustlib/wasm32-unknown-unknown/lib": "libstd-rust-dev-wasm32",
    "/usr/bin/rust-lld": "lld",
    WASM_OPT: "binaryen",
}
"""Path -> the Debian package that has it."""

MAX_BYTES = 70_000
"""istiod sends the module inside a resource, as base64, to every sidecar."""

FLAGS = (
    *("--edition", "2021", "--target", "wasm32-unknown-unknown"),
    *("-C", "opt-level=s", "-C", "panic=abort", "-C", "codegen-units=1", "-C", "lto=fat"),
)


class BuildError(Exception):
    """The module cannot be built; the text says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE)
    folder = parser.parse_args(arguments).out
    try:
        module = build()
    except BuildError as error:
        print(f"wasm: {error}", file=sys.stderr)
        return 2
    digest = hashlib.sha256(module).hexdigest()
    (folder / MODULE).write_bytes(module)
    (folder / f"{MODULE}.sha256").write_text(f"{digest}  {MODULE}\n", encoding="ascii")
    print(f"{folder / MODULE}: {len(module)} bytes, sha256 {digest}")
    return 0


def build(*, optimise: bool = True) -> bytes:
    """Return the module. Without `optimise` it keeps the names of its functions.

    Raises:
        BuildError: the toolchain is another one, or the sources do not compile.
    """
    _check_toolchain()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common = (RUSTC, *FLAGS, "--remap-path-prefix", f"{HERE}=wasm", "--out-dir", name)
        parser = HERE / "parser" / "src" / "lib.rs"
        _run(*common, "--crate-type", "rlib", "--crate-name", "passive_parser", str(parser))
        filter_ = HERE / "filter" / "src" / "lib.rs"
        names = "symbols" if optimise else "none"
        library = folder / "libpassive_parser.rlib"
        _run(
            *(*common, "--crate-type", "cdylib", "--crate-name", "passive"),
            *("-C", f"strip={names}", "--extern", f"passive_parser={library}", str(filter_)),
        )
        built = folder / "passive.wasm"
        if optimise:
            optimised = folder / "optimised.wasm"
            _run(WASM_OPT, "-O3", "--strip-producers", str(built), "-o", str(optimised))
            built = optimised
        return built.read_bytes()


def _check_toolchain() -> None:
    missing = [package for path, package in PACKAGES.items() if not Path(path).exists()]
    if missing:
        raise BuildError(
            f"{', '.join(missing)} not installed; on Debian 12, run"
            f" `apt-get install {' '.join(PACKAGES.values())}` as root"
        )
    for program, version in VERSIONS.items():
        found = _run(program, "--version").strip()
        if not found.startswith(version):
            raise BuildError(
                f"{program} is {found}; the module is built with {version} (Debian 12)"
            )


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
