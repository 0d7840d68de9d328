"""Reads a cluster's objects by kubectl, with the user's own kubeconfig, and changes nothing."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from components.tls import CA_KEY
from discover.kubectl import (
    CALL_SECONDS,
    LIST_SECONDS,
    KubectlError,
    RefusedError,
    kubectl,
    last_words,
    output_of,
)

Json = dict[str, Any]

ISTIO_KINDS = ("EnvoyFilter", "ServiceEntry", "Sidecar", "ProxyConfig")
ISTIO_RESOURCES = ",".join(
    f"{plural}.networking.istio.io"
    for plural in ("envoyfilters", "serviceentries", "sidecars", "proxyconfigs")
)
WITHOUT_KUBECTL = "ask one Prometheus with PROMETHEUS_URL=http://127.0.0.1:9090"


@dataclass(frozen=True)
class Cluster:
    """The cluster of a context; an empty one is kubectl's current context."""

    context: str = ""

    def uid(self) -> str:
        """Return what tells one cluster from every other: the UID of namespace kube-system."""
        found = self.namespaces("kube-system")
        if "kube-system" not in found:
            raise KubectlError("kubectl: this cluster has no namespace kube-system; name another")
        return str(found["kube-system"]["metadata"]["uid"])

    def namespaces(self, *names: str) -> dict[str, Json]:
        """Return those of the namespaces that there are, by name."""
        found = self._items("read namespaces", "get", "namespaces", *names, "--ignore-not-found")
        return {one["metadata"]["name"]: one for one in found}

    def pods(self, namespace: str, selector: Mapping[str, str]) -> list[Json]:
        """Return the running pods of a namespace that have these labels, but those that end.

        What is wrong with one that a restart replaces may be right already.
        """
        labels = [f"--selector={as_selector(selector)}"] if selector else []
        phase = "--field-selector=status.phase=Running"
        where = f"--namespace={namespace}"
        found = self._items(f"list pods in {namespace}", "get", "pods", where, phase, *labels)
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    def services(self, namespace: str) -> list[Json]:
        """Return the Services of a namespace, "" for all."""
        what = f"list services in {namespace or 'all namespaces'}"
        return self._items(what, "get", "services", _in(namespace))

    def istio_objects(self, namespace: str) -> list[Json]:
        """Return the ISTIO_KINDS of a namespace, "" for all."""
        what = f"list {ISTIO_RESOURCES} in {namespace or 'all namespaces'}"
        return self._items(what, "get", ISTIO_RESOURCES, _in(namespace))

    def login(self, namespace: str, *, name: str = "", app: str = "") -> dict[str, str]:
        """Return `username` and `password` of a Secret, by its name or its application's label."""
        chosen = [name] if name else [f"--selector=app.kubernetes.io/name={app}"]
        where = f"--namespace={namespace}"
        found = self._items(f"read secrets in {namespace}", "get", "secrets", where, *chosen)
        for one in found:
            data = one.get("data", {})
            if {"username", "password"} <= data.keys():
                keys = ("username", "password")
                return {key: base64.b64decode(data[key]).decode() for key in keys}
        raise KubectlError(
            f"kubectl: no Secret in namespace {namespace} has the login of Prometheus; deploy the "
            "stack, or name another cluster with CONTEXT="
        )

    def ca(self, namespace: str, secret: str) -> str:
        """Return the CA's certificate in a Secret of cert-manager's, as PEM text."""
        where = f"--namespace={namespace}"
        what = f"read secret {secret} in {namespace}"
        for one in self._items(what, "get", "secrets", where, secret):
            if CA_KEY in one.get("data", {}):
                return base64.b64decode(one["data"][CA_KEY]).decode()
        raise KubectlError(
            f"kubectl: Secret {secret} in namespace {namespace} has no {CA_KEY}; have "
            "monitoring.tls name an issuer with a CA"
        )

    @contextmanager
    def forwarded(self, namespace: str, service: str, port: int) -> Iterator[str]:
        """Forward a free port of this machine to a Service for the length of the block."""
        where = (f"--namespace={namespace}", "port-forward", "--address=127.0.0.1")
        command = kubectl(self.context, *where, f"service/{service}", f":{port}")
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout
            assert process.stderr
            timer = threading.Timer(CALL_SECONDS, process.kill)
            timer.start()
            try:
                said = process.stdout.readline()
                timer.cancel()
                found = re.search(r"127\.0\.0\.1:([0-9]+)", said)
                if not found:
                    process.kill()
                    raise KubectlError(
                        f"kubectl: could not forward a port to service {service} in namespace "
                        f"{namespace} ({last_words(process.stderr.read())}); see whether its pod "
                        "runs, or ask its address with PROMETHEUS_URL="
                    )
                yield f"http://127.0.0.1:{found[1]}"
            finally:
                timer.cancel()
                process.kill()

    def _items(self, what: str, *arguments: str) -> list[Json]:
        command = kubectl(self.context, *arguments, "--output=json")
        try:
            text = output_of(
                command,
                what,
                missing=WITHOUT_KUBECTL,
                slow="with a nearer cluster",
                seconds=LIST_SECONDS,
            )
        except RefusedError as error:
            raise KubectlError(_refusal(str(error), what)) from None
        if not text.strip():  # of --ignore-not-found
            return []
        try:
            found = json.loads(text)
            return list(found["items"]) if "items" in found else [found]
        except (ValueError, KeyError, TypeError):
            raise KubectlError(f"kubectl: could not {what}: no JSON; update kubectl") from None


def _in(namespace: str) -> str:
    return f"--namespace={namespace}" if namespace else "--all-namespaces"


def as_selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _refusal(said: str, what: str) -> str:
    if "forbidden" in said.lower():
        return f"kubectl: you may not {what}; ask the cluster's owner for `get` and `list` of it"
    return (
        f"kubectl: could not {what} ({last_words(said)}); correct that, or name another cluster "
        "with CONTEXT="
    )
