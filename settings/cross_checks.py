"""What keys of different sections cannot say together.

Each check reads settings whose every key is good by itself, and yields problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from settings.alerts import Alerts, VendorAlerts
from settings.catalogue import Catalogue
from settings.destination_checks import (
    destinations_are_no_vendors,
    destinations_are_outside_the_cluster,
)
from settings.host_checks import (
    crawlers_resolve_names,
    gateways_are_outside_the_cluster,
    hosts_are_unique,
    hosts_have_listed_ports,
    virtual_addresses_are_nobodys,
)
from settings.money_checks import (
    budgets_are_of_something,
    usage_is_asked_of_vendors_with_an_api,
    usage_is_of_products_that_exist,
)
from settings.namespaces import MONITORING_NAMESPACE, SIMULATED_NAMESPACE
from settings.section import Location, Problem, path_text, repeated
from settings.stack import StackSettings
from settings.values.addresses import IPNetwork, PortRange, overlap, split_endpoint
from settings.vendors import AddressRange, Vendor, inspected_ports


def names_are_unique(settings: StackSettings) -> Iterator[Problem]:
    yield from repeated(
        (
            (("vendors", index, "name"), vendor.name)
            for index, vendor in enumerate(settings.vendors)
        ),
        "give it another name, or make them one vendor",
    )
    yield from repeated(
        (("targets", index, "name"), target.name) for index, target in enumerate(settings.targets)
    )
    hosts: list[tuple[Location, str]] = [
        (("targets", index, "hosts", number), host)
        for index, target in enumerate(settings.targets)
        for number, host in enumerate(target.hosts)
    ]
    yield from repeated(hosts)


def ranges_are_unique(settings: StackSettings) -> Iterator[Problem]:
    """Vendors with the same range must differ by port."""
    holders: dict[object, list[tuple[int, Location, AddressRange]]] = {}
    for index, vendor in enumerate(settings.vendors):
        for number, block in enumerate(vendor.cidrs):
            at: Location = ("vendors", index, "cidrs", number)
            for earlier, before, other in holders.setdefault(block.network, []):
                shared = common_port(vendor, settings.vendors[earlier])
                if earlier != index and shared is None:
                    continue
                there = other.where or path_text(before)
                if there == block.where:  # one file of two vendors
                    there = f"in {path_text(('vendors', earlier, 'cidrsFile'))}"
                also = f"'{block.network}' is also {there}"
                if earlier == index:
                    yield Problem(at, f"{also}; remove one", block.where)
                else:
                    both = f", and so is port {shared}" if shared else ""
                    yield Problem(
                        at,
                        f"{also}{both}; keep it where it belongs (a part of it may be another "
                        "vendor's), or give both vendors ports of their own; products that differ "
                        "only by user name are one vendor",
                        block.where,
                    )
                break
            holders[block.network].append((index, at, block))


def common_port(vendor: Vendor, other: Vendor) -> int | None:
    """Return the lowest port that both have at an address they share, 0 if one has all."""
    if not vendor.ports or not other.ports:
        return 0
    shared = [max(a.first, b.first) for a in vendor.ports for b in other.ports if a.meets(b)]
    return min(shared, default=None)


def neighbours(
    settings: StackSettings,
) -> Iterator[tuple[IPNetwork, list[tuple[int, Vendor]]]]:
    """Yield the vendors that may claim a range's connections, with their places in the stack.

    Filter chains match addresses only: vendors that share addresses share one chain. Where all are
    read alike nothing can be wrong, and nothing is yielded.
    """
    if len({vendor.inspect for vendor in settings.vendors}) == 1:
        return
    vendors = {vendor.name: (index, vendor) for index, vendor in enumerate(settings.vendors)}
    catalogue = Catalogue.of(settings.vendors)
    for route in catalogue.routes:
        network = route.network
        yield network, [vendors[one.vendor] for one in catalogue.candidates(network)]


def neighbours_are_inspected_alike(settings: StackSettings) -> Iterator[Problem]:
    """The check below is that of passive vendors."""
    inspected = inspected_ports(settings.vendors)
    reported: set[int] = set()
    for network, candidates in neighbours(settings):
        parsed = [vendor for _, vendor in candidates if vendor.inspect == "http"]
        owned: list[PortRange] = []  # by the candidates before
        for index, vendor in candidates:
            reached = [
                ports
                for ports in inspected
                if any(ports.meets(own) for own in vendor.ports or (ports,))
                and not any(ports.within(own) for own in owned)
            ]
            owned += vendor.ports
            if vendor.inspect != "connections" or not parsed or not reached:
                continue
            if index in reported:
                continue
            reported.add(index)
            yield Problem(
                ("vendors", index, "inspect"),
                f"'connections' cannot hold at {network}, where {parsed[0].name} has "
                f"'http' and port {reached[0]} is inspected; write the same for both, "
                "or give them addresses of their own",
            )


def passive_vendors_share_with_passive_ones(settings: StackSettings) -> Iterator[Problem]:
    """A passive chain parses no HTTP."""
    reported: set[int] = set()
    for network, candidates in neighbours(settings):
        passive = [vendor for _, vendor in candidates if vendor.inspect == "passive"]
        for index, vendor in candidates:
            if not passive or vendor.inspect == "passive" or index in reported:
                continue
            reported.add(index)
            yield Problem(
                ("vendors", index, "inspect"),
                f"{vendor.inspect!r} cannot hold at {network}, where {passive[0].name} has "
                "'passive'; write the same for both, or give them addresses of their own",
            )


def vendors_are_outside_the_cluster(settings: StackSettings) -> Iterator[Problem]:
    for index, vendor in enumerate(settings.vendors):
        pairs = product(enumerate(vendor.cidrs), settings.network.ranges)
        for (number, block), (at, taken) in pairs:
            if overlap(block.network, taken):
                yield Problem(
                    ("vendors", index, "cidrs", number),
                    f"'{block.network}' overlaps {path_text(at)} ({taken}), so traffic inside "
                    "the cluster would count as the vendor's; correct one of them",
                    block.where,
                )


def endpoints_are_their_vendors(settings: StackSettings) -> Iterator[Problem]:
    endpoints: list[tuple[Location, str, str]] = [
        (("loadGenerator", "endpoints", vendor), vendor, proxy.address)
        for vendor, proxy in settings.load_generator.endpoints.items()
    ]
    endpoints += [
        (("simulatedVendors", "vendors", vendor, "endpoint"), vendor, simulated.endpoint)
        for vendor, simulated in settings.simulated_vendors.vendors.items()
    ]
    if not endpoints:
        return
    catalogue = Catalogue.of(settings.vendors)
    names = [vendor.name for vendor in settings.vendors]
    for at, vendor, endpoint in endpoints:
        address, port = split_endpoint(endpoint)
        route = catalogue.find(address, port)
        if vendor not in names:
            remedy = f"the vendors are {', '.join(names)}"
            yield Problem(at, f"{endpoint!r} belongs to no vendor of this stack; {remedy}")
        elif route is None or route.vendor != vendor:
            where = "outside every range"
            if route:
                where = f"in {route.network} of {route.vendor}"
            elif catalogue.covering(address):
                where = "at a port that no vendor has there"
            yield Problem(
                at,
                f"{endpoint!r} lies {where}, so its traffic would not count as {vendor}; "
                f"write an address of {vendor}",
            )


def simulated_vendors_make_logins(settings: StackSettings) -> Iterator[Problem]:
    for vendor, proxy in settings.load_generator.endpoints.items():
        if not settings.is_simulated(vendor):
            continue
        if proxy.credentials_secret and settings.simulated_vendors.vendors[vendor].login:
            yield Problem(
                ("loadGenerator", "endpoints", vendor, "credentialsSecret"),
                f"is not used, {vendor} is simulated and makes its own password; remove it",
            )


def simulated_vendors_prove_nothing(settings: StackSettings) -> Iterator[Problem]:
    for index, vendor in enumerate(settings.vendors):
        if vendor.tls.originate and settings.is_simulated(vendor.name):
            yield Problem(
                ("vendors", index, "tls", "originate"),
                f"true cannot hold, {vendor.name} is simulated and its certificate's key is "
                "public; remove tls in this stack",
            )


def real_traffic_is_bounded(settings: StackSettings) -> Iterator[Problem]:
    generator = settings.load_generator
    if not generator.enabled or generator.max_gb_per_day is not None:
        return
    paid = [name for name in sorted(generator.endpoints) if not settings.is_simulated(name)]
    if paid:
        yield Problem(
            ("loadGenerator", "maxGBPerDay"),
            f"is missing, and synthetic traffic costs real money at {', '.join(paid)}; "
            "write the most GB a day, like maxGBPerDay: 1, or have simulatedVendors",
        )


def namespaces_have_one_purpose(settings: StackSettings) -> Iterator[Problem]:
    crawlers, root = settings.crawlers, settings.istio.root_namespace
    taken = {MONITORING_NAMESPACE: "is where Prometheus and Grafana run without sidecars"}
    if settings.simulated_vendors.enabled:
        taken[SIMULATED_NAMESPACE] = "is where simulated vendors run without sidecars"
        for index, host in enumerate(crawlers.egress_hosts):
            if host.startswith(f"{SIMULATED_NAMESPACE}/"):
                yield Problem(
                    ("crawlers", "egressHosts", index),
                    f"{host!r} are the simulated vendors, which the mesh must take for addresses "
                    "outside; remove it",
                )
    if root in taken:
        yield Problem(
            ("istio", "rootNamespace"),
            f"{root!r} {taken[root]}; write istiod's own namespace, like istio-system",
        )
    taken.setdefault(root, "is istio.rootNamespace, whose settings reach the whole mesh")
    for index, namespace in enumerate(crawlers.namespaces):
        if namespace in taken:
            yield Problem(
                ("crawlers", "namespaces", index),
                f"{namespace!r} {taken[namespace]}; put the crawlers in another namespace",
            )
    # What may scrape simulated vendors may read their books, and crawlers may not.
    if settings.prometheus.namespace in {*crawlers.namespaces} - taken.keys():
        yield Problem(
            ("prometheus", "namespace"),
            f"{settings.prometheus.namespace!r} is one of crawlers.namespaces; write the namespace "
            "that Prometheus runs in",
        )


def what_needs_a_sidecar_has_one(settings: StackSettings) -> Iterator[Problem]:
    crawlers = settings.crawlers
    if crawlers.sidecar_resource != "none":
        return
    at = ("crawlers", "sidecarResource")
    if crawlers.egress_hosts:
        yield Problem(
            at,
            "'none' leaves crawlers.egressHosts without effect; remove the hosts, or ask the "
            "Sidecar's owner to list them",
        )
    if settings.network.egress == "vendorsOnly":
        yield Problem(
            at,
            "'none' leaves nobody to refuse strangers, as network.egress: vendorsOnly asks; write "
            "create",
        )


def pod_security_allows_injection(settings: StackSettings) -> Iterator[Problem]:
    crawlers, istio = settings.crawlers, settings.istio
    if not crawlers.create_namespaces:
        return
    if not istio.install and not istio.sets("cni"):
        yield Problem(
            ("istio", "cni"),
            "is missing; with install: false say whether the cluster's Istio redirects "
            "traffic by its CNI plugin (true) or by istio-init (false), or set "
            "crawlers.createNamespaces: false if the namespaces exist",
        )
    if not istio.cni and crawlers.pod_security != "privileged":
        # What is written here does not change how an Istio of others redirects.
        remedy = "set istio.cni to true, or " if istio.install else "set "
        yield Problem(
            ("crawlers", "podSecurity"),
            f"{crawlers.pod_security!r} refuses the NET_ADMIN that istio-init needs in every "
            f"crawler pod; {remedy}podSecurity to privileged",
        )


def slowness_can_be_seen(settings: StackSettings) -> Iterator[Problem]:
    """A quantile is at most the highest bucket's bound, so a limit above it is never reached."""
    highest = settings.telemetry.buckets[-1]
    places: list[tuple[Location, VendorAlerts | Alerts]] = [(("alerts",), settings.alerts)]
    places += ((("vendors", n, "alerts"), one.alerts) for n, one in enumerate(settings.vendors))
    for at, alerts in places:
        limit = alerts.setup_milliseconds
        if limit is not None and limit >= highest:
            yield Problem(
                (*at, "setupMilliseconds"),
                f"{limit} is not below the highest of telemetry.buckets ({highest}), so no "
                "alert could fire; lower it, or add a bucket above it",
            )


# A hash decides which sidecars: of 10 expected there are none in one stack of 22,000.
LEAST_SAMPLED_SIDECARS = 10


def some_histograms_are_kept(settings: StackSettings) -> Iterator[Problem]:
    pods = settings.crawlers.expected_pods
    most = max(1, pods // LEAST_SAMPLED_SIDECARS)
    sampling = settings.telemetry.histogram_sampling
    if sampling > most:
        yield Problem(
            ("telemetry", "histogramSampling"),
            f"{sampling} keeps the set-up times of fewer than {LEAST_SAMPLED_SIDECARS} of "
            f"crawlers.expectedPods ({pods}), too few to stand for all; "
            f"write {most}" + (" or less" if most > 1 else ""),
        )


def alertmanager_runs_if_configured(settings: StackSettings) -> Iterator[Problem]:
    """Without receivers none runs beside the operator's Prometheus."""
    if settings.runs_alertmanager:
        return
    alertmanager = settings.alertmanager
    for field in type(alertmanager).model_fields:
        if alertmanager.sets(field) and getattr(alertmanager, field) != ():
            yield Problem(
                ("alertmanager", alertmanager.key_of(field)),
                "has no effect, with prometheus.mode: operator and without "
                "alertmanager.receivers no Alertmanager is run; remove it, or add receivers",
            )


def tls_is_for_own_servers(settings: StackSettings) -> Iterator[Problem]:
    if settings.monitoring.tls and not settings.runs_prometheus:
        yield Problem(
            ("monitoring", "tls"),
            "has no effect with prometheus.mode: operator, whose Prometheus would not know the CA; "
            "remove it",
        )


def receivers_have_credentials(settings: StackSettings) -> Iterator[Problem]:
    secrets = settings.alertmanager_secrets
    receivers = settings.alertmanager.receivers
    for index, receiver in enumerate(receivers):
        at: Location = ("alertmanagerSecrets", receiver.name)
        key = f"proxy-observability:{path_text(at)}"
        secret = secrets.get(receiver.name)
        if secret is None:
            yield Problem(
                at,
                f"is missing, alertmanager.receivers[{index}] cannot be reached without it; run "
                f"`pulumi config set --secret --path {key}`, or to render only write "
                f"alertmanagerSecrets: {{{receiver.name}: {{secure: placeholder}}}}",
            )
        elif secret.text is not None and (reason := receiver.why_not_a_credential(secret.text)):
            yield Problem(at, reason)
    for name in sorted(secrets.keys() - {receiver.name for receiver in receivers}):
        remove = f"`pulumi config rm --path proxy-observability:alertmanagerSecrets.{name}`"
        yield Problem(
            ("alertmanagerSecrets", name),
            f"belongs to none of alertmanager.receivers; add that receiver, or run {remove}",
        )


def the_ledger_has_a_source(settings: StackSettings) -> Iterator[Problem]:
    """It takes the hours from the Prometheus of this program that scrapes the sidecars."""
    ledger = settings.ledger
    if ledger.enabled and not settings.runs_prometheus:
        yield Problem(
            ("ledger", "enabled"),
            "takes hours from a Prometheus of this program, and the operator runs it; name its "
            "long-term store in ledger.url",
        )
    if ledger.write_url and not settings.runs_prometheus:
        yield Problem(
            ("ledger", "writeUrl"),
            "would be written to by a Prometheus of this program, and the operator runs it; set "
            "remoteWrite of that one",
        )
    if (ledger.enabled or ledger.url) and not settings.has_crawlers:
        yield Problem(
            ("ledger",),
            "keeps the hours of a cluster's own crawlers, and prometheus.role is global; set it in "
            "the stacks of the other clusters",
        )


def federated_clusters_are_others(settings: StackSettings) -> Iterator[Problem]:
    for index, source in enumerate(settings.prometheus.federate_from):
        if source.cluster == settings.cluster:
            yield Problem(
                ("prometheus", "federateFrom", index, "cluster"),
                f"{source.cluster!r} is this stack's own cluster; remove it, or give one of the "
                "two another name",
            )


def a_global_server_has_no_crawlers(settings: StackSettings) -> Iterator[Problem]:
    if settings.has_crawlers:
        return
    because = "where prometheus.role is global there are no crawlers"
    for key, section in (
        ("loadGenerator", settings.load_generator),
        ("simulatedVendors", settings.simulated_vendors),
    ):
        if section.enabled:
            yield Problem((key, "enabled"), f"true has no effect, {because}; write false")
    for key in ("crawlers", "istio", "telemetry"):
        # The platform is also what this program's own pods run on.
        if settings.sets(key) and getattr(settings, key).model_fields_set - {"platform"}:
            yield Problem((key,), f"has no effect, {because}; remove it")
    for name in ("egress", "ingress"):
        if settings.network.sets(name):
            yield Problem(("network", name), f"has no effect, {because}; remove it")


Checks = tuple[Callable[[StackSettings], Iterator[Problem]], ...]
CHECKS_OF_VENDORS: Checks = (
    names_are_unique,
    ranges_are_unique,
    neighbours_are_inspected_alike,
    passive_vendors_share_with_passive_ones,
    vendors_are_outside_the_cluster,
    hosts_are_unique,
    virtual_addresses_are_nobodys,
    hosts_have_listed_ports,
    destinations_are_no_vendors,
    destinations_are_outside_the_cluster,
)
CHECKS: Checks = (
    *CHECKS_OF_VENDORS,
    crawlers_resolve_names,
    gateways_are_outside_the_cluster,
    endpoints_are_their_vendors,
    simulated_vendors_make_logins,
    simulated_vendors_prove_nothing,
    real_traffic_is_bounded,
    namespaces_have_one_purpose,
    what_needs_a_sidecar_has_one,
    pod_security_allows_injection,
    slowness_can_be_seen,
    some_histograms_are_kept,
    alertmanager_runs_if_configured,
    tls_is_for_own_servers,
    receivers_have_credentials,
    the_ledger_has_a_source,
    federated_clusters_are_others,
    a_global_server_has_no_crawlers,
    budgets_are_of_something,
    usage_is_asked_of_vendors_with_an_api,
    usage_is_of_products_that_exist,
)
