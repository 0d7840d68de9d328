"""Names of backups, and which of them are deleted."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable


class BackupError(Exception):
    """The backup, or its restoration, failed; the text is one line."""


def new_name() -> str:
    """Name a backup after the moment in UTC: "20261130-030012". Names sort by age."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime())


def is_name(text: str) -> bool:
    return re.fullmatch(r"[0-9]{8}-[0-9]{6}", text) is not None


def outdated(found: Iterable[str], complete: Iterable[str], keep: int) -> list[str]:
    """Return the backups to delete: all but the newest `keep` complete ones.

    An incomplete one newer than these stays: it may be somebody else's in the making.
    """
    kept = sorted(complete)[-keep:]
    return [name for name in sorted(found) if kept and name < kept[-1] and name not in kept]
