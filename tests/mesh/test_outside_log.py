"""`telemetry.logOutside`: istiod merges the log into Istio's own catch-all chain."""

from __future__ import annotations

import json
import os
import subprocess
import time
from ipaddress import ip_address

from components.attribution.outside_log import CATCH_ALL, KIND
from discover.kubectl import REQUEST
from discover.reading import Destination, Tally
from tests.mesh import crawler
from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod
from tests.mesh.load import DRAIN_SECONDS, DRAINS_SOON
from tests.mesh.mesh import Json, Mesh
from tests.mesh.vendors import Servers

OUTSIDE = ("10.200.0.5", 80)
TO_OUTSIDE = Destination(ip_address(OUTSIDE[0]), OUTSIDE[1])
LOG = "sidecar.log"


def _log_outside(keys: Json) -> None:
    keys["telemetry"] = {**keys.get("telemetry", {}), "logOutside": True}


def _lines(pod: Pod) -> list[Json]:
    lines = (pod.folder / LOG).read_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return [one for one in found if one.get("log") == KIND]


def _sampled(mesh: Mesh, pod: Pod) -> Tally:
    """Return what `make discover` reads of the pod, by its own pilot-agent as kubectl would."""
    agent = mesh.folder / "bin" / "pilot-agent"
    command = pod.network.command([os.fspath(agent), *REQUEST[1:]])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    tally = Tally()
    tally.add_sample(done.stdout)
    tally.add_log((pod.folder / LOG).read_text().splitlines())
    return tally


def _catch_all(pod: Pod) -> str:
    """Return Istio's catch-all chain as the sidecar has it."""
    dump = json.loads(pod.get("/config_dump?resource=dynamic_listeners"))
    states = [one["active_state"] for one in dump["configs"] if "active_state" in one]
    listeners = [state["listener"] for state in states]
    (outbound,) = (one for one in listeners if one["name"] == "virtualOutbound")
    chains = [*outbound["filter_chains"], outbound.get("default_filter_chain", {})]
    return json.dumps([one for one in chains if one.get("name") == CATCH_ALL])


def test_a_line_for_each_connection_to_nobody(mesh: Mesh, servers: Servers, record: Record) -> None:
    """The switch cuts open connections to nobody after the drain, and none of a vendor."""
    with mesh.pod("crawler-outside", annotations=DRAINS_SOON) as pod:
        # The kubelet gives a container a pipe that its user may open. Envoy refuses the listener
        # if it may not.
        (pod.folder / LOG).chmod(0o666)
        crawler.origin(pod, *OUTSIDE)
        assert _lines(pod) == []
        vendor = pod.network.connect("10.1.0.10", 3128)
        assert crawler.ask(vendor).code == 200
        outside = pod.network.connect(*OUTSIDE)
        outside.sendall(b"GET / HTTP/1.1\r\nHost: h.sim.test\r\n\r\n")
        assert outside.recv(4096)
        sampled = _sampled(mesh, pod).seen[TO_OUTSIDE]
        assert sampled.active == 1
        assert sampled.connections in (1, 2)  # Envoy may have forgotten the first
        started = time.time()
        mesh.up(mesh.stack(_log_outside))
        mesh.settled([pod], started)
        assert KIND in _catch_all(pod)
        crawler.origin(pod, *OUTSIDE)
        mesh.until(lambda: len(_lines(pod)) == 1, why="no line is printed")
        (line,) = _lines(pod)
        assert line["destination"] == f"{OUTSIDE[0]}:{OUTSIDE[1]}"
        assert line["bytes_received"] > 0
        assert line["bytes_sent"] > 0
        seen = _sampled(mesh, pod).seen[TO_OUTSIDE]
        assert (seen.logged, seen.sent) == (1, len(crawler.ORIGIN))
        outside.settimeout(DRAIN_SECONDS + 60)
        assert outside.recv(1) == b""  # cut, and not before its drain is over
        record("seconds until open connections to nobody were cut", round(time.time() - started))
        assert crawler.ask(vendor).code == 200
        vendor.close()
        outside.close()
    mesh.restore()
