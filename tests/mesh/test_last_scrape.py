"""A sidecar outlives its crawler for a last scrape: the real agent gets the kubelet's signal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from settings.loading import ROOT
from tests.mesh.conftest import Record
from tests.mesh.control_plane import ISTIO
from tests.mesh.kubelet import Pod, agent_of, proxy_of
from tests.mesh.mesh import Mesh

DRAIN_SECONDS, LONG_SECONDS = 4, 60
MOST_SECONDS = 120.0


def drain(seconds: int) -> dict[str, str]:
    """Return the annotation of a pod that drains so long; the stack has 20 s."""
    return {"proxy.istio.io/config": f"terminationDrainDuration: {seconds}s"}


def answers(pod: Pod) -> bool:
    """Return whether the port that Prometheus scrapes gives metrics."""
    try:
        return "envoy_server_uptime" in pod.metrics()
    except (OSError, AssertionError):
        return False


def seconds_of_answers(pod: Pod) -> float:
    """Send the kubelet's SIGTERM; return how long the sidecar still gives metrics."""
    started = time.monotonic()
    os.kill(agent_of(pod), signal.SIGTERM)
    while answers(pod):
        assert time.monotonic() < started + MOST_SECONDS, "it does not end"
        time.sleep(0.1)
    return time.monotonic() - started


def test_what_the_program_gives_every_sidecar(mesh: Mesh) -> None:
    """It drains for a scrape interval and a margin, and no hook ends it before."""
    proxy = proxy_of(mesh.injected(mesh.pod_manifest("drain-1")))
    assert "preStop" not in proxy["lifecycle"]
    (config,) = [one["value"] for one in proxy["env"] if one["name"] == "PROXY_CONFIG"]
    assert '"terminationDrainDuration":"20s"' in config.replace(" ", "")


def test_a_sidecar_answers_until_its_drain_is_over(mesh: Mesh, record: Record) -> None:
    """After the crawler's end and the kubelet's SIGTERM, Prometheus still finds the counters."""
    with mesh.pod("drain-2", annotations=drain(DRAIN_SECONDS)) as pod:
        seconds = seconds_of_answers(pod)
    record("a sidecar answered scrapes for, in seconds", round(seconds, 1))
    assert seconds >= DRAIN_SECONDS - 0.5


def test_istios_own_hook_would_end_it_at_once(mesh: Mesh, record: Record) -> None:
    """The program removes that hook: an agent that already drains ends at SIGTERM."""
    with mesh.pod("drain-3", annotations=drain(LONG_SECONDS)) as pod:
        # This is the `preStop` hook that Istio's template gives a native sidecar.
        agent = os.fspath(mesh.folder / "bin" / "pilot-agent")
        hook = [agent, "request", "--debug-port=15020", "POST", "drain"]
        subprocess.run(pod.network.command(hook), check=True, timeout=60)
        seconds = seconds_of_answers(pod)
    record("after Istio's own preStop it answered for, in seconds", round(seconds, 1))
    assert seconds < LONG_SECONDS  # it did not drain


def template_of_the_docs() -> Any:
    """Return what docs/limits.md tells owners of crawlers to add to their pods' template."""
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    return yaml.safe_load(found)


def hooks(mesh: Mesh) -> set[str]:
    """Return the hooks that istiod gives at present to a pod that asks for none."""
    return set(proxy_of(mesh.injected(mesh.pod_manifest("drain-hooks"))).get("lifecycle", {}))


@contextmanager
def values_of_others(mesh: Mesh) -> Iterator[None]:
    """Have istiod inject as without the program's values, until the block ends."""
    found = mesh.api.get("v1", "ConfigMap", ISTIO, "istio-sidecar-injector")

    def inject(values: str, expected: set[str]) -> None:
        metadata = {key: found["metadata"][key] for key in ("name", "namespace")}
        data = {**found["data"], "values": values}
        own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        mesh.api.apply(own)
        mesh.until(lambda: hooks(mesh) == expected)

    values = json.loads(found["data"]["values"])
    del values["global"]["proxy"]["lifecycle"]
    inject(json.dumps(values), {"preStop"})
    try:
        yield
    finally:
        inject(found["data"]["values"], {"postStart"})


@pytest.mark.parametrize("native", ["true", "false"])
def test_a_crawlers_own_template_asks_for_the_drain(
    mesh: Mesh, record: Record, native: str
) -> None:
    """Under Istio's own values, where every other pod of the mesh ends at once."""
    template = template_of_the_docs()
    config = template["metadata"]["annotations"]["proxy.istio.io/config"]
    annotations = {
        "proxy.istio.io/config": config.replace("20s", f"{DRAIN_SECONDS}s"),
        "sidecar.istio.io/nativeSidecar": native,
    }
    containers = template["spec"]["containers"]
    name = f"drain-own-{native}"
    with (
        values_of_others(mesh),
        mesh.pod(name, annotations=annotations, containers=containers) as pod,
    ):
        assert answers(pod)
        command = proxy_of(pod.manifest)["lifecycle"]["preStop"]["exec"]["command"]
        agent = os.fspath(mesh.folder / "bin" / command[0])
        subprocess.run(pod.network.command([agent, *command[1:]]), check=True, timeout=60)
        seconds = seconds_of_answers(pod)
    record(f"asked for by its own template, native {native}, for seconds", round(seconds, 1))
    assert seconds >= DRAIN_SECONDS - 0.5
