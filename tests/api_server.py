"""A real API server with etcd, and a kubeconfig that leads to it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.processes import Children
from tests.binaries import find

SERVICES = "10.96.0.0/16"

Command = list[str]


def start(
    family: Children,
    folder: Path,
    name: str,
    url: tuple[str, int],
    *,
    etcd_ports: tuple[int, int] = (2379, 2380),
    enter: Callable[[Command], Command] = lambda command: command,
    flags: Sequence[str] = (),
) -> Path:
    """Start both and return the kubeconfig; the server answers some seconds later.

    Args:
        name: of the context, and the token of its user, who may do everything. The server lives
            for minutes, on loopback or in a network namespace.
        url: where the API server listens.
        etcd_ports: for clients and for peers.
        enter: makes a command run in a network namespace.
        flags: more of the API server's.
    """
    (address, port), (clients, peers) = url, etcd_ports
    etcd = [
        *(os.fspath(find("etcd")), f"--data-dir={folder}/etcd", "--unsafe-no-fsync"),
        f"--listen-client-urls=http://127.0.0.1:{clients}",
        f"--advertise-client-urls=http://127.0.0.1:{clients}",
        f"--listen-peer-urls=http://127.0.0.1:{peers}",
        "--log-level=error",
    ]
    family.start("etcd", enter(etcd), log=folder / "etcd.log")
    key = folder / "accounts.key"
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)]
    subprocess.run(command, check=True, timeout=60)
    tokens = folder / "tokens.csv"
    tokens.write_text(f"{name},{name},{name},system:masters\n")
    server = [
        os.fspath(find("kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{clients}",
        *(f"--bind-address={address}", f"--advertise-address={address}", f"--secure-port={port}"),
        f"--cert-dir={folder}/certificates",
        f"--service-cluster-ip-range={SERVICES}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        # The controllers that would make the accounts' tokens do not run here.
        "--disable-admission-plugins=ServiceAccount",
        *("--allow-privileged", "-v=0"),
        *flags,
    ]
    family.start("kube-apiserver", enter(server), log=folder / "kube-apiserver.log")
    cluster = {"server": f"https://{address}:{port}", "insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": name}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    kubeconfig = folder / "kubeconfig.json"
    kubeconfig.write_text(json.dumps(config))
    return kubeconfig
