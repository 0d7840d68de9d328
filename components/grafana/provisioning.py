"""The files that Grafana reads at its start: data source, and folder of the dashboards."""

from __future__ import annotations

from typing import Any

from components.tls import Tls

PROVISIONING_FOLDER = "/etc/grafana/provisioning"
DASHBOARD_FOLDER = "/etc/grafana/dashboards"
DATASOURCE_UID = "prometheus"  # dashboards refer to it
LEDGER_UID = "ledger"
# Environment variables from a Secret. The data source is a ConfigMap: Grafana fills them in.
USER_VARIABLE = "PROMETHEUS_USER"
PASSWORD_VARIABLE = "PROMETHEUS_PASSWORD"
CA_VARIABLE = "PROMETHEUS_CA"
LEDGER_USER_VARIABLE = "LEDGER_USER"
LEDGER_PASSWORD_VARIABLE = "LEDGER_PASSWORD"

# Grafana's settings as environment variables, GF_<SECTION>_<KEY>.
SETTINGS = {
    "GF_AUTH_ANONYMOUS_ENABLED": "false",
    "GF_USERS_ALLOW_SIGN_UP": "false",
    # Grafana calls no server outside: behind a firewall its start would wait for each.
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_NEWS_NEWS_FEED_ENABLED": "false",
    "GF_SECURITY_DISABLE_GRAVATAR": "true",
    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    "GF_PLUGINS_PLUGIN_ADMIN_ENABLED": "false",
    # To the pod's log: the root file system is read-only, and a file would be refused.
    "GF_LOG_MODE": "console",
}


def tls_settings(tls: Tls) -> dict[str, str]:
    """Return the settings with which Grafana itself speaks TLS alone."""
    return {
        "GF_SERVER_PROTOCOL": "https",
        "GF_SERVER_CERT_FILE": tls.certificate,
        "GF_SERVER_CERT_KEY": tls.key,
        "GF_SERVER_MIN_TLS_VERSION": "TLS1.2",
        # Without it Grafana would serve the first certificate for ever.
        "GF_SERVER_CERTS_WATCH_INTERVAL": "1m",
    }


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


def dashboard_providers() -> dict[str, Any]:
    """Return provisioning/dashboards: the mounted folder, read only."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "proxy-observability",
                "type": "file",
                "folder": "Proxy vendors",
                # Edits would be lost at the next start: dashboards change in Git.
                "allowUiUpdates": False,
                "disableDeletion": True,
                "options": {"path": DASHBOARD_FOLDER},
            }
        ],
    }
