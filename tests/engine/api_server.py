"""An API server with etcd and nothing else: no controller, no node.

The wrong cluster of these tests, and the only one where the tester has none.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from lab.processes import Children, children
from tests.binaries import find
from tests.ports import free_ports

TOKEN = "engine"  # for a server that listens on loopback for minutes
START_SECONDS = 90.0


@contextlib.contextmanager
def running(folder: Path, context: str) -> Iterator[Path]:
    """Start both, and yield a kubeconfig with this name for its context."""
    folder.mkdir()
    clients, peers, port = free_ports(["127.0.0.1"] * 3)
    url = f"https://127.0.0.1:{port}"
    kubeconfig = folder / "kubeconfig.json"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": "own", "cluster": {"server": url, "insecure-skip-tls-verify": True}}
                ],
                "users": [{"name": "own", "user": {"token": TOKEN}}],
                "contexts": [{"name": context, "context": {"cluster": "own", "user": "own"}}],
                "current-context": context,
            }
        )
    )
    with children() as family:
        _start(family, folder, clients, peers, port)
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(kubeconfig):
            family.check()
            assert time.monotonic() < deadline, f"the API server is not ready; see {folder}"
            time.sleep(0.2)
        with _namespaces_end(kubeconfig):
            yield kubeconfig


def _start(family: Children, folder: Path, clients: int, peers: int, port: int) -> None:
    etcd = [
        *(os.fspath(find("etcd")), f"--data-dir={folder}/etcd", "--unsafe-no-fsync"),
        f"--listen-client-urls=http://127.0.0.1:{clients}",
        f"--advertise-client-urls=http://127.0.0.1:{clients}",
        f"--listen-peer-urls=http://127.0.0.1:{peers}",
        "--log-level=error",
    ]
    family.start("etcd", etcd, log=folder / "etcd.log")
    key = folder / "accounts.key"
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)]
    subprocess.run(command, check=True, timeout=60)
    tokens = folder / "tokens.csv"
    tokens.write_text(f"{TOKEN},engine,engine,system:masters\n")
    server = [
        os.fspath(find("kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{clients}",
        *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={port}"),
        f"--cert-dir={folder}/certificates",
        "--service-cluster-ip-range=10.96.0.0/16",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        # The controllers that would make the accounts' tokens do not run here.
        "--disable-admission-plugins=ServiceAccount",
        *("--endpoint-reconciler-type=none", "--allow-privileged", "-v=0"),
    ]
    family.start("kube-apiserver", server, log=folder / "kube-apiserver.log")


def _kubectl(kubeconfig: Path, *arguments: str, given: str = "") -> str:
    command = ["kubectl", f"--kubeconfig={kubeconfig}", *arguments]
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=60, check=False
    )
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
