"""Everything one stack file says: the sections together, with their defaults filled in.

One file a section, one field a key (camelCase in YAML). A field's description is its row of
docs/configuration.md. `settings.loading` reads a stack file into `StackSettings`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from settings.alertmanager import Alertmanager, Secret
from settings.alerts import Alerts
from settings.budgets import Budget
from settings.crawlers import Crawlers
from settings.destinations import Destination
from settings.grafana import Grafana
from settings.images import Images
from settings.istio import Istio
from settings.ledger import Ledger
from settings.load_generator import LoadGenerator
from settings.money_exporter import MoneyExporter
from settings.monitoring import Monitoring
from settings.network import ClusterNetwork
from settings.prometheus import OwnPrometheus, Prometheus
from settings.scheduling import Scheduling
from settings.section import Section
from settings.simulated_vendors import SimulatedVendors
from settings.telemetry import Telemetry
from settings.values.kubernetes import DnsLabel
from settings.vendors import Target, Vendor, only_connections


class StackSettings(Section):
    """Everything one stack file says."""

    cluster: DnsLabel = Field(examples=["dev"])
    """Name of the cluster: the label `cluster` of every metric."""
    vendors: Annotated[tuple[Vendor, ...], Field(min_length=1)] = Field(
        examples=[[{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]]
    )
    """The proxy vendors of this stack, at least one; names are unique."""
    targets: Annotated[tuple[Target, ...], Field(max_length=50)] = ()
    """Groups of crawled sites, as label `proxy_target` of each request. Series of the request
    counter multiply by their number plus one. A change cuts no connection."""
    destinations: Annotated[tuple[Destination, ...], Field(max_length=50)] = ()
    """Known destinations that are no vendor's, so that `outside` counts strangers only."""
    budgets: Annotated[tuple[Budget, ...], Field(max_length=50)] = ()
    """Limits of a month, by vendor, product or team; names are unique."""
    crawlers: Crawlers = Crawlers()
    """The pods whose connections are attributed."""
    istio: Istio = Istio()
    """The service mesh."""
    telemetry: Telemetry = Telemetry()
    """How much each sidecar measures."""
    prometheus: Prometheus = OwnPrometheus()
    """The store of metrics, run by this program or by the Prometheus operator."""
    alerts: Alerts = Alerts()
    """When an alert fires. A share is one of a vendor's requests over 5 minutes."""
    alertmanager: Alertmanager = Alertmanager()
    """Where alerts are sent, and how."""
    alertmanager_secrets: dict[DnsLabel, Secret] = Field(default={})
    """The credential of each receiver, by its name. Set each encrypted: `pulumi config set --secret
    --path proxy-observability:alertmanagerSecrets.oncall`. In clear it is refused; Pulumi itself
    does not tell one clear value from encrypted ones beside it, `make render` does."""
    grafana: Grafana = Grafana()
    """The dashboards' server."""
    monitoring: Monitoring = Monitoring()
    """The namespace of Prometheus, Alertmanager and Grafana."""
    ledger: Ledger = Ledger()
    """What each hour carried, kept for invoices (docs/money.md#the-ledger)."""
    money_exporter: MoneyExporter = MoneyExporter()
    """What computes costs and budgets from them."""
    load_generator: LoadGenerator = LoadGenerator()
    """Synthetic traffic to check the numbers with."""
    simulated_vendors: SimulatedVendors = SimulatedVendors()
    """Vendors that run in the cluster, for rehearsals."""
    network: ClusterNetwork = ClusterNetwork()
    """The cluster's own addresses, no vendor's."""
    scheduling: Scheduling = Scheduling()
    """Where the pods of this program and istiod run. Crawlers' pods are their owners', and Istio's
    CNI agent runs on every node."""
    images: Images = Images()
    """Where every image comes from."""

    @property
    def runs_prometheus(self) -> bool:
        """Whether this program runs Prometheus; else the cluster's operator does."""
        return self.prometheus.mode == "server"

    @property
    def runs_alertmanager(self) -> bool:
        return self.runs_prometheus or bool(self.alertmanager.receivers)

    @property
    def runs_grafana(self) -> bool:
        """Whether this program runs Grafana; else it makes boards for one that there is."""
        return self.grafana.mode == "server"

    @property
    def runs_ledger(self) -> bool:
        """Whether this program runs the Prometheus that keeps the hours."""
        if self.ledger.url or not self.runs_prometheus or not self.has_crawlers:
            return False
        return self._has_prices if self.ledger.enabled is None else self.ledger.enabled

    @property
    def records_hours(self) -> bool:
        """Whether Prometheus records what each hour carried, for whoever keeps it."""
        return self.runs_ledger or self.ledger.url is not None

    @property
    def _has_prices(self) -> bool:
        return any(
            vendor.billing or any(product.billing for product in vendor.products)
            for vendor in self.vendors
        )

    @property
    def has_crawlers(self) -> bool:
        """Whether this cluster has crawlers, and so a mesh; a global server's has none."""
        return self.prometheus.role != "global"

    @property
    def scrapes_istiod(self) -> bool:
        """Whether Prometheus scrapes istiod; an operator's needs no leave of ours."""
        asked = self.istio.scrape_istiod
        return self.istio.install or not self.runs_prometheus if asked is None else asked

    @property
    def makes_sidecar(self) -> bool:
        """Whether this program makes the Sidecar of the crawlers' namespaces."""
        if asked := self.crawlers.sidecar_resource:
            return asked == "create"
        asks = bool(self.crawlers.egress_hosts) or self.network.egress == "vendorsOnly"
        return self.istio.install or asks

    @property
    def has_names(self) -> bool:
        """Whether crawlers reach a vendor or a destination by name."""
        return any(v.hosts for v in self.vendors) or any(d.hosts for d in self.destinations)

    @property
    def vendors_as_read(self) -> tuple[Vendor, ...]:
        """The vendors, each with the `inspect` that `crawlers.mode` leaves it."""
        return only_connections(self.vendors) if self.crawlers.mode == "observe" else self.vendors

    @property
    def captures_dns(self) -> bool:
        """Whether the crawlers' sidecars answer DNS."""
        asked = self.crawlers.dns_capture
        return self.has_names if asked is None else asked

    def is_simulated(self, vendor: str) -> bool:
        """Whether connections to the vendor stay in the cluster, and cost nothing."""
        return self.simulated_vendors.enabled and vendor in self.simulated_vendors.vendors
