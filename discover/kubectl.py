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

from components.prometheus.workloads import workload_of
from settings.crawlers import Crawlers

CALL_SECONDS = 15.0
# 10,000 pods are 260 MB of JSON, for which kubectl took 31 s and 3.4 GB on two busy cores.
LIST_SECONDS = 120.0
MOST_LOG_BYTES = 5_000_000  # of a pod
SIDECAR = "istio-proxy"
REQUEST = ("pilot-agent", "request", "GET", "clusters?format=json")


class KubectlError(Exception):
    """kubectl is missing, or says why it cannot, as "kubectl: reason; fix"."""


class RefusedError(Exception):
    """kubectl ran and failed; the text is its own, and may name the user."""


@dataclass(frozen=True, order=True)
class Pod:
    """A running pod with a sidecar."""

    namespace: str
    workload: str
    name: str


@dataclass(frozen=True)
class Kubectl:
    """kubectl with the user's own kubeconfig. Each method raises KubectlError if it cannot."""

    context: str = ""
    workload_label: str = Crawlers().workload_label

    def pods(self, namespace: str, selector: Mapping[str, str]) -> list[Pod]:
        """Return the running pods with a sidecar."""
        command = ["get", "pods", "--output=json", "--field-selector=status.phase=Running"]
        if selector:
            command.append(f"--selector={','.join(f'{k}={v}' for k, v in selector.items())}")
        text = self._run(namespace, "list pods", command, LIST_SECONDS)
        try:
            items = json.loads(text)["items"]
            return [
                Pod(
                    namespace,
                    workload_of(one["metadata"], self.workload_label),
                    one["metadata"]["name"],
                )
                for one in items
                if has_sidecar(one)
            ]
        except (ValueError, KeyError, TypeError):
            raise KubectlError("kubectl: the list of pods is not JSON; update kubectl") from None

    def clusters(self, pod: Pod) -> str:
        """Return a sidecar's page of clusters."""
        inside = ["exec", pod.name, "--container", SIDECAR, "--", *REQUEST]
        return self._run(pod.namespace, "exec into pods", inside)

    def log(self, pod: Pod, seconds: int) -> list[str]:
        """Return the last lines of a sidecar's log."""
        limits = [f"--since={seconds}s", f"--limit-bytes={MOST_LOG_BYTES}"]
        command = ["logs", pod.name, "--container", SIDECAR, *limits]
        return self._run(pod.namespace, "read logs", command).splitlines()

    def _run(
        self, namespace: str, what: str, arguments: Sequence[str], seconds: float = CALL_SECONDS
    ) -> str:
        command = kubectl(self.context, f"--namespace={namespace}", *arguments)
        other = "name one Envoy with ENVOY_ADMIN=http://127.0.0.1:15000"
        try:
            return output_of(command, what, missing=other, slow="fewer PODS=", seconds=seconds)
        except RefusedError as error:
            raise KubectlError(_refusal(str(error), namespace, what)) from None


def kubectl(context: str, *arguments: str) -> list[str]:
    """Return a command of kubectl; an empty context is the user's current one."""
    return ["kubectl", *([f"--context={context}"] if context else []), *arguments]


def output_of(
    command: Sequence[str], what: str, *, missing: str, slow: str, seconds: float = CALL_SECONDS
) -> str:
    """Run a command of kubectl.

    Args:
        what: is to be done, for errors: "list pods".
        missing: what else to do where there is no kubectl.
        slow: what else to do where it took too long.
        seconds: how long it may take.

    Raises:
        KubectlError: it cannot be run, or takes too long.
        RefusedError: it failed.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except FileNotFoundError:
        raise KubectlError(f"kubectl: is not on PATH; install it, or {missing}") from None
    except subprocess.TimeoutExpired:
        raise KubectlError(
            f"kubectl: could not {what} in {seconds:.0f} s; try again, or {slow}"
        ) from None
    except OSError as error:
        raise KubectlError(f"kubectl: cannot be run ({error.strerror}); install it") from None
    if done.returncode:
        raise RefusedError(done.stderr)
    return done.stdout


def last_words(said: str) -> str:
    """Return the line of kubectl's that says why, without logins."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no reason given"]
    # Lines before are of the client's own log, and after a missing plugin for logins comes advice.
    begins = ("error:", "Error from server", "Unable to connect", "The connection")
    lines = [line for line in lines if line.startswith(begins)] or lines
    # kubectl quotes HTTPS_PROXY where it cannot read it, with the login of a crawler's vendor.
    return re.sub(r"//\S*@", "//…@", re.sub(r"[^ -~]", "?", lines[-1]))[:200]


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
    return (
        f"kubectl: could not {what} in namespace {namespace} ({last_words(said)}); correct that, "
        "or name another cluster with CONTEXT="
    )


def has_sidecar(item: Mapping[str, Any]) -> bool:
    """Whether a pod, as Kubernetes describes it, has Istio's proxy."""
    # A native sidecar is an init container.
    containers = [*item["spec"]["containers"], *item["spec"].get("initContainers", ())]
    return any(one["name"] == SIDECAR for one in containers)


def spread(pods: Iterable[Pod], most: int) -> list[Pod]:
    """Return at most so many pods, of every workload as many as of another."""
    by_workload = defaultdict(list)
    for pod in sorted(pods):
        by_workload[pod.namespace, pod.workload].append(pod)
    rounds = zip_longest(*by_workload.values())
    return [pod for pods in rounds for pod in pods if pod is not None][:most]
