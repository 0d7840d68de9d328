"""What a stack may say: the frozen models behind `Pulumi.<stack>.yaml`.

One class a section, one field a key (camelCase in YAML). A field's description is
the row of `docs/configuration.md`. What two keys may not say together is in
`settings.checks`; parsing and the wording of errors live in `settings.loading`;
address arithmetic in `settings.catalogue`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictInt

from settings.values import (
    AddressRange,
    Behaviour,
    Bytes,
    ChartSource,
    CpuQuantity,
    DnsLabel,
    Duration,
    EgressHost,
    Endpoint,
    Gigabytes,
    HeaderName,
    HostName,
    HostPattern,
    Image,
    LabelKey,
    LabelValue,
    MailAddress,
    MailServer,
    MemoryQuantity,
    Mix,
    Network,
    ObjectName,
    PathInRoot,
    PortRange,
    Ports,
    PrintableText,
    Proxy,
    SecretText,
    Section,
    ServerUrl,
    Share,
    SlackChannel,
    Version,
)

VendorOutcome = Literal[
    "success",
    "auth_challenge",
    "auth_failed",
    "quota_exhausted",
    "rate_limited",
    "blocked",
    "vendor_error",
    "target_error",
]
"""What a vendor's own answer can be called; transport failures are Envoy's to name."""

# Values of the label `proxy_vendor`, or of its neighbours, that already mean something.
RESERVED_NAMES = ("unknown", "other", "none")


def not_reserved(name: str) -> str:
    if name in RESERVED_NAMES:
        raise ValueError("has a meaning of its own in the metrics; choose another name")
    return name


VendorName = Annotated[DnsLabel, AfterValidator(not_reserved)]
TargetName = Annotated[DnsLabel, AfterValidator(not_reserved)]

# Customary ports of HTTP proxies.
USUAL_HTTP_PORTS = tuple(PortRange(port, port) for port in (80, 3128, 8000, 8080, 8888))


def not_of_kubernetes(namespace: str) -> str:
    if namespace == "default" or namespace.startswith("kube-"):
        raise ValueError("belongs to Kubernetes; put the crawlers in a namespace of their own")
    return namespace


CrawlerNamespace = Annotated[DnsLabel, AfterValidator(not_of_kubernetes)]


def often_enough(seconds: int) -> int:
    # The rules take rates over 5 minutes: five samples, so that lost ones leave two.
    if seconds > 60:
        raise ValueError("is too rare for rates over 5m; write 1m or less")
    return seconds


ScrapeInterval = Annotated[Duration, AfterValidator(often_enough)]


# Times the even rate: 2 % of a week's error budget in an hour (rules/vendor_alerts.yml).
FAST_BURN = 3.36
LEAST_OBJECTIVE = 0.75  # below, FAST_BURN times what may fail is nearly all: it could never fire


def reachable_objective(share: float) -> float:
    if share < LEAST_OBJECTIVE:
        raise ValueError(
            f"allows so many failures that the alert on the error budget ({FAST_BURN} times as "
            "many) could hardly fire; write 75% or more"
        )
    return share


Objective = Annotated[Share, AfterValidator(reachable_objective)]
Milliseconds = Annotated[StrictInt, Field(ge=1)]
RequestsPerHour = Annotated[StrictInt, Field(ge=1)]


class OutcomeRule(Section):
    """One line of a vendor's dialect: an answer that means something else than its status."""

    status: Annotated[StrictInt, Field(ge=200, le=599)] = Field(
        description=(
            "HTTP status of the vendor's answer that the rule is about, 200 to 599 "
            "(1xx are not final answers)."
        ),
        examples=[407],
    )
    header: HeaderName | None = Field(
        default=None,
        description=(
            "Header of the answer that must be there as well, in any case. "
            "Without it the status alone decides."
        ),
    )
    contains: PrintableText | None = Field(
        default=None,
        description=(
            "Text that the header's value must contain, in this case. "
            "Without it the header's presence is enough."
        ),
    )
    outcome: VendorOutcome = Field(
        description="What such an answer counts as: the value of the label `proxy_outcome`.",
        examples=["quota_exhausted"],
    )


class VendorAlerts(Section):
    """Limits of one vendor; what is left out is as in the stack's `alerts`."""

    objective: Objective | None = Field(
        default=None, description="As `alerts.objective`, for this vendor."
    )
    minimum_requests_per_hour: RequestsPerHour | None = Field(
        default=None, description="As `alerts.minimumRequestsPerHour`, for this vendor."
    )
    failure_share: Share | None = Field(
        default=None, description="As `alerts.failureShare`, for this vendor."
    )
    auth_failure_share: Share | None = Field(
        default=None, description="As `alerts.authFailureShare`, for this vendor."
    )
    quota_exhausted_share: Share | None = Field(
        default=None, description="As `alerts.quotaExhaustedShare`, for this vendor."
    )
    rate_limited_share: Share | None = Field(
        default=None, description="As `alerts.rateLimitedShare`, for this vendor."
    )
    banned_share: Share | None = Field(
        default=None, description="As `alerts.bannedShare`, for this vendor."
    )
    connect_failure_share: Share | None = Field(
        default=None, description="As `alerts.connectFailureShare`, for this vendor."
    )
    setup_milliseconds: Milliseconds | None = Field(
        default=None, description="As `alerts.setupMilliseconds`, for this vendor."
    )


class Vendor(Section):
    """A proxy vendor: where it is, what is looked into, how it words its refusals."""

    name: VendorName = Field(
        description=(
            "The vendor's name in every metric, dashboard and alert (label `proxy_vendor`). "
            "A DNS label; `unknown`, `other` and `none` are taken. A new name is a new series: "
            "history stays under the old one."
        ),
        examples=["vendor-a"],
    )
    cidrs: Annotated[tuple[AddressRange, ...], Field(min_length=1)] = Field(
        description=(
            "Where the vendor's proxies are: IPv4 or IPv6 blocks, single addresses, or "
            "`{range, pool}`. The longest prefix wins, so a range may lie inside another "
            "vendor's. A connection outside every range is counted as `unknown`. Ranges are spread "
            "over up to 8 filter chains a vendor: a changed range cuts the open tunnels of its "
            "own chain after 45 s, a new vendor cuts nothing unless it brings a new port "
            "(docs/architecture.md)."
        ),
        examples=[["10.1.0.0/16"]],
    )
    # What the file holds is in `cidrs` already: `settings.loading` reads it, the models no file.
    cidrs_file: PathInRoot | None = Field(
        default=None,
        description=(
            "File of more ranges, which are added to `cidrs`: a path from the project's root, "
            "like `ranges/vendor-a.txt`. UTF-8 text with a range a line, `10.1.0.0/16` or "
            "`10.1.8.0/24 residential` (range, white space, pool); `#` begins a comment. For "
            "more ranges than a stack file can hold (see above)."
        ),
        examples=["ranges/vendor-a.txt"],
    )
    ports: Annotated[tuple[Ports, ...], Field(max_length=20)] = Field(
        default=(),
        description=(
            "The vendor's ports at these addresses, numbers or ranges like `10000-10999`, where "
            "several vendors share addresses and differ by port; none means all. A connection to "
            "a port that no vendor has there counts as `unknown`. Inside another vendor's range "
            "the other ports stay that vendor's."
        ),
        examples=[["10000-10999"]],
    )
    http_ports: Annotated[tuple[Ports, ...], Field(min_length=1, max_length=50)] = Field(
        default=USUAL_HTTP_PORTS,
        description=(
            "Ports of the vendor where HTTP is looked for, numbers or ranges. With `ports` they "
            "are among those: the default is what of it is, or else all. On any other port the "
            "vendor is still named, but connections are `opaque`: no outcome, no latency. One "
            "listener serves all vendors: a port that any vendor with `inspect: http` names is "
            "looked into for each, and changing the union of their ports drains every open "
            "outbound connection of the crawlers (45 s)."
        ),
    )
    inspect: Literal["http", "connections"] = Field(
        default="http",
        description=(
            "`http` reads requests and answers on `httpPorts`; `connections` parses nothing of "
            "this vendor's traffic and counts connections and bytes only. On a port that another "
            "vendor names the first bytes are still looked at: a server that speaks first waits up "
            "to a second there. `connections` is also the remedy when Envoy refuses what crawlers "
            "send (see docs/limits.md)."
        ),
    )
    idle_timeout: Duration = Field(
        default=30,
        description=(
            "How long a connection to the vendor is kept once its crawler is silent or gone "
            "(duration). Longer leaves idle sockets at the vendor; shorter gives a slow crawler a "
            "new connection, perhaps with another exit IP."
        ),
    )
    outcomes: tuple[OutcomeRule, ...] = Field(
        default=(),
        description=(
            "The vendor's dialect: rules tried in this order before the table of outcomes below. "
            "A change cuts no connection."
        ),
        examples=[[{"status": 407, "outcome": "quota_exhausted"}]],
    )
    alerts: VendorAlerts = Field(
        default=VendorAlerts(),
        description="Where this vendor's alerts have other limits than the stack's `alerts`.",
    )


class Target(Section):
    """A group of crawled sites, to see which of them a vendor fails on."""

    name: TargetName = Field(
        description=(
            "The group's name: a value of the label `proxy_target`, with `other` for every site "
            "in no group. A DNS label."
        ),
        examples=["shops"],
    )
    hosts: Annotated[tuple[HostPattern, ...], Field(min_length=1, max_length=1000)] = Field(
        description=(
            "The sites: a host, or `*.shop.example` for every host below it; the longest that "
            "fits decides. Seen in plain requests and in CONNECT, not in opaque connections."
        ),
        examples=[["shop.example", "*.shop.example"]],
    )


def http_ports_of(vendor: Vendor) -> tuple[PortRange, ...]:
    """Return the ports on which this vendor wants HTTP looked for."""
    if vendor.inspect != "http":
        return ()
    if "http_ports" in vendor.model_fields_set or not vendor.ports:
        return vendor.http_ports
    usual = tuple(p for p in vendor.http_ports if any(p.within(own) for own in vendor.ports))
    return usual or vendor.ports


def inspected_ports(vendors: Iterable[Vendor]) -> list[PortRange]:
    """Return the ports on which HTTP is looked for, sorted, none twice.

    One listener serves all vendors: a port that one of them names is looked into for each.
    """
    merged: list[PortRange] = []
    for ports in sorted(ports for vendor in vendors for ports in http_ports_of(vendor)):
        if merged and ports.first <= merged[-1].last + 1:
            merged[-1] = PortRange(merged[-1].first, max(merged[-1].last, ports.last))
        else:
            merged.append(ports)
    return merged


class Quantities(Section):
    cpu: CpuQuantity = Field(
        description='CPU in cores ("2") or thousandths of one ("100m").', examples=["100m"]
    )
    memory: MemoryQuantity = Field(
        description='Memory as "256M" (10^6 bytes) or "256Mi" (2^20 bytes).', examples=["256M"]
    )


class Resources(Section):
    requests: Quantities = Field(
        description="What the scheduler sets aside for the container, busy or not.",
        examples=[{"cpu": "100m", "memory": "100M"}],
    )
    limits: Quantities = Field(
        description=(
            "Where the container stops: it is slowed at `cpu` and killed at `memory`. "
            "At least the requests."
        ),
        examples=[{"cpu": "500m", "memory": "256M"}],
    )


def resources(*, cpu: tuple[str, str], memory: tuple[str, str]) -> Resources:
    """Requests and limits from (request, limit) pairs."""
    return Resources(
        requests=Quantities(cpu=cpu[0], memory=memory[0]),
        limits=Quantities(cpu=cpu[1], memory=memory[1]),
    )


class Crawlers(Section):
    """The pods whose connections are attributed."""

    namespaces: Annotated[tuple[CrawlerNamespace, ...], Field(min_length=1)] = Field(
        default=("crawlers",),
        description=(
            "Namespaces of the crawlers. Each gets sidecars and the attribution; pods elsewhere "
            "are not seen. Not `default`, `kube-*`, `monitoring` or `istio.rootNamespace`."
        ),
    )
    create_namespaces: StrictBool = Field(
        default=True,
        description=(
            "Whether this program makes the crawlers' namespaces. `false`: they are there already; "
            "the program then only adds the label that injects sidecars, and enforces no Pod "
            "Security Standard."
        ),
    )
    selector: dict[LabelKey, LabelValue] = Field(
        default={},
        description=(
            "Labels a pod must have to be attributed. Empty: every pod of the namespaces."
        ),
    )
    pod_security: Literal["privileged", "baseline", "restricted"] = Field(
        default="baseline",
        description=(
            "Pod Security Standard enforced in the namespaces. `baseline` and `restricted` refuse "
            "istio-init's NET_ADMIN, so they need `istio.cni`. Not written where "
            "`createNamespaces` is false: it would have no effect."
        ),
    )
    egress_hosts: tuple[EgressHost, ...] = Field(
        default=(),
        description=(
            "Mesh services in other namespaces that crawlers call, as `namespace/*` or "
            "`namespace/host` (as in the egress of Istio's Sidecar). What is not listed is "
            "reached without mTLS and routing, because the crawlers' sidecars know only their own "
            "namespace; listing a namespace whose Service uses a vendor's port takes that port "
            "away from the attribution."
        ),
        examples=[["data/*", "*/redis.example.com"]],
    )
    expected_pods: Annotated[StrictInt, Field(ge=1)] = Field(
        default=1000,
        description=(
            "Crawler pods at the busiest hour. The stack output `expected`, the threshold of the "
            "alert on ingestion and the check of `telemetry.histogramsFromOneIn` follow from it: "
            "too low and the alert fires on a busy day, too high and a flood of series goes "
            "unnoticed. There is no quota; more pods are not refused."
        ),
    )


class Istio(Section):
    """The service mesh: installed by this program, or met as it is."""

    install: StrictBool = Field(
        default=True,
        description=(
            "Whether this program installs Istio's charts. `false`: Istio is there already and "
            "only the attribution is added. Its owner must then merge the stack output "
            "`requiredIstioValues` into Istio's values, or live bytes and `telemetry.buckets` are "
            "missing."
        ),
    )
    version: Version = Field(
        default="1.31.4",
        description=(
            "Istio's release, of charts and images alike. The attribution is written for 1.31; an "
            "upgrade that moves the listener loses labels, never traffic."
        ),
    )
    chart_source: ChartSource = Field(
        default="https://istio-release.storage.googleapis.com/charts",
        description=(
            "Where the charts come from: a repository (`https://`, `http://`, `oci://`), or a "
            "local folder of charts (a path that begins with `/`, `./` or `../`)."
        ),
    )
    revision: DnsLabel = Field(
        default="default",
        description=(
            "Istio revision that serves the crawlers' namespaces. With a wrong one no sidecar is "
            "injected and nothing is measured."
        ),
    )
    root_namespace: DnsLabel = Field(
        default="istio-system",
        description=(
            "Namespace of istiod, and of the configuration it applies to every namespace; not "
            "`monitoring`."
        ),
    )
    cni: StrictBool = Field(
        default=True,
        description=(
            "Whether Istio's CNI plugin redirects traffic. `false`: an init container "
            "(istio-init) does, which needs NET_ADMIN in every crawler pod. With "
            "`install: false` it says what the cluster's Istio does, and is required unless "
            "`crawlers.createNamespaces` is false."
        ),
    )
    # Requests are the brief's 0.1 CPU and 200 MB for a sidecar. The limits are our choice. CPU:
    # the 0.5 a crawler itself may use, since a sidecar works only when its crawler does; throttled
    # at 0.1 a burst of handshakes would show up as a slow vendor. Memory: 2.5 times the request,
    # for buffers of large answers; a sidecar killed for memory cuts every tunnel of its pod.
    sidecar: Resources = Field(
        default=resources(cpu=("100m", "500m"), memory=("200M", "512M")),
        description=(
            "Requests and limits of each crawler's sidecar. Times `crawlers.expectedPods` this is "
            "the largest cost of the mesh; a change takes effect as pods restart."
        ),
    )


class Telemetry(Section):
    """How much each sidecar measures."""

    buckets: Annotated[
        tuple[Annotated[StrictInt, Field(ge=1)], ...], Field(min_length=1, max_length=20)
    ] = Field(
        default=(50, 100, 250, 500, 1000, 2500, 5000, 10000),
        description=(
            "Upper bounds of the set-up time's histogram in milliseconds, ascending, 1 to 20 of "
            "them. Each costs a series per vendor and visibility in every sidecar. A change takes "
            "effect as pods restart."
        ),
    )
    series_budget: Annotated[StrictInt, Field(ge=1)] = Field(
        default=1000,
        description=(
            "Most series that one sidecar may be expected to expose. A stack whose vendors and "
            "buckets come to more is refused before anything is deployed."
        ),
    )
    native_histograms: StrictBool = Field(
        default=False,
        description=(
            "Whether Prometheus stores the set-up time as native histograms, one series each "
            "instead of one for each bucket; boards and alerts stay as they are. Needs Prometheus "
            "3.9 or newer; so does a store of your own that takes ours (docs/series.md)."
        ),
    )
    histograms_from_one_in: Annotated[StrictInt, Field(ge=1)] = Field(
        default=1,
        description=(
            "Set-up times are stored of one sidecar in so many, for stacks with many pods: 10 of "
            "1000 are a hundred, whose quantiles are within a few per cent of all. Requests, "
            "outcomes and bytes are always of every sidecar. At least 10 of "
            "`crawlers.expectedPods` must be left (docs/series.md)."
        ),
    )
    patience: Duration = Field(
        default=10,
        description=(
            "How long a crawler waits before its leaving without an answer counts as the vendor's "
            "`timeout` (duration). Sooner it counts as `client_cancelled`. A change replaces the "
            "chains of every vendor, which cuts all open tunnels to vendors after 45 s."
        ),
    )
    last_scrape: StrictBool = Field(
        default=True,
        description=(
            "Whether a sidecar outlives its crawler until it has been scraped once more: by "
            "`prometheus.scrapeInterval` and 5 s. Without it the mesh misses what a pod did after "
            "its last scrape, 7.5 s on average: an eighth of the traffic of crawlers that live a "
            "minute (docs/limits.md). With it every pod's end, and a Job's completion, comes that "
            "much later, everywhere in the mesh; `terminationGracePeriodSeconds` must leave "
            "room for it. Istio's gateways end as much later; its experimental agentgateway, which "
            "knows no such hook, needs `false`. A change takes effect as pods restart."
        ),
    )


class FederationSource(Section):
    """Another cluster's Prometheus; its password is `federationSecrets.<cluster>`."""

    cluster: DnsLabel = Field(
        description="What that cluster's stack has as `cluster`; records of others are not taken.",
        examples=["eu"],
    )
    url: ServerUrl = Field(
        description=(
            "Where that cluster's Prometheus is reached from this cluster; `/federate` is added. "
            "`https://` wherever others could listen: the password goes with each question."
        ),
        examples=["https://prometheus.eu.example.com"],
    )


class Prometheus(Section):
    """The store of metrics: ours, or one that is there already."""

    mode: Literal["server", "operator", "external"] = Field(
        default="server",
        description=(
            "`server`: this program runs Prometheus. `operator`: the cluster has the Prometheus "
            "operator, as in kube-prometheus-stack, and gets PodMonitors, a ServiceMonitor and "
            "PrometheusRules. `external`: your Prometheus reads files, and gets them in "
            "ConfigMaps. In the last two Alertmanager runs only where `alertmanager.receivers` "
            "has some (docs/own-prometheus.md)."
        ),
    )
    url: ServerUrl | None = Field(
        default=None,
        description=(
            "Where Grafana asks a Prometheus that is not ours; required with `operator` and "
            "`external`."
        ),
        examples=["http://kube-prometheus-stack-prometheus.monitoring.svc:9090"],
    )
    login_secret: ObjectName | None = Field(
        default=None,
        description=(
            "Secret in namespace `monitoring`, of type `kubernetes.io/basic-auth`, whose "
            "`username` and `password` Grafana asks that Prometheus with. It reaches Grafana's pod "
            "and nothing else of this program. Without it Grafana asks without a login."
        ),
        examples=["prometheus-login"],
    )
    operator_labels: dict[LabelKey, LabelValue] = Field(
        default={},
        description=(
            "Labels of the objects of mode `operator`, which requires them: the operator looks at "
            "those alone that its Prometheus' selectors name. Of kube-prometheus-stack it is "
            "`release` with the name of its Helm release; `{}` where everything is taken."
        ),
        examples=[{"release": "kube-prometheus-stack"}],
    )
    namespace: DnsLabel = Field(
        default="monitoring",
        description=(
            "Namespace of a Prometheus that is not ours: simulated vendors let its scrapes in."
        ),
    )
    create_namespace: StrictBool = Field(
        default=True,
        description=(
            "Whether this program makes namespace `monitoring`, for Grafana and all that watches. "
            "`false`: it is there already, and stays as it is. Decide before the first `up`."
        ),
    )
    image: Image = Field(
        default="quay.io/prometheus/prometheus:v3.16.0",
        description=(
            "Prometheus's image, with a tag or a digest. The rules need 3.16 or newer (`anchored`)."
        ),
    )
    replicas: Annotated[StrictInt, Field(ge=1, le=2)] = Field(
        default=1,
        description=(
            "1 or 2. Two scrape everything twice and watch each other, so that one may fail; "
            "each needs `storage` and `resources` of its own."
        ),
    )
    role: Literal["leaf", "global"] = Field(
        default="leaf",
        description=(
            "`leaf`: the server of this cluster's crawlers, whether or not others federate from it "
            "or it from them. `global`: there are no crawlers here, and this cluster watches those "
            "of `federateFrom`; neither mesh nor attribution is made, and `vendors` are for `make "
            "which` alone."
        ),
    )
    shards: Annotated[StrictInt, Field(ge=1, le=32)] = Field(
        default=1,
        description=(
            "Servers that share the sidecars among them, for more than one can hold. With two or "
            "more each records sums of its part, and one more server, which is then the one to "
            "ask, adds them up (docs/federation.md). Each has `replicas`, `storage` and "
            "`resources` of its own. Another number gives most sidecars to another shard: rates "
            "read high or low for five minutes."
        ),
    )
    federate_from: tuple[FederationSource, ...] = Field(
        default=(),
        description=(
            "Other clusters whose records this cluster's Prometheus takes, under their own label "
            "`cluster`, for boards and alerts over all of them (docs/federation.md)."
        ),
        examples=[[{"cluster": "eu", "url": "https://prometheus.eu.example.com"}]],
    )
    retention: Duration = Field(
        default=7 * 86400, description="How long samples are kept (duration)."
    )
    retention_size: Bytes = Field(
        default=40 * 10**9,
        description=(
            "Size of the stored blocks above which the oldest are deleted (bytes). Below "
            "`storage`: the write-ahead log and the newest hours come on top, and a full disk "
            "stops Prometheus."
        ),
    )
    storage: Bytes = Field(
        default=50 * 2**30,
        description=(
            "Size that new volumes get, one for each replica (bytes). Raising it later does not "
            "grow the volumes there are: patch their claims (docs/runbooks/PrometheusDown.md)."
        ),
    )
    scrape_interval: ScrapeInterval = Field(
        default=15,
        description=(
            "Time between two scrapes of a sidecar (duration, at most 1m: rates are taken over "
            "5m and must survive missed scrapes). Half the interval is twice the samples."
        ),
    )
    resources: Resources = Field(
        default=resources(cpu=("2", "3"), memory=("4G", "6G")),
        description=(
            "Requests and limits of each Prometheus; 4 GB and 2 CPU are planned for 1000 pods. "
            "Memory follows the number of series."
        ),
    )
    node_metrics: StrictBool = Field(
        default=True,
        description=(
            "Whether the kubelets are asked for the sidecars' CPU and memory and for how full our "
            "volumes are. It takes the one right that no namespace bounds: reading nodes and "
            "their metrics. `false`: the alerts on sidecars near their limits and on volumes "
            "have nothing to go by."
        ),
    )


class Alerts(Section):
    """When an alert fires; the alerts themselves are in rules/.

    A share is of a vendor's requests over 5 minutes.
    """

    objective: Objective = Field(
        default=0.95,
        description=(
            "Share of its requests that a vendor has to carry over a week. What is left is its "
            "error budget; it pages when 2 % of a week's is gone in an hour (at 95 %: 17 % of "
            "requests fail), and makes a ticket at 5 % in six hours (7 %). 75 % or more. The "
            "default is what residential proxies keep on a good week: with 99 % somebody gets up "
            "for every site that changes its protection."
        ),
    )
    minimum_requests_per_hour: RequestsPerHour = Field(
        default=360,
        description=(
            "Least traffic that a share is taken of, for connections likewise. At 360 an hour, 30 "
            "in 5 minutes, one failed request is 3 %; with less a single one would be an alert."
        ),
    )
    failure_share: Share = Field(
        default=0.5,
        description=(
            "Failed requests at which a vendor is out of order and somebody gets up after 5 "
            "minutes, before the budget's hour is over. Half: more fails than works."
        ),
    )
    auth_failure_share: Share = Field(
        default=0.05,
        description=(
            "Requests answered 407 although they carry credentials. In good order there are none; "
            "5 % leaves room for one crawler with an old password among twenty."
        ),
    )
    quota_exhausted_share: Share = Field(
        default=0.01,
        description=(
            "Requests refused because what was paid for is used up. It does not get better by "
            "itself, so 1 % is enough."
        ),
    )
    rate_limited_share: Share = Field(
        default=0.1,
        description=(
            "Requests answered 429. Crawlers that find a vendor's limit by trying live with some; "
            "above 10 % they waste more than they gain."
        ),
    )
    banned_share: Share = Field(
        default=0.2,
        description=(
            "Requests to a target group answered 403 or 451. Some sites always refuse a part; one "
            "in five is where rotating addresses no longer helps."
        ),
    )
    connect_failure_share: Share = Field(
        default=0.1,
        description=(
            "Connections to the vendor that fail. Gateways that restart lose a few; a tenth is one "
            "of ten addresses dead."
        ),
    )
    setup_milliseconds: Milliseconds = Field(
        default=5000,
        description=(
            "Time until an answer begins that one request in twenty exceeds, in milliseconds. "
            "Below the highest of `telemetry.buckets`: nothing longer can be told apart. The "
            "default is half of `telemetry.patience`."
        ),
    )
    outside_share: Share = Field(
        default=0.2,
        description=(
            "Bytes of the crawler pods that go to no vendor's range. Names, APIs and stores "
            "outside the cluster belong there; raise it where crawling without a proxy is meant."
        ),
    )
    rule_files: tuple[PathInRoot, ...] = Field(
        default=(),
        description=(
            "Rule files of your own, which Prometheus reads beside ours: paths from the project's "
            "root. A name that ours use is refused, and so is an alert whose `severity` is not "
            "`page`, `ticket` or `none`."
        ),
        examples=[["my-rules/shops.yml"]],
    )


class Receiver(Section):
    """Somebody who gets alerts; the credential is `alertmanagerSecrets.<name>`."""

    name: DnsLabel = Field(
        description="Name for `page`, `ticket` and `heartbeat`, and of its credential.",
        examples=["oncall"],
    )
    kind: Literal["slack", "pagerduty", "email", "webhook"] = Field(
        description=(
            "What it is. Its credential: `slack` the incoming webhook's URL, `pagerduty` the "
            "integration key (Events API v2), `email` the password, `webhook` the URL."
        ),
        examples=["pagerduty"],
    )
    channel: SlackChannel | None = Field(
        default=None, description="The channel, of a receiver of kind `slack`."
    )
    to: MailAddress | None = Field(default=None, description="To whom, of kind `email`.")
    sender: MailAddress | None = Field(
        default=None, description="From whom, of kind `email`; also the user at the server."
    )
    smarthost: MailServer | None = Field(
        default=None, description="The mail server, `host:port`, of kind `email`; TLS is required."
    )


class Alertmanager(Section):
    """Who hears of an alert."""

    image: Image = Field(
        default="quay.io/prometheus/alertmanager:v0.34.2",
        description="Alertmanager's image, with a tag or a digest.",
    )
    replicas: Annotated[StrictInt, Field(ge=1, le=3)] = Field(
        default=1,
        description=(
            "1 to 3. Several tell each other what was sent, so that each message comes once as "
            "long as one of them runs."
        ),
    )
    storage: Bytes = Field(
        default=2**30,
        description="Size of a replica's volume: silences, and what was sent (bytes).",
    )
    retention: Duration = Field(
        default=5 * 86400,
        description="How long ended silences and what was sent are remembered (duration).",
    )
    repeat: Duration = Field(
        default=4 * 3600,
        description="Time after which an alert that still fires is told again (duration).",
    )
    receivers: tuple[Receiver, ...] = Field(
        default=(),
        description="Who can be told. Without any, alerts are in Alertmanager and nowhere else.",
        examples=[[{"name": "oncall", "kind": "pagerduty"}]],
    )
    page: tuple[DnsLabel, ...] = Field(
        default=(),
        description="Receivers of alerts with severity `page`: somebody gets up.",
        examples=[["oncall"]],
    )
    ticket: tuple[DnsLabel, ...] = Field(
        default=(),
        description="Receivers of alerts with severity `ticket`: on the next working day.",
        examples=[["oncall"]],
    )
    heartbeat: tuple[DnsLabel, ...] = Field(
        default=(),
        description=(
            "Receivers of Watchdog, every minute or two: a service outside the cluster that "
            "complains when it stops. Only that can tell of a monitoring that is down as a whole."
        ),
        examples=[["oncall"]],
    )
    resources: Resources = Field(
        default=resources(cpu=("50m", "250m"), memory=("64M", "256M")),
        description="Requests and limits of each Alertmanager.",
    )


class Grafana(Section):
    """The dashboards."""

    image: Image = Field(
        default="docker.io/grafana/grafana:13.2.3",
        description="Grafana's image, with a tag or a digest.",
    )
    resources: Resources = Field(
        default=resources(cpu=("500m", "750m"), memory=("512M", "1G")),
        description="Requests and limits of Grafana.",
    )


class LoadGenerator(Section):
    """Synthetic crawlers, whose own books the metrics are compared with."""

    enabled: StrictBool = Field(
        default=False,
        description=(
            "Whether synthetic traffic runs. It uses the proxies of `endpoints`, and what their "
            "vendors charge for it, unless they are simulated (`simulatedVendors`)."
        ),
    )
    image: Image = Field(
        default="docker.io/library/python:3.11-slim",
        description="A Python image; the generator needs nothing else.",
    )
    profile: Literal["burst", "diurnal", "ramp", "scrapy", "steady"] = Field(
        default="steady",
        description=(
            "How crawlers crawl (simulation/profiles/): `steady` evenly, `scrapy` as Scrapy does "
            "by default, `burst` with a rush each minute, `diurnal` by the time of day, `ramp` "
            "from nothing to the full rate in 5 minutes, where it stays."
        ),
    )
    replicas: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(
        default=1, description="Pods that share the synthetic traffic, each with its own seed."
    )
    requests_per_second: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None,
        description=(
            "Requests per second of all replicas together, spread over `endpoints`: what the "
            "profile's course goes by. Without it the profile's own. `scrapy` has none: it asks "
            "as fast as it is answered, 16 requests at a time in each replica."
        ),
    )
    endpoints: dict[DnsLabel, Proxy] = Field(
        default={},
        description=(
            "The proxy to use for each vendor: vendor's name to `address:port`, or to "
            "`{address, weight, session, credentialsSecret}`; an address in that vendor's own "
            "ranges. Vendors left out get no synthetic traffic."
        ),
    )
    mix: Mix | None = Field(
        default=None,
        description=(
            "Shares of `http`, `tunnel` (CONNECT), `tls` (to the proxy), `socks5` and `h2c`, "
            "together 1. Without it the profile's; of that, proxies that are not simulated get "
            "`http` and `tunnel` alone."
        ),
    )
    host_suffix: HostName = Field(
        default="sim.test",
        description=(
            "Domain of the sites that are asked for, `site-1.<domain>` and so on. Simulated "
            "vendors answer for any; real ones need sites that exist."
        ),
    )
    max_gb_per_day: Gigabytes | None = Field(
        default=None,
        alias="maxGBPerDay",
        description=(
            "Most GB (10^9 bytes) a UTC day that all replicas together may send and receive; then "
            "they stop until the next. Required for proxies that are not simulated: synthetic "
            "traffic costs real money. Each replica has an equal part, which outlives its "
            "container, not its pod."
        ),
    )
    resources: Resources = Field(
        default=resources(cpu=("100m", "500m"), memory=("100M", "256M")),
        description="Requests and limits of each generator pod: a crawler's own.",
    )


class SimulatedVendor(Section):
    """A vendor of the stack that runs in the cluster instead of far away."""

    endpoint: Endpoint = Field(
        description=(
            "Where crawlers find its proxy: the cluster IP its Service gets, in the vendor's own "
            "ranges, and the port."
        ),
        examples=["10.1.0.10:3128"],
    )
    login: StrictBool = Field(
        default=True,
        description=(
            "Whether it asks for credentials. The load generator gets the password that is made "
            "for it; the Secret is in namespace `proxy-vendors`."
        ),
    )
    behaviour: Behaviour = Field(
        default={},
        description=(
            "How it treats its customers, in the simulated vendor's own words: `exits`, `limits`, "
            "`latency_seconds`, `dialect`, `faults` (docs/simulated-vendors.md)."
        ),
        examples=[{"latency_seconds": {"p50": 0.2, "p95": 0.9}}],
    )


class SimulatedVendors(Section):
    """Vendors that cost nothing, behave as told, and count what they saw."""

    enabled: StrictBool = Field(
        default=False,
        description=(
            "Whether the vendors below run in this cluster, in namespace `proxy-vendors`. Crawlers "
            "that connect to their addresses then reach the simulation, not the vendor."
        ),
    )
    service_cidr: Literal["create", "none"] = Field(
        default="create",
        description=(
            "`create` makes a ServiceCIDR of four addresses around each endpoint (Kubernetes 1.33 "
            "or newer), or the API server refuses cluster IPs there. `none`: the cluster's Service "
            "ranges hold the endpoints already (docs/simulated-vendors.md)."
        ),
    )
    vendors: dict[DnsLabel, SimulatedVendor] = Field(
        default={},
        description="The vendors that are simulated: a name of `vendors` to what follows.",
        examples=[{"vendor-a": {"endpoint": "10.1.0.10:3128"}}],
    )
    image: Image = Field(
        default="docker.io/library/python:3.11-slim",
        description="A Python image; the simulation needs nothing else.",
    )
    # Three vendors at the dev stack's rate use some 50m and 40 MB each.
    resources: Resources = Field(
        default=resources(cpu=("100m", "1"), memory=("100M", "256M")),
        description="Requests and limits of each simulated vendor's pod.",
    )


class ClusterNetwork(Section):
    """The cluster's own addresses, which can be no vendor's."""

    pod_cidrs: tuple[Network, ...] = Field(
        default=(),
        description=(
            "The cluster's pod ranges. A vendor's range that overlaps one is refused: traffic "
            "between pods would count as the vendor's."
        ),
        examples=[["10.244.0.0/16"]],
    )
    service_cidrs: tuple[Network, ...] = Field(
        default=(),
        description=(
            "The cluster's Service ranges; refused for vendors alike, unless they are simulated."
        ),
        examples=[["10.96.0.0/12"]],
    )


class StackSettings(Section):
    """Everything one stack file says, with its defaults filled in.

    `settings.loading` is the door: it also makes the checks that span sections.
    """

    cluster: DnsLabel = Field(
        description=(
            "Name of the cluster: the label `cluster` of everything that leaves it. A DNS label."
        ),
        examples=["dev"],
    )
    vendors: Annotated[tuple[Vendor, ...], Field(min_length=1)] = Field(
        description="The proxy vendors of this stack, at least one; names are unique.",
        examples=[[{"name": "vendor-a", "cidrs": ["10.1.0.0/16"]}]],
    )
    targets: Annotated[tuple[Target, ...], Field(max_length=50)] = Field(
        default=(),
        description=(
            "Groups of crawled sites. With any, each request has the label `proxy_target`, and "
            "the series of the request counter multiply by their number plus one. A change of "
            "hosts cuts no connection; the first group and the last replace every chain that "
            "parses HTTP."
        ),
        examples=[[{"name": "shops", "hosts": ["shop.example"]}]],
    )
    crawlers: Crawlers = Field(
        default=Crawlers(), description="The pods whose connections are attributed."
    )
    istio: Istio = Field(default=Istio(), description="The service mesh that carries it.")
    telemetry: Telemetry = Field(default=Telemetry(), description="How much each sidecar measures.")
    prometheus: Prometheus = Field(
        default=Prometheus(), description="The store of metrics, and what it may use."
    )
    alerts: Alerts = Field(default=Alerts(), description="When an alert fires.")
    alertmanager: Alertmanager = Field(
        default=Alertmanager(), description="Who hears of an alert, and how."
    )
    alertmanager_secrets: dict[DnsLabel, SecretText] = Field(
        default={},
        description=(
            "The credential of each receiver, by its name. Set them encrypted: `pulumi config set "
            "--secret --path proxy-observability:alertmanagerSecrets.oncall`; in clear they are "
            "refused."
        ),
    )
    federation_secrets: dict[DnsLabel, SecretText] = Field(
        default={},
        description=(
            "The password of each of `prometheus.federateFrom`, by its cluster: that stack's "
            "output `prometheusPassword`. Set them encrypted: `pulumi config set --secret --path "
            "proxy-observability:federationSecrets.eu`; in clear they are refused."
        ),
    )
    grafana: Grafana = Field(default=Grafana(), description="The dashboards' server.")
    load_generator: LoadGenerator = Field(
        default=LoadGenerator(), description="Synthetic traffic to check the numbers with."
    )
    simulated_vendors: SimulatedVendors = Field(
        default=SimulatedVendors(), description="Vendors that run in the cluster, for rehearsals."
    )
    network: ClusterNetwork = Field(
        default=ClusterNetwork(), description="The cluster's own addresses, no vendor's."
    )

    @property
    def runs_prometheus(self) -> bool:
        """Whether Prometheus is ours; else the stack has one, and may have an Alertmanager too."""
        return self.prometheus.mode == "server"

    @property
    def runs_alertmanager(self) -> bool:
        return self.runs_prometheus or bool(self.alertmanager.receivers)

    def is_simulated(self, vendor: str) -> bool:
        """Whether connections to the vendor stay in the cluster, and cost nothing."""
        return self.simulated_vendors.enabled and vendor in self.simulated_vendors.vendors
