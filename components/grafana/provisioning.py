"""The files that Grafana reads at its start: data source, and folder of the dashboards."""

from __future__ import annotations

from typing import Any

from components.tls import Tls

PROVISIONING_FOLDER = "/etc/grafana/provisioning"
DASHBOARD_FOLDER = "/etc/grafana/dashboards"
DATASOURCE_UID = "prometheus"  # dashboards refer to it
# Environment variables from a Secret. The data source is a ConfigMap: Grafana fills them in.
USER_VARIABLE = "PROMETHEUS_USER"
PASSWORD_VARIABLE = "PROMETHEUS_PASSWORD"
CA_VARIABLE = "PROMETHEUS_CA"

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
    prometheus_url: str, scrape_interval_seconds: int, *, with_login: bool, with_tls: bool = False
) -> dict[str, Any]:
    """Return provisioning/datasources: one Prometheus, the default."""
    login = {"basicAuth": True, "basicAuthUser": f"${USER_VARIABLE}"}
    secrets = {
        **({"basicAuthPassword": f"${PASSWORD_VARIABLE}"} if with_login else {}),
        **({"tlsCACert": f"${CA_VARIABLE}"} if with_tls else {}),
    }
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Prometheus",
                "type": "prometheus",
                "uid": DATASOURCE_UID,
                "url": prometheus_url,
                "access": "proxy",
                **(login if with_login else {}),
                **({"secureJsonData": secrets} if secrets else {}),
                "isDefault": True,
                "editable": False,
                # Grafana computes $__rate_interval from it, else from 15 s.
                "jsonData": {
                    "httpMethod": "POST",
                    "timeInterval": f"{scrape_interval_seconds}s",
                    **({"tlsAuthWithCACert": True} if with_tls else {}),
                },
            }
        ],
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
