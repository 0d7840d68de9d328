"""What Grafana reads at its start: where the numbers are, and where the dashboards lie."""

from __future__ import annotations

from typing import Any

DASHBOARD_FOLDER = "/etc/grafana/dashboards"
DATASOURCE_UID = "prometheus"  # dashboards refer to it
# Of the environment, from a Secret; Grafana puts their values in, for the file is in a ConfigMap.
USER_VARIABLE = "PROMETHEUS_USER"
PASSWORD_VARIABLE = "PROMETHEUS_PASSWORD"

# Grafana's settings as environment variables, GF_<SECTION>_<KEY>.
SETTINGS = {
    "GF_AUTH_ANONYMOUS_ENABLED": "false",
    "GF_USERS_ALLOW_SIGN_UP": "false",
    # Nothing calls home; nothing is fetched at start, which would fail behind a firewall.
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_NEWS_NEWS_FEED_ENABLED": "false",
    "GF_SECURITY_DISABLE_GRAVATAR": "true",
    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    "GF_PLUGINS_PLUGIN_ADMIN_ENABLED": "false",
    # To the pod's log: the root file system is read-only.
    "GF_LOG_MODE": "console",
}


def datasources(
    prometheus_url: str, user: str | None, scrape_interval_seconds: int
) -> dict[str, Any]:
    """Return provisioning/datasources: one Prometheus, the default.

    Args:
        user: a name, or `$` and a variable's; None where nobody is asked who he is.
    """
    login = {
        "basicAuth": True,
        "basicAuthUser": user,
        "secureJsonData": {"basicAuthPassword": f"${PASSWORD_VARIABLE}"},
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
                **(login if user else {}),
                "isDefault": True,
                "editable": False,
                # Grafana's $__rate_interval follows from it; 15 s is assumed otherwise.
                "jsonData": {
                    "httpMethod": "POST",
                    "timeInterval": f"{scrape_interval_seconds}s",
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
