"""Thanos' sidecar in Prometheus' pods, as https://thanos.io/tip/components/sidecar.md/ asks for it.

Not run here: Thanos' own parts, which read what it uploads, are the user's.
"""

from __future__ import annotations

from pulumi_kubernetes.core import v1 as core

from components.basic_auth import HTTP_FILE
from components.pods import Mounts, container_of, secret_source
from components.prometheus.config import PROMETHEUS_PORT, THANOS_GRPC_PORT
from components.prometheus.servers import AUTH, DATA
from settings.prometheus import OwnPrometheus

HTTP_PORT = 10902
OBJECT_STORE = "/etc/thanos"

UNCOMPACTED = (
    # Equal values: Prometheus compacts nothing. Else Thanos' compactor would corrupt what is
    # uploaded.
    "--storage.tsdb.min-block-duration=2h",
    "--storage.tsdb.max-block-duration=2h",
)


def store_mounts(prometheus: OwnPrometheus) -> Mounts:
    """Return the volume with the bucket's configuration, which only the user's Secret has."""
    thanos = prometheus.thanos
    if thanos is None:
        return {}
    return {"object-store": (OBJECT_STORE, secret_source(thanos.object_store_secret))}


def thanos_sidecars(prometheus: OwnPrometheus, mounts: Mounts) -> list[core.ContainerArgs]:
    """Return the containers beside Prometheus: the sidecar, or none.

    Args:
        mounts: Prometheus' own. The sidecar logs in as promtool does, by the same files.
    """
    thanos = prometheus.thanos
    if thanos is None:
        return []
    login = {name: mount for name, mount in mounts.items() if name in ("auth", "tls")}
    scheme = "https" if "tls" in mounts else "http"
    return [
        container_of(
            "thanos-sidecar",
            thanos,
            {**login, "data": (DATA, None), **store_mounts(prometheus)},
            {"grpc": THANOS_GRPC_PORT, "thanos-http": HTTP_PORT},
            args=[
                "sidecar",
                f"--tsdb.path={DATA}",
                f"--prometheus.url={scheme}://127.0.0.1:{PROMETHEUS_PORT}",
                f"--prometheus.http-client-file={AUTH}/{HTTP_FILE}",
                f"--objstore.config-file={OBJECT_STORE}/objstore.yml",
                f"--grpc-address=0.0.0.0:{THANOS_GRPC_PORT}",
                f"--http-address=0.0.0.0:{HTTP_PORT}",
            ],
            # None of readiness: a bucket that is away would take Prometheus out of its Service.
            liveness_probe=core.ProbeArgs(
                http_get=core.HTTPGetActionArgs(path="/-/healthy", port="thanos-http"),
                period_seconds=20,
                timeout_seconds=10,
                failure_threshold=6,
            ),
        )
    ]
