"""Grafana beside the lab, where one is on PATH: the shipped provisioning and boards.

Paths and keys as of https://grafana.com/docs/grafana/latest/setup-grafana/configure-grafana/; the
command is that of Grafana's own image, packaging/docker/run.sh.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.file_text import yaml_text
from components.grafana.environment import SETTINGS
from components.grafana.provisioning import dashboard_providers, datasources
from lab.processes import Children
from settings.grafana import OWN_FOLDER

Json = dict[str, Any]

PACKAGE_HOME = Path("/usr/share/grafana")  # of Grafana's packages for Debian and Red Hat
DEFAULTS = Path("conf/defaults.ini")  # without it Grafana does not start


def grafana_command() -> list[str]:
    """Return how Grafana is started; empty if it is not on PATH."""
    for program, arguments in (("grafana", ["server"]), ("grafana-server", [])):
        if found := shutil.which(program):
            # An unpacked archive has its programs in bin/, beside conf/ and public/.
            homes = (Path(found).resolve().parents[1], PACKAGE_HOME)
            home = next((one for one in homes if (one / DEFAULTS).exists()), None)
            return [found, *arguments, *([f"--homepath={home}"] if home else [])]
    return []


def start_grafana(
    family: Children,
    command: list[str],
    folder: Path,
    *,
    port: int,
    prometheus_url: str,
    scrape_seconds: int,
    boards: Mapping[str, Json],
) -> str:
    """Start Grafana for everybody on this machine to look at; return its address.

    Its first start fills a database, which takes up to a minute.

    Args:
        command: from `grafana_command`.
        folder: for all its files.
        boards: by uid.
    """
    provisioning, dashboards = folder / "provisioning", folder / "dashboards"
    providers = dashboard_providers([OWN_FOLDER])
    providers["providers"][0]["options"]["path"] = str(dashboards)
    source = datasources(prometheus_url, scrape_seconds, with_login=False)
    _write(provisioning / "datasources/prometheus.yaml", yaml_text(source))
    _write(provisioning / "dashboards/provider.yaml", yaml_text(providers))
    for uid, model in boards.items():
        _write(dashboards / f"{uid}.json", json.dumps(model))
    environment = SETTINGS | {
        "GF_PATHS_PROVISIONING": str(provisioning),
        "GF_PATHS_DATA": str(folder / "data"),
        "GF_PATHS_LOGS": str(folder / "logs"),
        "GF_PATHS_PLUGINS": str(folder / "plugins"),
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        # Else there would be an administrator `admin` with the password `admin`.
        "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
        # Else a look at a board would begin with a password.
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
    }
    family.start("grafana", command, log=folder / "grafana.log", environment=environment)
    return f"http://127.0.0.1:{port}"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
