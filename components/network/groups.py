"""The pods and places that connections are between."""

from __future__ import annotations

from ipaddress import ip_network

from components.labels import COMPONENT, pods_of
from components.network.peers import Addresses, OwnNode, Pods
from components.prometheus.config import (
    ALERTMANAGER_APP,
    BACKUP_APP,
    GRAFANA_APP,
    LEDGER_APP,
    LOAD_GENERATOR_APP,
    MONEY_APP,
    PROMETHEUS_APP,
    SHARD_APP,
    SIMULATED_VENDOR_APP,
)
from settings.namespaces import MONITORING_NAMESPACE, SIMULATED_NAMESPACE
from settings.prometheus import OperatorPrometheusSettings
from settings.stack import StackSettings


def _monitoring(app: str) -> Pods:
    return Pods(name=app, namespaces=(MONITORING_NAMESPACE,), labels=pods_of(app))


PROMETHEUS = _monitoring(PROMETHEUS_APP)
SHARDS = _monitoring(SHARD_APP)
ALERTMANAGER = _monitoring(ALERTMANAGER_APP)
GRAFANA = _monitoring(GRAFANA_APP)
BACKUP = _monitoring(BACKUP_APP)
MONEY = _monitoring(MONEY_APP)
LEDGER = _monitoring(LEDGER_APP)
SIMULATED_VENDORS = Pods(
    # Earlier releases have a policy "simulated-vendors", which Pulumi deletes after it makes this.
    name="simulated-proxies",
    namespaces=(SIMULATED_NAMESPACE,),
    labels=pods_of(SIMULATED_VENDOR_APP),
)

EVERYBODY = Addresses(name="any address")
EVERY_POD = Pods(name="pods of any namespace", unruled=True)
API_SERVER = Addresses(name="the API server")
"""Its address is the cluster's own affair: no policy can name it."""
KUBELETS = Addresses(name="the kubelets")
"""On the nodes' addresses, which come and go with the nodes."""
NODE = OwnNode(name="the pod's own node")

NODE_DNS = Addresses(
    name="the node's DNS",
    # NodeLocal DNSCache has 169.254.20.10 (kubernetes.io/docs, nodelocaldns), with Kubespray
    # 169.254.25.10, or what its owner likes; the clouds' own are 169.254.169.253 and .254.
    cidrs=(ip_network("169.254.0.0/16"),),
)


def cluster_dns(settings: StackSettings) -> Pods:
    namespace = "openshift-dns" if settings.istio.on_openshift else "kube-system"
    return Pods(name="the cluster's DNS", namespaces=(namespace,))


def crawlers(settings: StackSettings) -> Pods:
    """Return all pods of the crawlers' namespaces."""
    return Pods(name="crawlers", namespaces=settings.crawlers.namespaces)


def attributed(settings: StackSettings) -> Pods:
    """Return the crawlers proper: those that `crawlers.selector` selects."""
    selector = settings.crawlers.selector
    if not selector:
        return crawlers(settings)
    namespaces = settings.crawlers.namespaces
    return Pods(name="attributed-crawlers", namespaces=namespaces, labels=selector)


def load_generator(settings: StackSettings) -> Pods:
    return Pods(
        name="load-generator",
        namespaces=settings.crawlers.namespaces[:1],
        labels={COMPONENT: LOAD_GENERATOR_APP},
    )


def istiod(settings: StackSettings) -> Pods:
    return Pods(
        name="istiod",
        namespaces=(settings.istio.root_namespace,),
        # Of the chart, whatever the revision.
        labels={"app": "istiod"},
    )


def istio_cni(settings: StackSettings) -> Pods:
    return Pods(
        name="istio-cni",
        namespaces=(settings.istio.root_namespace,),
        labels={"k8s-app": "istio-cni-node"},
    )


def scrapers(settings: StackSettings) -> Pods:
    """Return the pods of the Prometheus that scrapes everything but, with shards, the sidecars."""
    if isinstance(settings.prometheus, OperatorPrometheusSettings):
        return Pods(
            name="the operator's Prometheus",
            # Its pods' labels are its owner's choice.
            namespaces=(settings.prometheus.namespace,),
            unruled=True,
        )
    return PROMETHEUS


def servers(settings: StackSettings) -> tuple[Pods, ...]:
    """Return the Prometheus that this program runs: the one that people query, and its shards."""
    return (PROMETHEUS, SHARDS) if settings.prometheus.shards > 1 else (PROMETHEUS,)


def sidecar_scrapers(settings: StackSettings) -> Pods:
    return SHARDS if settings.prometheus.shards > 1 else scrapers(settings)
