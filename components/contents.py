"""The files of this repository that travel inside ConfigMaps, read once by the program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
PROFILES = "simulation/profiles/*.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramFiles:
    """A program of `simulation/` for a ConfigMap, whose keys have no '/'.

    `data` holds the texts by key, `items` the path of each key below the volume's mount. With the
    mount as working directory `python -m simulation.<program>` starts it.
    """

    data: dict[str, str]
    items: dict[str, str]


def program_files(program: Literal["crawler", "proxy"]) -> ProgramFiles:
    """Return what `python -m simulation.<program>` needs, its profiles among it."""
    patterns = ["simulation/*.py", f"simulation/{program}/*.py", f"simulation/{program}/*.pem"]
    if program == "crawler":
        patterns.append(PROFILES)
    paths = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    items = {_key(path): path.relative_to(ROOT).as_posix() for path in paths}
    return ProgramFiles(
        data={key: (ROOT / path).read_text(encoding="utf-8") for key, path in items.items()},
        items=items,
    )


def _key(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parts)
