"""The namespaces that this program gives a purpose, whatever a stack file says."""

MONITORING_NAMESPACE = "monitoring"
"""Prometheus, Alertmanager and Grafana run there, without sidecars."""

SIMULATED_NAMESPACE = "proxy-vendors"
"""Simulated vendors run there, without sidecars: they are no part of the mesh."""
