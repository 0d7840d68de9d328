"""`telemetry.logOutside`: istiod merges the log into Istio's own catch-all chain."""

from __future__ import annotations

import json
import time

from components.attribution.outside_log import CATCH_ALL, KIND
from tests.mesh import crawler
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.mesh import Json, Mesh
from tests.mesh.vendors import Servers

OUTSIDE = ("10.200.0.5", 80)
DRAIN_SECONDS = 4  # Istio's default is 45


def _log_outside(keys: Json) -> None:
    keys["telemetry"] = {**keys.get("telemetry", {}), "logOutside": True}


def _lines(pod: Pod) -> list[Json]:
    lines = (pod.folder / "sidecar.log").read_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return [one for one in found if one.get("log") == KIND]


def _catch_all(pod: Pod) -> str:
    """Return Istio's catch-all chain as the sidecar has it."""
    dump = json.loads(pod.get("/config_dump?resource=dynamic_listeners"))
    states = [one["active_state"] for one in dump["configs"] if "active_state" in one]
    listeners = [state["listener"] for state in states]
    (outbound,) = (one for one in listeners if one["name"] == "virtualOutbound")
    chains = [*outbound["filter_chains"], outbound.get("default_filter_chain", {})]
    return json.dumps([one for one in chains if one.get("name") == CATCH_ALL])


def test_a_line_for_each_connection_to_nobody(mesh: Mesh, servers: Servers, record: Record) -> None:
    """On and off: the line is printed, vendors' tunnels stay open, and outside ones drain."""
    with mesh.pod("crawler-outside") as pod:
        crawler.origin(pod, *OUTSIDE)
        assert _lines(pod) == []
        vendor = pod.network.connect("10.1.0.10", 3128)
        outside = pod.network.connect(*OUTSIDE)
        outside.sendall(b"GET / HTTP/1.1\r\nHost: h.sim.test\r\n\r\n")
        assert outside.recv(4096)
        started = time.time()
        mesh.up(mesh.stack(_log_outside))
        mesh.settled([pod], started)
        assert KIND in _catch_all(pod)
        crawler.origin(pod, *OUTSIDE)
        # Envoy flushes a log every 10 s.
        mesh.until(lambda: len(_lines(pod)) == 1, 25, "no line is printed")
        (line,) = _lines(pod)
        assert line["destination"] == f"{OUTSIDE[0]}:{OUTSIDE[1]}"
        assert line["bytes_received"] > 0
        assert line["bytes_sent"] > 0
        time.sleep(DRAIN_SECONDS + 2)
        vendor.sendall(b"GET http://site-1.sim.test/ HTTP/1.1\r\nHost: site-1.sim.test\r\n\r\n")
        assert vendor.recv(12).startswith(b"HTTP/1.1 ")
        outside.settimeout(5)
        record("open outside connections cut by the switch", int(outside.recv(1) == b""))
        vendor.close()
        outside.close()
    mesh.restore()
