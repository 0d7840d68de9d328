"""Samples the sidecars of a cluster, or one Envoy of this machine."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from discover.kubectl import Kubectl, KubectlError, Pod, spread
from discover.reading import NotAPageError, Tally

# Envoy forgets a host without connections after 5 s (`cleanup_interval`).
SAMPLE_SECONDS = 4.0
AT_ONCE = 4  # calls of kubectl; each holds a connection of the API server
LOG_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Read:
    """What was read."""

    seconds: int
    found: int
    tallies: Mapping[Pod, Tally]
    """Of the pods that could be read."""
    has_log: bool
    findings: Sequence[str]


class CannotReadError(Exception):
    """No sidecar can be read, as "what: reason; fix"; what may be an option that is wrong."""


@dataclass(frozen=True)
class Reader:
    """How pages and logs are come by."""

    pods: Sequence[Pod]
    found: int
    page: Callable[[Pod], str]
    log: Callable[[Pod, int], Sequence[str]] | None = None

    def read(self, seconds: int) -> Read:
        """Sample every pod for so many seconds, then read the logs.

        Raises:
            CannotReadError: nothing could be read of any pod.
        """
        tallies: dict[Pod, Tally] = {pod: Tally() for pod in self.pods}
        read: set[Pod] = set()
        reasons: dict[str, int] = {}

        def sample(pod: Pod) -> None:
            try:
                tallies[pod].add_sample(self.page(pod))
                read.add(pod)
            except (KubectlError, NotAPageError, CannotReadError) as error:
                reasons[str(error)] = reasons.get(str(error), 0) + 1

        def read_log(pod: Pod) -> None:
            try:
                tallies[pod].add_log(self.log(pod, LOG_SECONDS + seconds) if self.log else ())
            except KubectlError as error:
                reasons[str(error)] = reasons.get(str(error), 0) + 1

        end = time.monotonic() + seconds
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while True:
                began = time.monotonic()
                [*pool.map(sample, self.pods)]
                if not read:  # no right, say: as it will be in a minute
                    raise CannotReadError(next(iter(reasons)))
                left = min(end, began + SAMPLE_SECONDS) - time.monotonic()
                if time.monotonic() >= end:
                    break
                time.sleep(max(0.0, left))
            if self.log:
                [*pool.map(read_log, self.pods)]
        return Read(
            seconds=seconds,
            found=self.found,
            tallies={pod: tallies[pod] for pod in self.pods if pod in read},
            has_log=any(one.logged for tally in tallies.values() for one in tally.seen.values()),
            findings=[f"{reason} ({times} times)" for reason, times in reasons.items()],
        )


def of_cluster(
    namespaces: Sequence[str],
    selector: Mapping[str, str],
    *,
    most: int,
    workload_label: str,
    context: str = "",
    logs: bool = False,
) -> Reader:
    """Return a reader of at most so many pods.

    Raises:
        KubectlError: kubectl is missing or may not list them.
        CannotReadError: there are none.
    """
    kubectl = Kubectl(context, workload_label)
    pods = [pod for one in namespaces for pod in kubectl.pods(one, selector)]
    if not pods:
        labels = ",".join(f"{key}={value}" for key, value in selector.items()) or "any label"
        raise CannotReadError(
            f"pods: none with a sidecar runs in {', '.join(namespaces)} ({labels}); name the "
            "crawlers' with NAMESPACE= and SELECTOR=, or label the namespace "
            "istio-injection=enabled and restart them"
        )
    return Reader(spread(pods, most), len(pods), kubectl.clusters, kubectl.log if logs else None)


def of_one_envoy(admin: str) -> Reader:
    """Return a reader of the Envoy whose admin interface is at a URL of this machine."""

    # A proxy of the environment could not reach this machine's loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def page(_: Pod) -> str:
        try:
            with opener.open(f"{admin}/clusters?format=json", timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise CannotReadError(
                f"ENVOY_ADMIN: {admin} does not answer ({reason}); start that Envoy, or leave "
                "ENVOY_ADMIN out for kubectl"
            ) from None

    return Reader([Pod("", "envoy", "envoy")], 1, page)
