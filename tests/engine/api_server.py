"""An API server with etcd and nothing else: no controller, no node.

The wrong cluster of these tests, and the only one where the tester has none.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from lab.processes import children
from tests.api_server import start
from tests.ports import free_ports
from tests.programs import run_to_end

START_SECONDS = 90.0


@contextlib.contextmanager
def running(folder: Path, context: str) -> Iterator[Path]:
    """Start both, and yield a kubeconfig with this name for its context."""
    folder.mkdir()
    clients, peers, port = free_ports(["127.0.0.1"] * 3)
    with children() as family:
        kubeconfig = start(
            family,
            folder,
            context,
            ("127.0.0.1", port),
            etcd_ports=(clients, peers),
            flags=["--endpoint-reconciler-type=none"],  # it refuses to publish loopback
        )
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(kubeconfig):
            family.check()
            assert time.monotonic() < deadline, f"the API server is not ready; see {folder}"
            time.sleep(0.2)
        with _namespaces_end(kubeconfig):
            yield kubeconfig


def _kubectl(kubeconfig: Path, *arguments: str, given: str = "") -> str:
    command = ["kubectl", f"--kubeconfig={kubeconfig}", *arguments]
    done = run_to_end(*command, status=None, input=given)
    return done.stdout if done.returncode == 0 else ""


def _is_ready(kubeconfig: Path) -> bool:
    ready = _kubectl(kubeconfig, "get", "--raw", "/readyz") == "ok"
    return ready and bool(_kubectl(kubeconfig, "get", "namespace", "kube-system", "-o", "name"))


@contextlib.contextmanager
def _namespaces_end(kubeconfig: Path) -> Iterator[None]:
    """Stand in for the controller that ends a deleted namespace; what was in it stays in etcd."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(1.0):
            found = json.loads(_kubectl(kubeconfig, "get", "namespaces", "-o", "json") or "{}")
            for each in found.get("items", ()):
                if each["metadata"].get("deletionTimestamp"):
                    path = f"/api/v1/namespaces/{each['metadata']['name']}/finalize"
                    text = json.dumps({**each, "spec": {"finalizers": []}})
                    _kubectl(kubeconfig, "replace", "--raw", path, "-f", "-", given=text)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
