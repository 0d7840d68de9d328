"""Every connection that this program's pods and the crawlers need, each with its reason.

One table: the policies are made from it (policies.py), and what is not in it is denied. Policies
add up: a cluster with other needs adds a NetworkPolicy of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from components.alertmanager.config import GOSSIP_PORT
from components.network import groups
from components.network.crawlers import XDS_PORT, crawler_flows
from components.network.peers import Addresses, Flow, Pods, port
from components.prometheus.config import (
    ALERTMANAGER_PORT,
    BACKUP_PORT,
    GRAFANA_PORT,
    ISTIOD_PORT,
    LOAD_GENERATOR_PORT,
    MONEY_PORT,
    PROMETHEUS_PORT,
    SIDECAR_PORT,
    SIMULATED_VENDOR_PORT,
    THANOS_GRPC_PORT,
)
from components.simulated_vendors.plan import PROXY_PORT
from settings.alertmanager import EmailReceiver, Receiver, WebhookReceiver
from settings.backup import Backup
from settings.grafana import Grafana
from settings.namespaces import MONITORING_NAMESPACE
from settings.prometheus import OperatorPrometheusSettings
from settings.stack import StackSettings
from settings.values.addresses import PortRange

DNS_PORT = 53
# Of CoreDNS' own pods behind that Service: nearly everywhere, and on Gardener (also SAP's).
DNS_POD_PORTS = tuple(PortRange(number, number) for number in (DNS_PORT, 8053))
OPENSHIFT_DNS_PORT = 5353
KUBELET_PORT = 10250
WEBHOOK_PORT = 15017
# Of the managed clouds; of kubeadm, kind and k3s; of minikube; of MicroK8s. Policies see the
# server's own port, not that of the Service `kubernetes`.
API_SERVER_PORTS = tuple(PortRange(number, number) for number in (443, 6443, 8443, 16443))


def flows_of(settings: StackSettings) -> tuple[Flow, ...]:
    """Return the table of a stack."""
    flows = [*_prometheus(settings), *_grafana(settings), *_of_grafana_itself(settings.grafana)]
    flows += _people(settings)
    if settings.runs_alertmanager:
        flows += _alertmanager(settings)
    if settings.prometheus.backup:
        flows += _backup(
            settings.prometheus.backup, restores=bool(settings.prometheus.restore_from)
        )
    if settings.records_hours:
        flows += _ledger(settings)
    if settings.prometheus.thanos:
        flows += _thanos(settings)
    if settings.records_hours:
        flows += _money(settings)
    if settings.has_crawlers:
        flows += [*_scrapes(settings), *crawler_flows(settings)]
        if settings.istio.install:
            flows += _istio(settings)
        if settings.simulated_vendors.enabled:
            flows += _simulated_vendors(settings)
    flows += _dns(settings)
    if not settings.runs_grafana:
        flows = [flow for flow in flows if groups.GRAFANA not in (flow.source, flow.target)]
    return tuple(flows)


def _prometheus(settings: StackSettings) -> Iterator[Flow]:
    """Yield what Prometheus needs beside its targets among the crawlers and in the mesh."""
    prometheus, scrapers = settings.prometheus, groups.scrapers(settings)
    yield _scrape(scrapers, groups.GRAFANA, GRAFANA_PORT, "whether Grafana works")
    if isinstance(prometheus, OperatorPrometheusSettings):
        return
    for servers in groups.servers(settings):
        yield _scrape(
            groups.PROMETHEUS, servers, PROMETHEUS_PORT, "its other replica and its shards"
        )
        yield Flow(
            source=servers,
            target=groups.API_SERVER,
            ports=API_SERVER_PORTS,
            reason="Prometheus asks the API server for its targets.",
        )
    if prometheus.node_metrics:
        yield Flow(
            source=groups.PROMETHEUS,
            target=groups.KUBELETS,
            ports=port(KUBELET_PORT),
            reason="Prometheus scrapes the sidecars' CPU and memory, and the volumes' space.",
        )
    for source in prometheus.federate_from:
        yield Flow(
            source=groups.PROMETHEUS,
            target=Addresses(name=f"Prometheus of cluster {source.cluster}"),
            ports=port(_port_of(source.url)),
            reason=f"Prometheus takes the records of cluster {source.cluster}.",
        )


def _scrapes(settings: StackSettings) -> Iterator[Flow]:
    """Yield the scrapes of crawlers, of the mesh and of simulated vendors."""
    scrapers, crawlers = groups.scrapers(settings), groups.crawlers(settings)
    sidecar_scrapers = groups.sidecar_scrapers(settings)
    yield _scrape(sidecar_scrapers, crawlers, SIDECAR_PORT, "what the sidecars counted")
    if settings.scrapes_istiod:
        yield _scrape(
            scrapers, groups.istiod(settings), ISTIOD_PORT, "which configuration sidecars refused"
        )
    if settings.load_generator.enabled:
        generator = groups.load_generator(settings)
        yield _scrape(
            scrapers, generator, LOAD_GENERATOR_PORT, "what the load generator counted itself"
        )
    if settings.simulated_vendors.enabled:
        vendors = groups.SIMULATED_VENDORS
        yield _scrape(
            scrapers, vendors, SIMULATED_VENDOR_PORT, "what simulated vendors counted themselves"
        )


def _grafana(settings: StackSettings) -> Iterator[Flow]:
    prometheus = settings.prometheus
    reason = "Grafana queries Prometheus."
    if not isinstance(prometheus, OperatorPrometheusSettings):
        yield Flow(
            source=groups.GRAFANA,
            target=groups.PROMETHEUS,
            ports=port(PROMETHEUS_PORT),
            reason=reason,
        )
        return
    # Behind a Service the pod's port may be another than the URL's.
    yield Flow(source=groups.GRAFANA, target=groups.scrapers(settings), reason=reason)
    yield Flow(
        source=groups.GRAFANA,
        target=Addresses(name="prometheus.url"),
        ports=port(_port_of(prometheus.url)),
        reason="Grafana queries the server of prometheus.url, which may be outside.",
    )


def _of_grafana_itself(grafana: Grafana) -> Iterator[Flow]:
    """Yield what Grafana needs beside Prometheus."""
    if database := grafana.database:
        yield Flow(
            source=groups.GRAFANA,
            target=Addresses(name="grafana.database"),
            ports=port(int(database.host.rpartition(":")[2])),
            reason="Grafana keeps users and boards in its database, which may be outside.",
        )
    if oidc := grafana.oidc:
        for number in sorted({_port_of(oidc.token_url), _port_of(oidc.userinfo_url)}):
            yield Flow(
                source=groups.GRAFANA,
                target=Addresses(name=f"grafana.oidc on port {number}"),
                ports=port(number),
                reason="Grafana asks the provider who somebody is, which may be anywhere.",
            )


def _alertmanager(settings: StackSettings) -> Iterator[Flow]:
    alertmanager = groups.ALERTMANAGER
    yield Flow(
        source=groups.scrapers(settings),
        target=alertmanager,
        ports=port(ALERTMANAGER_PORT),
        reason="Prometheus sends alerts, and scrapes Alertmanager.",
    )
    if settings.alertmanager.replicas > 1:
        yield Flow(
            source=alertmanager,
            target=alertmanager,
            ports=port(GOSSIP_PORT),
            protocols=("TCP", "UDP"),
            reason="Replicas tell each other what was sent.",
        )
    for receiver in settings.alertmanager.receivers:
        yield Flow(
            source=alertmanager,
            target=Addresses(name=f"receiver {receiver.name}"),
            ports=port(_receiver_port(settings, receiver)),
            reason=f"Alertmanager notifies receiver {receiver.name}, which may be anywhere.",
        )


def _backup(backup: Backup, *, restores: bool) -> Iterator[Flow]:
    yield _scrape(groups.PROMETHEUS, groups.BACKUP, BACKUP_PORT, "when the last backup was made")
    if not backup.object_storage:
        yield Flow(
            source=groups.BACKUP,
            target=groups.API_SERVER,
            ports=API_SERVER_PORTS,
            reason="The job asks the API server for volume snapshots.",
        )
        return
    yield Flow(
        # It may connect anywhere, see below.
        source=replace(groups.BACKUP, unruled=True),
        target=groups.PROMETHEUS,
        ports=port(PROMETHEUS_PORT),
        reason="The job has Prometheus write a snapshot.",
    )
    # Only the Secret with rclone's configuration says where the store is.
    store = Addresses(name="the object store")
    yield Flow(source=groups.BACKUP, target=store, reason="The job copies the snapshot there.")
    if restores:
        yield Flow(
            source=groups.PROMETHEUS,
            target=store,
            reason="A new pod fills its volume from there, as prometheus.restoreFrom says.",
        )


def _ledger(settings: StackSettings) -> Iterator[Flow]:
    """Yield who writes and reads what each hour carried."""
    ledger, sources = settings.ledger, groups.sidecar_scrapers(settings)
    if settings.runs_ledger:
        for source, target, reason in (
            (groups.LEDGER, sources, "The ledger takes in what each hour carried."),
            (groups.PROMETHEUS, groups.LEDGER, "Prometheus asks how old the ledger's data is."),
            (groups.GRAFANA, groups.LEDGER, "Grafana queries the ledger."),
        ):
            yield Flow(source=source, target=target, ports=port(PROMETHEUS_PORT), reason=reason)
    for source, url, reason in (
        (sources, ledger.write_url, "Prometheus sends what each hour carried to ledger.writeUrl."),
        (groups.GRAFANA, ledger.url, "Grafana queries the server of ledger.url."),
    ):
        if url:
            store = Addresses(name="the long-term store")
            yield Flow(source=source, target=store, ports=port(_port_of(url)), reason=reason)


def _thanos(settings: StackSettings) -> Iterator[Flow]:
    everybody = Pods(name="monitoring", namespaces=(MONITORING_NAMESPACE,), unruled=True)
    for servers in groups.servers(settings):
        yield Flow(
            source=everybody,
            target=servers,
            ports=port(THANOS_GRPC_PORT),
            reason="Thanos' query in this namespace asks the sidecar for the newest data.",
        )
        yield Flow(
            source=servers,
            # Only the Secret with the bucket's configuration says where it is.
            target=Addresses(name="the object store"),
            reason="Thanos' sidecar uploads all data there.",
        )


def _money(settings: StackSettings) -> Iterator[Flow]:
    scrapers = groups.scrapers(settings)
    yield _scrape(scrapers, groups.MONEY, MONEY_PORT, "what the traffic costs")
    url, store = settings.ledger.url, Addresses(name="the long-term store")
    yield Flow(
        source=groups.MONEY,
        target=store if url else groups.LEDGER,
        ports=port(_port_of(url) if url else PROMETHEUS_PORT),
        reason="The exporter reads what each hour carried.",
    )
    if settings.money_exporter.usage_secrets:
        yield Flow(
            source=groups.MONEY,
            target=Addresses(name="the vendors' usage APIs"),
            ports=port(443),
            reason="The exporter asks vendors what they billed of a day.",
        )


def _istio(settings: StackSettings) -> Iterator[Flow]:
    istiod, cni = groups.istiod(settings), groups.istio_cni(settings)
    yield Flow(
        source=groups.API_SERVER,
        target=istiod,
        ports=port(WEBHOOK_PORT),
        reason="The API server has istiod inject sidecars and check configuration.",
    )
    yield Flow(
        source=groups.EVERY_POD,
        target=istiod,
        ports=port(XDS_PORT),
        reason="Other teams' namespaces may have sidecars of this Istio.",
    )
    for pods in (istiod, *((cni,) if settings.istio.cni else ())):
        yield Flow(
            source=pods,
            target=groups.EVERYBODY,
            # As in Istio's own policy (manifests/charts, networkpolicy.yaml).
            reason="The API server's port differs among clusters, and without it no pod starts.",
        )


def _simulated_vendors(settings: StackSettings) -> Iterator[Flow]:
    yield Flow(
        source=groups.crawlers(settings),
        target=groups.SIMULATED_VENDORS,
        ports=port(PROXY_PORT),
        reason="Crawlers use simulated vendors as proxies.",
    )


def _people(settings: StackSettings) -> Iterator[Flow]:
    """Yield what Kubernetes admits whatever policies say: it comes from the pod's own node."""
    ports = {groups.GRAFANA: GRAFANA_PORT}
    if settings.runs_prometheus:
        ports[groups.PROMETHEUS] = PROMETHEUS_PORT
    if settings.runs_ledger:
        ports[groups.LEDGER] = PROMETHEUS_PORT
    if settings.runs_alertmanager:
        ports[groups.ALERTMANAGER] = ALERTMANAGER_PORT
    for pods, number in ports.items():
        yield Flow(
            source=groups.NODE,
            target=pods,
            ports=port(number),
            reason="The kubelet probes it, and people reach it by kubectl port-forward.",
        )


def _dns(settings: StackSettings) -> Iterator[Flow]:
    """Yield who looks up names. Shards scrape addresses, simulated vendors connect to nobody."""
    askers: list[Pods] = [groups.GRAFANA]
    if settings.records_hours:
        askers.append(groups.MONEY)
    if settings.runs_ledger:
        askers.append(groups.LEDGER)
    names = settings.ledger.write_url or settings.prometheus.thanos
    if names and settings.prometheus.shards > 1:
        askers.append(groups.SHARDS)
    if settings.runs_prometheus:
        askers.append(groups.PROMETHEUS)
    if settings.runs_alertmanager:
        askers.append(groups.ALERTMANAGER)
    if settings.has_crawlers:
        askers.append(groups.attributed(settings))
    services = Addresses(name="the DNS Service", cidrs=settings.network.service_cidrs)
    # Some plugins compare a Service's address, before it is replaced by a pod's.
    pods = groups.cluster_dns(settings)
    pod_ports = port(OPENSHIFT_DNS_PORT) if settings.istio.on_openshift else DNS_POD_PORTS
    for server in (pods, groups.NODE_DNS, *((services,) if services.cidrs else ())):
        for asker in askers:
            yield Flow(
                source=asker,
                target=server,
                ports=pod_ports if server is pods else port(DNS_PORT),
                protocols=("TCP", "UDP"),
                reason="Names are looked up.",
            )


def _scrape(source: Pods, target: Pods, number: int, what: str) -> Flow:
    reason = f"Prometheus scrapes {what}."
    return Flow(source=source, target=target, ports=port(number), reason=reason)


def _receiver_port(settings: StackSettings, receiver: Receiver) -> int:
    """Return the port of a receiver; a webhook's encrypted URL gives it to the engine alone."""
    if isinstance(receiver, EmailReceiver):
        return int(receiver.smarthost.rpartition(":")[2])
    credential = settings.alertmanager_secrets.get(receiver.name)
    if isinstance(receiver, WebhookReceiver) and credential and credential.text:
        return _port_of(credential.text)
    return 443


def _port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or {"http": 80}.get(parts.scheme, 443)
