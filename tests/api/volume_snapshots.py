"""The CRDs of VolumeSnapshots, from the Go module that publishes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.programs import run_to_end

MODULE = "github.com/kubernetes-csi/external-snapshotter/client/v8@v8.7.0"
SUM = "h1:HVaSUeRRHPu49aSiL8eXOjS9Re9G6pM0NzdTGI7mM14="
KINDS = ("volumesnapshots", "volumesnapshotclasses", "volumesnapshotcontents")


def crds() -> list[Any]:
    """Download the module, which is small and has no program, and read its CRDs."""
    # Outside of any module.
    done = run_to_end("go", "mod", "download", "-json", MODULE, cwd="/")
    module = json.loads(done.stdout)
    assert module["Sum"] == SUM
    folder = Path(module["Dir"]) / "config" / "crd"
    files = [folder / f"snapshot.storage.k8s.io_{kind}.yaml" for kind in KINDS]
    return [yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader) for file in files]
