"""Sidecars without Envoys: real xDS with a real pod's metadata, from `meshlab clients`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.mesh.kubelet import Pod
from tests.mesh.mesh import API_VERSIONS, CRAWLERS, Mesh

Json = dict[str, Any]

QUIET = "2s"
"""All have been sent all if nothing came for so long."""
BUSY_SECONDS = 180.0  # istiod pushes to all on a busy machine


def resources(mesh: Mesh, filters: Mapping[str, Json]) -> dict[str, Json]:
    """Return EnvoyFilters of these specs, and the stack's Sidecars, as `Mesh.up` takes them."""
    sidecars = {name: one for name, one in mesh.files.items() if one.get("kind") == "Sidecar"}
    return sidecars | {
        name: {
            "apiVersion": API_VERSIONS["EnvoyFilter"],
            "kind": "EnvoyFilter",
            "metadata": {"name": name, "namespace": CRAWLERS},
            "spec": spec,
        }
        for name, spec in filters.items()
    }


class Fleet:
    """A number of emulated sidecars, and what istiod sent them since `mark`."""

    def __init__(self, mesh: Mesh, like: Pod, count: int) -> None:
        self.count = count
        node = json.loads(like.get("/config_dump?mask=bootstrap"))["configs"][0]["bootstrap"][
            "node"
        ]
        command = [
            f"{mesh.folder}/bin/meshlab",
            "clients",
            "--istiod=127.0.0.1:15010",
            f"--count={count}",
            f"--namespace={CRAWLERS}",
            f"--metadata={json.dumps(node['metadata'])}",
        ]
        self._process = subprocess.Popen(
            mesh.world.command(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def mark(self) -> None:
        self._ask("mark")

    def report(self) -> Json:
        """Wait until all had something and nothing comes any more; return the sums."""
        return self._ask(f"report {QUIET}")

    def kb_each(self, sent: int) -> int:
        return round(sent / self.count / 1000)

    def _ask(self, command: str) -> Json:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(command, file=self._process.stdin, flush=True)
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def connected(mesh: Mesh, like: Pod, count: int) -> Iterator[Fleet]:
    """Run `count` sidecars like a pod's until the block ends."""
    fleet = Fleet(mesh, like, count)
    try:
        yield fleet
    finally:
        fleet.close()
