"""A sidecar outlives its crawler until it was scraped: the real agent, hook and signal."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from tests.mesh.conftest import Record
from tests.mesh.kubelet import Pod, agent_of, proxy_of
from tests.mesh.mesh import Mesh

DRAIN_SECONDS = 4
AT_ONCE_SECONDS = 2.0
DRAIN = f"terminationDrainDuration: {DRAIN_SECONDS}s"  # of the stack it is 20 s


def answers(pod: Pod) -> bool:
    """Whether the port that Prometheus scrapes gives metrics."""
    try:
        return "envoy_server_uptime" in pod.metrics()
    except (OSError, AssertionError):
        return False


def seconds_of_answers(pod: Pod, most: float) -> float:
    """Return how long the sidecar is scraped after the kubelet's SIGTERM."""
    started = time.monotonic()
    os.kill(agent_of(pod), signal.SIGTERM)
    while answers(pod) and time.monotonic() < started + most:
        time.sleep(0.1)
    return time.monotonic() - started


def test_what_the_program_gives_every_sidecar(mesh: Mesh) -> None:
    """One scrape interval and a margin, and no hook that would end it before."""
    made = mesh.api.create(mesh.pod_manifest("drain-1"))
    mesh.api.delete("v1", "Pod", made["metadata"]["namespace"], "drain-1")
    proxy = proxy_of(made)
    assert "preStop" not in proxy["lifecycle"]
    (config,) = [one["value"] for one in proxy["env"] if one["name"] == "PROXY_CONFIG"]
    assert '"terminationDrainDuration":"20s"' in config.replace(" ", "")


def test_a_sidecar_answers_for_as_long_as_it_is_told(mesh: Mesh, record: Record) -> None:
    """Its crawler has ended, the kubelet has sent SIGTERM: Prometheus still finds its counters."""
    with mesh.pod("drain-2", annotations={"proxy.istio.io/config": DRAIN}) as pod:
        seconds = seconds_of_answers(pod, DRAIN_SECONDS + 10.0)
    record("a sidecar answered scrapes for, in seconds", round(seconds, 1))
    assert DRAIN_SECONDS - 0.5 <= seconds <= DRAIN_SECONDS + 5.0


def test_istios_own_hook_would_end_it_at_once(mesh: Mesh, record: Record) -> None:
    """So the hook goes: an agent that was told to drain does not wait after SIGTERM."""
    with mesh.pod("drain-3", annotations={"proxy.istio.io/config": DRAIN}) as pod:
        # What the injection template has as `preStop` of a native sidecar.
        agent = os.fspath(mesh.folder / "bin" / "pilot-agent")
        drain = [agent, "request", "--debug-port=15020", "POST", "drain"]
        subprocess.run(pod.network.command(drain), check=True, timeout=10)
        seconds = seconds_of_answers(pod, DRAIN_SECONDS + 10.0)
    record("after Istio's own preStop it answered for, in seconds", round(seconds, 1))
    assert seconds < AT_ONCE_SECONDS
