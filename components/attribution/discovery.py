"""Filters whose configuration istiod sends apart from the listener (ECDS).

Within the listener, a configuration that Envoy refuses would leave a new pod without any outbound
listener, and an edit would end the open connections of each chain. Sent apart it costs labels only,
and an edit ends nothing.
"""

from __future__ import annotations

from typing import Any

from components.attribution.envoy import TYPE, Json

LUA_TYPE = f"{TYPE}.extensions.filters.http.lua.v3.Lua"
"""Without a script it runs nothing, and so is the default of other HTTP filters too."""
STATS_TYPE = "type.googleapis.com/stats.PluginConfig"
"""istio.stats, as an HTTP filter and as a network filter."""

_STATE_TYPE = f"{TYPE}.extensions.filters.network.set_filter_state.v3.Config"


def http_filter(name: str, type_: str, default: Json | None = None) -> Json:
    """Return the HTTP filter that asks istiod for its configuration by `name`.

    Args:
        default: what it does until istiod has answered; nothing, if it is not given.
    """
    return _discovered(name, type_, default or {"@type": LUA_TYPE})


def network_filter(name: str, type_: str) -> Json:
    """Return the network filter that asks istiod for its configuration by `name`."""
    return _discovered(name, type_, {"@type": _STATE_TYPE})


def _discovered(name: str, type_: str, default: dict[str, Any]) -> Json:
    return {
        "name": name,
        "config_discovery": {
            "config_source": {
                "ads": {},
                "initial_fetch_timeout": "3s",
                "resource_api_version": "V3",
            },
            # Envoy refuses a default of a type that is not listed.
            "type_urls": sorted({type_, default["@type"]}),
            # Without it Envoy answers 500, or closes the connection, until istiod has answered.
            "default_config": default,
        },
    }
