"""Build wasm/passive.wasm and its sha256: the same bytes on every machine, from any folder.

    python -m wasm.build --out FOLDER

writes there, and without `--out` in place of the committed module. Debian 12's packages are the
pinned toolchain. Exit code 2: it cannot be built here; the last line says why.
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
MODULE = HERE / "passive.wasm"
DIGEST = HERE / "passive.wasm.sha256"

RUSTC = "/usr/bin/rustc"
"""By its path: a newer compiler, first on PATH, would build other bytes."""
WASM_OPT = "/usr/bin/wasm-opt"
VERSIONS = {RUSTC: "rustc 1.63.0", WASM_OPT: "wasm-opt version 108"}
PACKAGES = {
    RUSTC: "rustc",
    "/usr/lib/rustlib/wasm32-unknown-unknown/lib": "libstd-rust-dev-wasm32",
    "/usr/bin/lld-14": "lld",
    WASM_OPT: "binaryen",
}
"""Path -> the Debian package that has it."""

MAX_BYTES = 70_000
"""istiod sends the module as base64 to every sidecar."""

# Size before speed: with opt-level 3 the module is 80 kB and a request costs the same.
FLAGS = (
    *("--edition", "2021", "--target", "wasm32-unknown-unknown", "-D", "warnings"),
    *("-C", "opt-level=s", "-C", "panic=abort", "-C", "codegen-units=1", "-C", "lto=fat"),
)


class BuildError(Exception):
    """The module cannot be built; the text says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make wasm", description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE)
    folder = parser.parse_args(arguments).out
    try:
        module = build()
    except BuildError as error:
        print(f"wasm: {error}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODULE.name).write_bytes(module)
    (folder / DIGEST.name).write_text(f"{digest(module)}  {MODULE.name}\n", encoding="ascii")
    print(f"{folder / MODULE.name}: {len(module)} bytes, sha256 {digest(module)}")
    return 0


def digest(module: bytes) -> str:
    return hashlib.sha256(module).hexdigest()


def why_not() -> str | None:
    """Return why this machine cannot build the module, or None if it can."""
    missing = [package for path, package in PACKAGES.items() if not Path(path).exists()]
    if missing:
        return f"on Debian 12, run `apt-get install {' '.join(missing)}` as root"
    for program, version in VERSIONS.items():
        found = _run(program, "--version").strip()
        if not found.startswith(version):
            return f"{program} is {found}; wanted is {version}, which Debian 12 has"
    return None


def build(sources: Path = HERE, *, optimise: bool = True) -> bytes:
    """Return the module. Without `optimise` it keeps the names of its functions.

    Raises:
        BuildError: the toolchain is another one, or the sources do not compile.
    """
    if reason := why_not():
        raise BuildError(reason)
    with tempfile.TemporaryDirectory() as folder:
        common = (RUSTC, *FLAGS, "--remap-path-prefix", f"{sources}=wasm", "--out-dir", folder)
        parser, filter_ = (sources / part / "src" / "lib.rs" for part in ("parser", "filter"))
        _run(*common, "--crate-type", "rlib", "--crate-name", "passive_parser", str(parser))
        strip = "symbols" if optimise else "none"
        _run(
            *(*common, "--crate-type", "cdylib", "--crate-name", "passive"),
            *("-C", f"strip={strip}", "-L", folder, "--extern", "passive_parser", str(filter_)),
        )
        module = Path(folder, "passive.wasm")
        if optimise:
            _run(WASM_OPT, "-O3", "--strip-producers", str(module), "-o", str(module))
        return module.read_bytes()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
