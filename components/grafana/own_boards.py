"""The boards of `grafana.dashboards`, read and checked before anything is deployed.

Grafana logs what it does not like and goes on: a board would be missing, and nothing would say so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.grafana.provisioning import DATASOURCE_UID, LEDGER_UID, object_name
from components.repository_files import own_text
from dashboards.boards import boards
from settings.grafana import OWN_FOLDER
from settings.loading import SettingsError
from settings.masking import quoted
from settings.stack import StackSettings

Json = dict[str, Any]

MOST_BYTES = 900_000
"""Of a board: etcd takes 1 MiB with all that is around it."""
# Grafana's own, which need no data source: pkg/tsdb/grafanads and packages/grafana-runtime.
BUILT_IN = ("-- Grafana --", "-- Mixed --", "-- Dashboard --", "grafana")


def all_boards(settings: StackSettings, root: Path) -> dict[str, dict[str, str]]:
    """Return every board of a stack by its file name, by folder.

    Raises:
        SettingsError: as `own_boards`.
    """
    shipped = boards(settings)
    own = own_boards(settings, root, shipped)
    return {OWN_FOLDER: {**shipped, **own.pop(OWN_FOLDER, {})}, **own}


def own_boards(
    settings: StackSettings, root: Path, shipped: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return the text of each board by its file name, by folder.

    Args:
        root: the folder that the paths start from.
        shipped: this program's boards, whose uids are taken.

    Raises:
        SettingsError: a file is no board, has a uid of another board, or reads a data source that
            this program's Grafana has not.
    """
    findings: list[str] = []
    folders: dict[str, dict[str, str]] = {}
    # Compared as names of ConfigMaps, which know no capitals.
    owners = {object_name(file): "a board of this program's" for file in shipped}
    for index, own in enumerate(settings.grafana.dashboards):
        at = f"grafana.dashboards[{index}].file"
        try:
            text = own_text(root, own.file)
            if (size := len(text.encode())) > MOST_BYTES:
                raise ValueError(f"has {size} bytes; split it, a board may have {MOST_BYTES}")
            board = _board(text)
            uid = board["uid"]
            if (owner := owners.get(object_name(uid))) is not None:
                raise ValueError(f"has uid {quoted(uid)}, which {owner} has; give it another")
            if settings.runs_grafana:
                _require_known_sources(board, with_ledger=settings.records_hours)
        except ValueError as error:
            findings.append(f"{at}: {own.file} {error}")
            continue
        owners[object_name(uid)] = own.file
        folders.setdefault(own.folder, {})[f"{uid}.json"] = text
    if findings:
        raise SettingsError(findings)
    return folders


def _board(text: str) -> Json:
    try:
        board = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON; export the board from Grafana once more") from None
    if not isinstance(board, dict) or not isinstance(board.get("panels"), list):
        raise ValueError(
            "is no board: it has no panels at its top; write what is under `dashboard` or `spec`"
        )
    if not isinstance(board.get("title"), str) or not board["title"].strip():
        raise ValueError("has no title; write one")
    # https://grafana.com/docs/grafana/latest/developers/http_api/dashboard: 40 characters.
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", str(board.get("uid") or "")):
        raise ValueError(
            "has no uid of up to 40 letters, digits, '-' and '_', so links to it would change; "
            "write one"
        )
    return board


def _require_known_sources(board: Json, *, with_ledger: bool) -> None:
    known = (DATASOURCE_UID, *((LEDGER_UID,) if with_ledger else ()), *BUILT_IN)
    variables = board.get("templating")
    listed = variables.get("list") if isinstance(variables, dict) else None
    names = {
        one.get("name")
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and one.get("type") == "datasource"
    }
    for source in _sources(board):
        variable = re.fullmatch(r"\$\{(\w+)(:\w+)?\}|\$(\w+)|\[\[(\w+)\]\]", source)
        if variable and {variable[1], variable[3], variable[4]} & names:
            continue
        if source not in known:
            # Shown where it can be no password: a name, or the variable of an export.
            shown = f"'{source}'" if re.fullmatch(r"[\w${}-]{1,60}", source) else quoted(source)
            raise ValueError(
                f"reads data source {shown}, which this Grafana has not; write "
                f"{DATASOURCE_UID}, or a variable of type datasource"
            )


def _sources(value: Any) -> Iterator[str]:
    """Yield each data source that a part of the board names; no name means the default one."""
    if isinstance(value, list):
        for item in value:
            yield from _sources(item)
    elif isinstance(value, dict):
        source = value.get("datasource")
        if isinstance(source, dict):
            source = source.get("uid")
        if isinstance(source, str) and source and source not in ("Prometheus", "default"):
            yield source
        for key, item in value.items():
            if key != "datasource":
                yield from _sources(item)
