"""Reads pods' sidecars by kubectl, and changes nothing."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

CALL_SECONDS = 15.0
MOST_LOG_BYTES = 5_000_000  # of a pod
SIDECAR = "istio-proxy"
REQUEST = ("pilot-agent", "request", "GET", "clusters?format=json")


class KubectlError(Exception):
    """kubectl is missing, or says why it cannot, as "kubectl: reason; fix"."""


@dataclass(frozen=True, order=True)
class Pod:
    """A running pod with a sidecar."""

    namespace: str
    workload: str
    name: str


@dataclass(frozen=True)
class Kubectl:
    """kubectl with the user's own kubeconfig."""

    context: str = ""

    def pods(self, namespace: str, selector: Mapping[str, str]) -> list[Pod]:
        """Return the running pods with a sidecar.

        Raises:
            KubectlError: they cannot be listed.
        """
        labels = [f"--selector={','.join(f'{k}={v}' for k, v in selector.items())}"]
        text = self._run(
            namespace,
            "list pods",
            ["get", "pods", "--output=json", "--field-selector=status.phase=Running"]
            + (labels if selector else []),
        )
        try:
            items = json.loads(text)["items"]
            return [_pod(item, namespace) for item in items if _has_sidecar(item)]
        except (ValueError, KeyError, TypeError):
            raise KubectlError("kubectl: the list of pods is not JSON; update kubectl") from None

    def clusters(self, pod: Pod) -> str:
        """Return a sidecar's page of clusters.

        Raises:
            KubectlError: it cannot be read.
        """
        inside = ["exec", pod.name, "--container", SIDECAR, "--", *REQUEST]
        return self._run(pod.namespace, "exec into pods", inside)

    def log(self, pod: Pod, seconds: int) -> list[str]:
        """Return the last lines of a sidecar's log.

        Raises:
            KubectlError: it cannot be read.
        """
        limits = [f"--since={seconds}s", f"--limit-bytes={MOST_LOG_BYTES}"]
        command = ["logs", pod.name, "--container", SIDECAR, *limits]
        return self._run(pod.namespace, "read logs", command).splitlines()

    def _run(self, namespace: str, what: str, arguments: Sequence[str]) -> str:
        context = [f"--context={self.context}"] if self.context else []
        command = ["kubectl", *context, f"--namespace={namespace}", *arguments]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=CALL_SECONDS,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except FileNotFoundError:
            raise KubectlError(
                "kubectl: is not on PATH; install it, or name one Envoy with "
                "ENVOY_ADMIN=http://127.0.0.1:15000"
            ) from None
        except subprocess.TimeoutExpired:
            raise KubectlError(
                f"kubectl: could not {what} in {CALL_SECONDS:.0f} s; try again, or fewer PODS="
            ) from None
        except OSError as error:
            raise KubectlError(f"kubectl: cannot be run ({error.strerror}); install it") from None
        if done.returncode:
            raise KubectlError(_refusal(done.stderr, namespace, what))
        return done.stdout


# What a role needs for each of the calls.
_RIGHTS = {
    "list pods": "--verb=get,list --resource=pods",
    "exec into pods": "--verb=create --resource=pods/exec",
    "read logs": "--verb=get --resource=pods/log",
}


def _refusal(said: str, namespace: str, what: str) -> str:
    if "forbidden" in said.lower():
        return (
            f"kubectl: you may not {what} in namespace {namespace}; have its owner run `kubectl "
            f"create role proxy-discover -n {namespace} {_RIGHTS[what]}`, and bind it to you"
        )
    # The last line says it; the ones before are of the client's own log.
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no reason given"]
    # kubectl quotes HTTPS_PROXY where it cannot read it, with the login of a crawler's vendor.
    words = re.sub(r"//\S*@", "//…@", re.sub(r"[^ -~]", "?", lines[-1]))[:200]
    return (
        f"kubectl: could not {what} in namespace {namespace} ({words}); correct that, or name "
        "another cluster with CONTEXT="
    )


def _has_sidecar(item: Mapping[str, Any]) -> bool:
    # A native sidecar is an init container.
    containers = [*item["spec"]["containers"], *item["spec"].get("initContainers", ())]
    return any(one["name"] == SIDECAR for one in containers)


def _pod(item: Mapping[str, Any], namespace: str) -> Pod:
    metadata = item["metadata"]
    return Pod(namespace, _workload(metadata), metadata["name"])


def _workload(metadata: Mapping[str, Any]) -> str:
    """Return the name that Deployment and CronJob give, without what a rollout or run adds."""
    owner = next(iter(metadata.get("ownerReferences", ())), None)
    if owner is None:
        return str(metadata["name"])
    suffix = {"ReplicaSet": r"-[a-z0-9]+$", "Job": r"-[0-9]{6,}$"}.get(owner["kind"])
    return re.sub(suffix, "", owner["name"]) if suffix else str(owner["name"])


def spread(pods: Iterable[Pod], most: int) -> list[Pod]:
    """Return at most so many pods, of every workload as many as of another."""
    by_workload = defaultdict(list)
    for pod in sorted(pods):
        by_workload[pod.namespace, pod.workload].append(pod)
    rounds = zip_longest(*by_workload.values())
    return [pod for pods in rounds for pod in pods if pod is not None][:most]
