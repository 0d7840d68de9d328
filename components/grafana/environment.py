"""Grafana's settings as environment variables, GF_<SECTION>_<KEY>.

Each key stands in Grafana's conf/defaults.ini, and in its documentation under
setup-grafana/configure-grafana and configure-authentication/generic-oauth.
"""

from __future__ import annotations

from components.tls import CA_KEY, Tls
from settings.grafana import Database, Grafana, Oidc

DATABASE_CA = "/etc/grafana/database"

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
    "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED": "true",
    # Else an editor's click sends a board's numbers to snapshots.raintank.io, and another one shows
    # a board to whoever has its address.
    "GF_SNAPSHOTS_EXTERNAL_ENABLED": "false",
    "GF_PUBLIC_DASHBOARDS_ENABLED": "false",
    # Alerts are Prometheus', and Grafana lists them. Its own rules each replica would evaluate.
    "GF_UNIFIED_ALERTING_EXECUTE_ALERTS": "false",
    # To the pod's log: the root file system is read-only, and a file would be refused.
    "GF_LOG_MODE": "console",
}


def environment_of(grafana: Grafana, tls: Tls | None) -> dict[str, str]:
    """Return all settings that are no secret."""
    return {
        **SETTINGS,
        **(_tls(tls) if tls else {}),
        **(_url(grafana.url) if grafana.url else {}),
        **(_database(grafana.database) if grafana.database else {}),
        **(_oidc(grafana.oidc) if grafana.oidc else {}),
    }


def secrets_of(grafana: Grafana) -> dict[str, tuple[str, str]]:
    """Return the settings that come from the user's Secrets: name and key of each."""
    found = {}
    if grafana.database:
        found["GF_DATABASE_PASSWORD"] = (grafana.database.password_secret, "password")
    if grafana.oidc:
        found["GF_AUTH_GENERIC_OAUTH_CLIENT_SECRET"] = (grafana.oidc.client_secret, "clientSecret")
    return found


def _tls(tls: Tls) -> dict[str, str]:
    """Return the settings with which Grafana itself speaks TLS alone."""
    return {
        "GF_SERVER_PROTOCOL": "https",
        "GF_SERVER_CERT_FILE": tls.certificate,
        "GF_SERVER_CERT_KEY": tls.key,
        "GF_SERVER_MIN_TLS_VERSION": "TLS1.2",
        # Without it Grafana would serve the first certificate for ever.
        "GF_SERVER_CERTS_WATCH_INTERVAL": "1m",
    }


def _url(url: str) -> dict[str, str]:
    # Without it the provider would send people back to localhost:3000.
    return {
        "GF_SERVER_ROOT_URL": url,
        # Else the session's cookie would go over plain HTTP too.
        **({"GF_SECURITY_COOKIE_SECURE": "true"} if url.startswith("https:") else {}),
    }


def _database(database: Database) -> dict[str, str]:
    return {
        "GF_DATABASE_TYPE": "postgres",
        "GF_DATABASE_HOST": database.host,
        "GF_DATABASE_NAME": database.name,
        "GF_DATABASE_USER": database.user,
        "GF_DATABASE_SSL_MODE": database.ssl_mode,
        **({"GF_DATABASE_CA_CERT_PATH": f"{DATABASE_CA}/{CA_KEY}"} if database.ca_secret else {}),
    }


def _oidc(oidc: Oidc) -> dict[str, str]:
    return {
        "GF_AUTH_GENERIC_OAUTH_ENABLED": "true",
        "GF_AUTH_GENERIC_OAUTH_NAME": oidc.name,
        "GF_AUTH_GENERIC_OAUTH_CLIENT_ID": oidc.client_id,
        "GF_AUTH_GENERIC_OAUTH_AUTH_URL": oidc.auth_url,
        "GF_AUTH_GENERIC_OAUTH_TOKEN_URL": oidc.token_url,
        "GF_AUTH_GENERIC_OAUTH_API_URL": oidc.userinfo_url,
        "GF_AUTH_GENERIC_OAUTH_SCOPES": " ".join(oidc.scopes),
        "GF_AUTH_GENERIC_OAUTH_USE_PKCE": "true",
        # A user is made at the first login. `allow_sign_up` of [users] is about the login page.
        "GF_AUTH_GENERIC_OAUTH_ALLOW_SIGN_UP": "true",
        "GF_AUTH_GENERIC_OAUTH_ROLE_ATTRIBUTE_PATH": oidc.role_attribute_path,
        # Without it, whoever has no role becomes a viewer.
        "GF_AUTH_GENERIC_OAUTH_ROLE_ATTRIBUTE_STRICT": "true",
    }
