"""A Prometheus of a test's own, with whatever configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab import loopback
from lab.processes import Children
from lab.system import wait_until_ready
from tools.find import find


def start_prometheus(
    family: Children, folder: Path, config: dict[str, Any], port: int, name: str = "prometheus"
) -> str:
    """Run it on loopback until the family ends; return its address once it is ready."""
    file = folder / f"{name}.yml"
    file.write_text(json.dumps(config), encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    family.start(
        name,
        [
            *(str(find("prometheus")), f"--config.file={file}"),
            *(f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / name}"),
            *("--log.level=warn", "--scrape.discovery-reload-interval=100ms"),
        ],
        log=folder / f"{name}.log",
        environment={"POD_NAME": name},
    )
    wait_until_ready(family, name, f"{url}/-/ready")
    return url


def value(url: str, expression: str) -> float | None:
    """Return the one value of an expression, None if there is none."""
    found = loopback.query(url, expression)
    if not found:
        return None
    (one,) = found
    return float(one["value"][1])
