"""The files that Grafana reads at its start: data source, and folder of the dashboards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PROVISIONING_FOLDER = "/etc/grafana/provisioning"
DASHBOARD_FOLDER = "/etc/grafana/dashboards"
DATASOURCE_UID = "prometheus"  # dashboards refer to it
LEDGER, LEDGER_UID = "Ledger", "ledger"
# Environment variables from a Secret. The data source is a ConfigMap: Grafana fills them in.
USER_VARIABLE = "PROMETHEUS_USER"
PASSWORD_VARIABLE = "PROMETHEUS_PASSWORD"
CA_VARIABLE = "PROMETHEUS_CA"
LEDGER_USER_VARIABLE = "LEDGER_USER"
LEDGER_PASSWORD_VARIABLE = "LEDGER_PASSWORD"


def datasources(
    prometheus_url: str,
    scrape_interval_seconds: int,
    *,
    with_login: bool,
    with_tls: bool = False,
    ledger: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return provisioning/datasources: Prometheus, the default, and the ledger if there is one."""
    login = (USER_VARIABLE, PASSWORD_VARIABLE) if with_login else None
    ca = CA_VARIABLE if with_tls else None
    prometheus = datasource(
        "Prometheus", DATASOURCE_UID, prometheus_url, scrape_interval_seconds, login, ca
    )
    return {
        "apiVersion": 1,
        "datasources": [{**prometheus, "isDefault": True}, *([ledger] if ledger else [])],
        # Else one that the stack no longer has would stay in the database for ever, read-only.
        **({} if ledger else {"deleteDatasources": [{"name": LEDGER, "orgId": 1}]}),
    }


def datasource(
    name: str,
    uid: str,
    url: str,
    interval_seconds: int,
    login: tuple[str, str] | None,
    ca: str | None,
) -> dict[str, Any]:
    """Return a server that answers Prometheus' query API.

    Args:
        interval_seconds: between two samples of a series.
        login: the environment variables with user and password.
        ca: that with the CA of a server that speaks TLS; None for the machine's own CAs.
    """
    secrets = {
        **({"basicAuthPassword": f"${login[1]}"} if login else {}),
        **({"tlsCACert": f"${ca}"} if ca else {}),
    }
    return {
        "name": name,
        "type": "prometheus",
        "uid": uid,
        "url": url,
        "access": "proxy",
        **({"basicAuth": True, "basicAuthUser": f"${login[0]}"} if login else {}),
        **({"secureJsonData": secrets} if secrets else {}),
        "isDefault": False,
        "editable": False,
        # Grafana computes $__rate_interval from it, else from 15 s.
        "jsonData": {
            "httpMethod": "POST",
            "timeInterval": f"{interval_seconds}s",
            **({"tlsAuthWithCACert": True} if ca else {}),
        },
    }


def dashboard_providers(folders: Sequence[str]) -> dict[str, Any]:
    """Return provisioning/dashboards: for each folder of Grafana the mounted one, read only.

    Not `foldersFromFilesStructure`: in a volume of Kubernetes' the files are links to a folder of
    another name.
    """
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "proxy-observability" if number == 0 else folder,
                "type": "file",
                "folder": folder,
                # Edits would be lost at the next start: dashboards change in Git.
                "allowUiUpdates": False,
                "disableDeletion": False,
                "options": {"path": board_folder(number)},
            }
            for number, folder in enumerate(folders)
        ],
    }


def object_name(file: str) -> str:
    """Return what a board's ConfigMap is called: Kubernetes has neither capitals nor `_`."""
    return file.removesuffix(".json").lower().replace("_", "-").strip("-")


def board_folder(number: int) -> str:
    """Return where the boards of a folder are mounted."""
    return f"{DASHBOARD_FOLDER}/{number}"
