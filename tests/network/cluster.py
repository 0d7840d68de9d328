"""The pods and machines of a rendered stack's cluster, and what its policies let them do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from render.program import Run
from tests.binaries import answer_of

Json = dict[str, Any]

WORKLOADS = ("CronJob", "Deployment", "StatefulSet")

# Istio's charts make these pods; the labels were read there (manifests/charts, Istio 1.31).
ISTIO_PODS = {
    "istiod": {"app": "istiod", "istio": "pilot", "istio.io/rev": "default"},
    "istio-cni": {"k8s-app": "istio-cni-node", "app.kubernetes.io/name": "istio-cni"},
}

# Pods that are no part of the program, by name: namespace and labels.
OTHER_PODS: dict[str, tuple[str, dict[str, str]]] = {
    "crawler": ("crawlers", {"app": "crawler"}),
    "web": ("shop", {"app": "web"}),
    "dns": ("kube-system", {"k8s-app": "kube-dns"}),
    "openshift-dns": ("openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}),
    "others-prometheus": ("observability", {"app.kubernetes.io/name": "prometheus"}),
}

# Machines and addresses outside the pod network.
MACHINES = {
    "NODE": "172.18.0.2",  # with the API server and a kubelet
    "NODE-DNS": "169.254.25.10",  # Kubespray's
    "METADATA": "169.254.169.254",
    "DNS-SERVICE": "10.96.0.10",
    "RANGE": "203.0.113.10",  # a vendor's
    "RESULTS": "192.0.2.7",  # a destination's
    "INTERNET": "198.51.100.7",  # anybody's: also a vendor's, by name
}

PORTS = (
    *((number, "UDP") for number in (53, 443, 5353, 8053, 9094)),
    *((number, "TCP") for number in (22, 53, 80, 443, 587, 3000, 3128, 5432, 6443, 7777)),
    *((number, "TCP") for number in (5353, 8053, 8080, 8443)),
    *((number, "TCP") for number in (9090, 9093, 9094, 9464, 9465, 9466, 9467, 10250)),
    *((number, "TCP") for number in (15000, 15010, 15012, 15014, 15017, 15020, 15090, 16443)),
)


class Connection(NamedTuple):
    source: str
    destination: str
    port: str


def policies(run: Run) -> list[Json]:
    return [resource.inputs for resource in run.of_kind("NetworkPolicy")]


def peers(run: Run) -> list[Json]:
    """Return one pod of each workload, and everybody whom they could meet."""
    labels = {each["metadata"]["name"]: each["metadata"].get("labels", {}) for each in _spaces(run)}
    pods = {
        resource.inputs["metadata"]["name"]: (
            resource.inputs["metadata"]["namespace"],
            _template(resource.inputs["spec"])["metadata"]["labels"],
        )
        for kind in WORKLOADS
        for resource in run.of_kind(kind)
    }
    istio = {name: ("istio-system", chosen) for name, chosen in ISTIO_PODS.items()}
    # One that nobody knows of, wherever there should be none.
    strays = {
        f"stray-{each['metadata']['namespace']}": (
            each["metadata"]["namespace"],
            each["spec"]["podSelector"].get("matchLabels", {}),
        )
        for each in policies(run)
        if each["metadata"]["name"] == "default-deny"
    }
    everybody = {**pods, **istio, **OTHER_PODS, **strays}
    return [
        {
            "name": name,
            "address": f"10.244.0.{number}",
            "namespace": namespace,
            # The API server adds this one.
            "namespaceLabels": {
                **labels.get(namespace, {}),
                "kubernetes.io/metadata.name": namespace,
            },
            "labels": chosen,
        }
        for number, (name, (namespace, chosen)) in enumerate(sorted(everybody.items()), 1)
    ] + [{"name": name, "address": address} for name, address in MACHINES.items()]


def _template(spec: Json) -> Json:
    template: Json = (
        spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]
    )
    return template


def _spaces(run: Run) -> Iterable[Json]:
    return [resource.inputs for resource in run.of_kind("Namespace")]


def judge(
    flowlab: Path, run: Run, clusters: Sequence[Sequence[Json]]
) -> list[frozenset[Connection]]:
    """Return what each set of policies allows, of what this program has a say in.

    A pod's connection to itself stands for one to another replica.
    """
    everybody = peers(run)
    question = {
        "peers": everybody,
        "ports": [{"number": number, "protocol": protocol} for number, protocol in PORTS],
        "clusters": clusters,
    }
    ours = {peer["name"] for peer in everybody} - {*MACHINES, *OTHER_PODS} | {"crawler"}
    return [
        frozenset(
            connection
            for each in answer
            if {(connection := Connection(**each)).source, connection.destination} & ours
        )
        for answer in answer_of(flowlab, question)
    ]


def table(connections: Iterable[Connection]) -> str:
    """Return lines "SOURCE | PORTS | DESTINATIONS", sorted; "any" is every one of PORTS."""
    order = [f"{number}/{protocol}" for number, protocol in PORTS]
    ports: dict[tuple[str, str], set[str]] = {}
    for source, destination, port in connections:
        ports.setdefault((source, destination), set()).add(port)
    rows: dict[tuple[str, str], list[str]] = {}
    for (source, destination), found in sorted(ports.items()):
        listed = "any" if found == {*order} else " ".join(sorted(found, key=order.index))
        rows.setdefault((source, listed.replace("/TCP", "")), []).append(destination)
    return "\n".join(
        f"{source} | {listed} | {' '.join(found)}" for (source, listed), found in rows.items()
    )


def read(lines: str, names: Mapping[str, str]) -> frozenset[Connection]:
    """Return the connections of such lines; `names` are for several at once."""
    found = set()
    for line in lines.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        sources, ports, destinations = ([*_words(part, names)] for part in line.split("|"))
        numbers = [port if "/" in port else f"{port}/TCP" for port in ports]
        if ports == ["any"]:
            numbers = [f"{number}/{protocol}" for number, protocol in PORTS]
        found |= {Connection(*each) for each in product(sources, destinations, numbers)}
    return frozenset(found)


def _words(text: str, names: Mapping[str, str]) -> Iterator[str]:
    for word in text.split():
        yield from names[word].split() if word in names else (word,)


def everything_to(policy: Json) -> Json:
    """Return a policy that allows everything to and from the pods of another one."""
    spec = {
        "podSelector": policy["spec"]["podSelector"],
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{}],
        "egress": [{}],
    }
    return {**policy, "spec": spec}
