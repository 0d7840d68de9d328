"""Names of backups, and which of them are deleted."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

JOB_SECONDS = 3 * 3600
"""The longest that a job may run. One that hangs would keep the next ones from starting."""


class BackupError(Exception):
    """The backup, or its restoration, failed; the text is one line."""


def new_name(ago: float = 0.0) -> str:
    """Name a backup after the moment in UTC: "20261130-030012". Names sort by age.

    Args:
        ago: seconds before now.
    """
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime(time.time() - ago))


def is_name(text: str) -> bool:
    return re.fullmatch(r"[0-9]{8}-[0-9]{6}", text) is not None


def outdated(found: Iterable[str], complete: Iterable[str], keep: int, new: str) -> list[str]:
    """Return the backups to delete: all but the newest `keep` complete ones, up to `new`.

    Newer ones stay: one may be somebody else's in the making, or of a node whose clock was ahead,
    which would else push out every backup that is made until then. An incomplete one stays while
    its job may still run, as one that a person started does beside the nightly one: it would become
    complete, and lack what had been deleted.
    """
    whole = {name for name in complete if name <= new}
    kept = sorted(whole)[-keep:]
    ended = new_name(ago=JOB_SECONDS)
    return [
        name
        for name in sorted(found)
        if kept and name < kept[-1] and name not in kept and (name in whole or name < ended)
    ]
