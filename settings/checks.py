"""What two keys of a stack may not say together.

Each check reads whole settings and yields clashes. A clash names every key it rests on:
when one of those was refused already, `settings.loading` put a stand-in there and drops
the clash, so that one mistake is told once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from settings.catalogue import Catalogue
from settings.keys import Location, text_of
from settings.model import OutcomeRule, Resources, StackSettings, Vendor, inspected_ports
from settings.service_ranges import IPAddress, assignable, service_range
from settings.values import (
    AddressRange,
    PortRange,
    cpu_millis,
    format_bytes,
    memory_bytes,
    overlap,
    split_endpoint,
)
from simulation.proxy.reading import read_behaviour

# Prometheus and Grafana run there, without sidecars.
MONITORING_NAMESPACE = "monitoring"

# Simulated vendors run there, without sidecars: they are no part of the mesh.
SIMULATED_NAMESPACE = "proxy-vendors"

RATELESS_PROFILES = ("scrapy",)  # whose arrival is "closed"


@dataclass(frozen=True, kw_only=True)
class Clash:
    at: Location
    says: str  # "reason; fix", the value first
    rests_on: tuple[Location, ...] = ()  # beside `at`
    where: str = ""  # the line of a file, where what stands `at` came from one


def vendor_names_are_unique(settings: StackSettings) -> Iterator[Clash]:
    first: dict[str, Location] = {}
    for index, vendor in enumerate(settings.vendors):
        at: Location = ("vendors", index, "name")
        earlier = first.setdefault(vendor.name, at)
        if earlier != at:
            yield Clash(
                at=at,
                says=f"{vendor.name!r} is also {text_of(earlier)}; "
                "give it another name, or make them one vendor",
                rests_on=(earlier,),
            )


def ranges_are_unique(settings: StackSettings) -> Iterator[Clash]:
    """The same range twice is told apart by ports, or not at all."""
    holders: dict[object, list[tuple[int, Location, AddressRange]]] = {}
    for index, vendor in enumerate(settings.vendors):
        for number, block in enumerate(vendor.cidrs):
            at: Location = ("vendors", index, "cidrs", number)
            for earlier, before, other in holders.setdefault(block.network, []):
                shared = common_port(vendor, settings.vendors[earlier])
                if earlier != index and shared is None:
                    continue
                there = other.where or text_of(before)
                if there == block.where:  # one file of two vendors
                    there = f"in {text_of(('vendors', earlier, 'cidrsFile'))}"
                also = f"'{block.network}' is also {there}"
                if earlier == index:
                    yield Clash(
                        at=at, where=block.where, says=f"{also}; remove one", rests_on=(before,)
                    )
                    break
                both = f", and so is port {shared}" if shared else ""
                yield Clash(
                    at=at,
                    where=block.where,
                    says=f"{also}{both}; "
                    "keep it where it belongs (a part of it may be another vendor's), "
                    "or give both vendors ports of their own",
                    rests_on=(before, *(("vendors", one, "ports") for one in (earlier, index))),
                )
                break
            holders[block.network].append((index, at, block))


def common_port(one: Vendor, other: Vendor) -> int | None:
    """The lowest port that both have at an address they share, 0 where one has all."""
    if not one.ports or not other.ports:
        return 0
    met = [max(a.first, b.first) for a in one.ports for b in other.ports if a.meets(b)]
    return min(met, default=None)


def ports_are_unique(settings: StackSettings) -> Iterator[Clash]:
    for index, vendor in enumerate(settings.vendors):
        for key, listed in (("ports", vendor.ports), ("httpPorts", vendor.http_ports)):
            for number, ports in enumerate(listed):
                at: Location = ("vendors", index, key, number)
                for earlier in range(number):
                    if not ports.meets(listed[earlier]):
                        continue
                    before: Location = ("vendors", index, key, earlier)
                    says = f"{ports} is also {text_of(before)}; remove one"
                    if ports != listed[earlier]:
                        says = (
                            f"{ports} overlaps {text_of(before)} ({listed[earlier]}); "
                            "write both as one range"
                        )
                    yield Clash(at=at, says=says, rests_on=(before,))
                    break


def http_ports_are_the_vendors(settings: StackSettings) -> Iterator[Clash]:
    for index, vendor in enumerate(settings.vendors):
        if not vendor.ports or "http_ports" not in vendor.model_fields_set:
            continue
        for number, ports in enumerate(vendor.http_ports):
            if not any(ports.within(own) for own in vendor.ports):
                own = ", ".join(map(str, vendor.ports))
                yield Clash(
                    at=("vendors", index, "httpPorts", number),
                    says=f"{ports} is not among the vendor's ports ({own}); "
                    "remove it, or add it to ports",
                    rests_on=(("vendors", index, "ports"),),
                )


def what_is_shared_is_inspected_alike(settings: StackSettings) -> Iterator[Clash]:
    """Chains know addresses only: where one vendor's HTTP is parsed, so is its neighbour's."""
    if len({vendor.inspect for vendor in settings.vendors}) == 1:
        return
    looked_into = inspected_ports(settings.vendors)
    vendors = {vendor.name: (index, vendor) for index, vendor in enumerate(settings.vendors)}
    catalogue = Catalogue.of(settings.vendors)
    told: set[int] = set()
    for route in catalogue.routes:
        rungs = [vendors[rung.vendor] for rung in catalogue.rungs(route.network)]
        parsed = [vendor for _, vendor in rungs if vendor.inspect == "http"]
        owned: list[PortRange] = []  # by those who are asked first
        for index, vendor in rungs:
            met = [
                p
                for p in looked_into
                if any(p.meets(own) for own in vendor.ports or (p,))
                and not any(p.within(own) for own in owned)
            ]
            owned += vendor.ports
            if vendor.inspect == "http" or not parsed or not met or index in told:
                continue
            told.add(index)
            yield Clash(
                at=("vendors", index, "inspect"),
                says=f"'connections' cannot hold at {route.network}, where {parsed[0].name} has "
                f"'http' and port {met[0]} is looked into; write the same for both, "
                "or give them addresses of their own",
                rests_on=(("vendors",),),
            )


def targets_are_unique(settings: StackSettings) -> Iterator[Clash]:
    names: dict[str, Location] = {}
    hosts: dict[str, Location] = {}
    for index, target in enumerate(settings.targets):
        named: list[tuple[dict[str, Location], str, Location]] = [
            (names, target.name, ("targets", index, "name"))
        ]
        named += [
            (hosts, host, ("targets", index, "hosts", number))
            for number, host in enumerate(target.hosts)
        ]
        for first, text, at in named:
            earlier = first.setdefault(text, at)
            if earlier != at:
                yield Clash(
                    at=at,
                    says=f"{text!r} is also {text_of(earlier)}; remove one",
                    rests_on=(earlier,),
                )


def contains_needs_a_header(settings: StackSettings) -> Iterator[Clash]:
    for index, vendor in enumerate(settings.vendors):
        for number, rule in enumerate(vendor.outcomes):
            at: Location = ("vendors", index, "outcomes", number)
            if rule.contains is not None and rule.header is None:
                yield Clash(
                    at=(*at, "contains"),
                    says=f"{rule.contains!r} is looked for in no header; "
                    "add header, or remove contains",
                    rests_on=((*at, "header"),),
                )


def outcome_rules_are_reachable(settings: StackSettings) -> Iterator[Clash]:
    """The first match wins: a rule behind one with the same or a wider condition is dead."""
    for index, vendor in enumerate(settings.vendors):
        for number, rule in enumerate(vendor.outcomes):
            for earlier in range(number):
                if not takes_all_of(vendor.outcomes[earlier], rule):
                    continue
                at: Location = ("vendors", index, "outcomes", number)
                before: Location = ("vendors", index, "outcomes", earlier)
                yield Clash(
                    at=at,
                    says=f"never applies, {text_of(before)} takes every such answer; "
                    "remove one, or put the narrower one first",
                    rests_on=(before,),
                )
                break


def takes_all_of(wide: OutcomeRule, narrow: OutcomeRule) -> bool:
    if wide.status != narrow.status:
        return False
    if wide.header is None:
        return True
    if narrow.header is None or wide.header.lower() != narrow.header.lower():
        return False
    return wide.contains is None or wide.contains in (narrow.contains or "")


def load_generator_has_endpoints(settings: StackSettings) -> Iterator[Clash]:
    if settings.load_generator.enabled and not settings.load_generator.endpoints:
        yield Clash(
            at=("loadGenerator", "enabled"),
            says="true sends traffic nowhere; add loadGenerator.endpoints, "
            "like {vendor-a: 10.1.0.10:3128}, or write false",
            rests_on=(("loadGenerator", "endpoints"),),
        )


def endpoints_are_their_vendors(settings: StackSettings) -> Iterator[Clash]:
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
    spoken_of = tuple(
        ("vendors", index, key)
        for index in range(len(names))
        for key in ("name", "cidrs", "cidrsFile", "ports")
    )
    for at, vendor, endpoint in endpoints:
        address, port = split_endpoint(endpoint)
        route = catalogue.find(address, port)
        if vendor not in names:
            yield Clash(
                at=at,
                says=f"{endpoint!r} belongs to no vendor of this stack; "
                f"the vendors are {', '.join(names)}",
                rests_on=tuple(location for location in spoken_of if location[-1] == "name"),
            )
        elif route is None or route.vendor != vendor:
            whose = f"in {route.network} of {route.vendor}" if route else "outside every range"
            if not route and catalogue.covering(address):
                whose = "at a port that no vendor has there"
            yield Clash(
                at=at,
                says=f"{endpoint!r} lies {whose}, so its traffic would not count as {vendor}; "
                f"write an address of {vendor}",
                rests_on=spoken_of,
            )


def simulated_proxies_are_there(settings: StackSettings) -> Iterator[Clash]:
    """Where a vendor is simulated, one place of its ranges answers, and nothing else."""
    for vendor, proxy in settings.load_generator.endpoints.items():
        if not settings.is_simulated(vendor):
            continue
        simulated = settings.simulated_vendors.vendors[vendor]
        at: Location = ("loadGenerator", "endpoints", vendor)
        there: Location = ("simulatedVendors", "vendors", vendor, "endpoint")
        switch: Location = ("simulatedVendors", "enabled")
        if split_endpoint(proxy.address) != split_endpoint(simulated.endpoint):
            yield Clash(
                at=at,
                says=f"{proxy.address!r} is where no simulated {vendor} listens; "
                f"write {simulated.endpoint}, as {text_of(there)}",
                rests_on=(there, switch),
            )
        if proxy.credentials_secret and simulated.login:
            yield Clash(
                at=(*at, "credentialsSecret"),
                says=f"is not asked for, {vendor} is simulated and makes its own password; "
                "remove it",
                rests_on=((*there[:-1], "login"), switch),
            )


def real_traffic_is_bounded(settings: StackSettings) -> Iterator[Clash]:
    generator = settings.load_generator
    if not generator.enabled or generator.max_gb_per_day is not None:
        return
    paid = [name for name in sorted(generator.endpoints) if not settings.is_simulated(name)]
    if paid:
        yield Clash(
            at=("loadGenerator", "maxGBPerDay"),
            says=f"is missing, and synthetic traffic costs real money at {', '.join(paid)}; "
            "write the most GB a day, like maxGBPerDay: 1, or have simulatedVendors",
            rests_on=(("loadGenerator", "endpoints"), ("simulatedVendors",)),
        )


def some_endpoint_has_weight(settings: StackSettings) -> Iterator[Clash]:
    proxies = settings.load_generator.endpoints.values()
    if proxies and not any(proxy.weight for proxy in proxies):
        yield Clash(
            at=("loadGenerator", "endpoints"),
            says="has no weight above 0, so nothing would be sent; give one a weight",
        )


def a_profile_without_rate_gets_none(settings: StackSettings) -> Iterator[Clash]:
    generator = settings.load_generator
    if generator.requests_per_second and generator.profile in RATELESS_PROFILES:
        yield Clash(
            at=("loadGenerator", "requestsPerSecond"),
            says=f"{generator.requests_per_second} has no meaning with profile "
            f"{generator.profile}, which asks again as soon as it is answered; "
            "remove it, or take another profile",
            rests_on=(("loadGenerator", "profile"),),
        )


def some_vendor_is_simulated(settings: StackSettings) -> Iterator[Clash]:
    if settings.simulated_vendors.enabled and not settings.simulated_vendors.vendors:
        yield Clash(
            at=("simulatedVendors", "enabled"),
            says="true simulates nobody; add simulatedVendors.vendors, "
            "like {vendor-a: {endpoint: 10.1.0.10:3128}}, or write false",
            rests_on=(("simulatedVendors", "vendors"),),
        )


def simulated_addresses_can_be_services(settings: StackSettings) -> Iterator[Clash]:
    simulated = settings.simulated_vendors
    ranges = settings.network.service_cidrs
    first: dict[IPAddress, Location] = {}
    for vendor, one in simulated.vendors.items():
        at: Location = ("simulatedVendors", "vendors", vendor, "endpoint")
        address, _ = split_endpoint(one.endpoint)
        earlier = first.setdefault(address, at)
        if earlier != at:
            yield Clash(
                at=at,
                says=f"{one.endpoint!r} has the address of {text_of(earlier)}, and an address is "
                "one Service; write another of the vendor's",
                rests_on=(earlier,),
            )
        possible = assignable(service_range(address))
        if simulated.service_cidr == "create" and address not in possible:
            yield Clash(
                at=at,
                says=f"{one.endpoint!r} is the first or last address of "
                f"{service_range(address)}, which no Service can get; write {possible[0]} or "
                f"{possible[1]}",
                rests_on=(("simulatedVendors", "serviceCidr"),),
            )
        if simulated.service_cidr == "none" and ranges and not any(address in r for r in ranges):
            yield Clash(
                at=at,
                says=f"{one.endpoint!r} lies in none of network.serviceCidrs, so it can be no "
                "cluster IP; write serviceCidr: create, or correct network.serviceCidrs",
                rests_on=(("simulatedVendors", "serviceCidr"), ("network", "serviceCidrs")),
            )


def behaviours_are_known(settings: StackSettings) -> Iterator[Clash]:
    """What the simulated vendor itself would say at its start, in a log of its pod."""
    for vendor, one in settings.simulated_vendors.vendors.items():
        findings: list[str] = []
        read_behaviour(one.behaviour, "", findings, {})
        for finding in sorted(findings):
            key, _, rest = finding.partition(": ")
            reason, _, fix = rest.rpartition(": ")
            yield Clash(
                at=("simulatedVendors", "vendors", vendor, "behaviour", *key.split(".")),
                says=f"{reason}; {fix}",
            )


def simulated_vendors_have_their_own_namespace(settings: StackSettings) -> Iterator[Clash]:
    if not settings.simulated_vendors.enabled:
        return
    switch: Location = ("simulatedVendors", "enabled")
    for index, namespace in enumerate(settings.crawlers.namespaces):
        if namespace == SIMULATED_NAMESPACE:
            yield Clash(
                at=("crawlers", "namespaces", index),
                says=f"{namespace!r} is where simulated vendors run without sidecars; "
                "put the crawlers in another namespace",
                rests_on=(switch,),
            )
    if settings.istio.root_namespace == SIMULATED_NAMESPACE:
        yield Clash(
            at=("istio", "rootNamespace"),
            says=f"{SIMULATED_NAMESPACE!r} is where simulated vendors run; "
            "write istiod's own namespace, like istio-system",
            rests_on=(switch,),
        )
    for index, host in enumerate(settings.crawlers.egress_hosts):
        if host.startswith(f"{SIMULATED_NAMESPACE}/"):
            yield Clash(
                at=("crawlers", "egressHosts", index),
                says=f"{host!r} are the simulated vendors, which the mesh must take for addresses "
                "outside; remove it",
                rests_on=(switch,),
            )


def retention_fits_the_volume(settings: StackSettings) -> Iterator[Clash]:
    prometheus = settings.prometheus
    if prometheus.retention_size >= prometheus.storage:
        yield Clash(
            at=("prometheus", "retentionSize"),
            says=f"{format_bytes(prometheus.retention_size)} is not below prometheus.storage "
            f"({format_bytes(prometheus.storage)}); write about 80 % of it, "
            "a full disk stops Prometheus",
            rests_on=(("prometheus", "storage"),),
        )


# Of our own servers: the rules' `anchored` is stable since the one, `--dispatch.start-delay` is
# known since the other. An older Prometheus would refuse every rule, and not come up after a
# restart.
LEAST_PROMETHEUS, LEAST_ALERTMANAGER = (3, 16), (0, 30)


def images_know_what_is_asked_of_them(settings: StackSettings) -> Iterator[Clash]:
    """By the tag, where that is a version: of a digest or a name nothing is known."""
    images = {
        "prometheus": (settings.runs_prometheus, settings.prometheus.image, LEAST_PROMETHEUS),
        "alertmanager": (
            settings.runs_alertmanager,
            settings.alertmanager.image,
            LEAST_ALERTMANAGER,
        ),
    }
    for section, (runs, image, least) in images.items():
        tag = re.search(r":v?([0-9]+)\.([0-9]+)[^@/:]*$", image)
        if runs and tag and (int(tag[1]), int(tag[2])) < least:
            yield Clash(
                at=(section, "image"),
                says=f"{image} is too old for what is made for it, which needs "
                f"{least[0]}.{least[1]}; name that or a newer one",
            )


# Keys of `prometheus` that say something of any Prometheus; the others are of ours alone.
OF_ANY_PROMETHEUS = {"mode", "create_namespace", "scrape_interval", "node_metrics"}
OF_ANOTHER_PROMETHEUS = {"url", "login_secret", "namespace"}
MODE: Location = ("prometheus", "mode")


def keys_of_prometheus_fit_its_mode(settings: StackSettings) -> Iterator[Clash]:
    """What has no effect was meant for something: nothing is guessed."""
    prometheus = settings.prometheus
    allowed = OF_ANY_PROMETHEUS | OF_ANOTHER_PROMETHEUS
    reason, fix = "Prometheus is not run by this program", "remove it, and set it there"
    if settings.runs_prometheus:
        allowed = set(type(prometheus).model_fields) - OF_ANOTHER_PROMETHEUS - {"operator_labels"}
        reason, fix = "Prometheus is run by this program", "remove it, or correct the mode"
    elif prometheus.mode == "operator":
        allowed |= {"operator_labels"}
    for name, field in type(prometheus).model_fields.items():
        if name in prometheus.model_fields_set and name not in allowed:
            because = f"{reason}; {fix}"
            if name == "operator_labels" and prometheus.mode == "external":
                because = "no operator reads files; remove it, or correct the mode"
            yield Clash(
                at=("prometheus", str(field.alias)),
                says=f"has no effect with mode: {prometheus.mode}, where {because}",
                rests_on=(MODE,),
            )


def another_prometheus_is_described(settings: StackSettings) -> Iterator[Clash]:
    prometheus = settings.prometheus
    if not settings.runs_prometheus and prometheus.url is None:
        yield Clash(
            at=("prometheus", "url"),
            says=f"is missing, with mode: {prometheus.mode} Grafana asks a Prometheus that is "
            "there; write its address, like "
            "http://kube-prometheus-stack-prometheus.monitoring.svc:9090",
            rests_on=(MODE,),
        )
    if prometheus.mode == "operator" and "operator_labels" not in prometheus.model_fields_set:
        yield Clash(
            at=("prometheus", "operatorLabels"),
            says="is missing, the operator looks only at objects that its Prometheus selects; "
            "write {release: NAME} with the Helm release of kube-prometheus-stack, or {} where it "
            "takes everything",
            rests_on=(MODE,),
        )


def objects_of_the_operator_stay_ours(settings: StackSettings) -> Iterator[Clash]:
    for key in settings.prometheus.operator_labels:
        if key.startswith("app.kubernetes.io/"):
            yield Clash(
                at=("prometheus", "operatorLabels", key),
                says="is a label that this program sets itself; let the operator look for another",
                rests_on=(MODE,),
            )


def another_prometheus_is_no_crawler(settings: StackSettings) -> Iterator[Clash]:
    """What may scrape simulated vendors may read their books, and crawlers may not."""
    given = "namespace" in settings.prometheus.model_fields_set
    if given and settings.prometheus.namespace in settings.crawlers.namespaces:
        yield Clash(
            at=("prometheus", "namespace"),
            says=f"{settings.prometheus.namespace!r} is where crawlers are; write the namespace "
            "that Prometheus runs in",
            rests_on=(("crawlers", "namespaces"),),
        )


def alertmanager_is_set_where_it_runs(settings: StackSettings) -> Iterator[Clash]:
    """Without receivers none runs beside a Prometheus of others: its keys would do nothing."""
    if settings.runs_alertmanager:
        return
    alertmanager = settings.alertmanager
    for name, field in type(alertmanager).model_fields.items():
        if name in alertmanager.model_fields_set and getattr(alertmanager, name) != ():
            yield Clash(
                at=("alertmanager", str(field.alias)),
                says=f"has no effect, with mode: {settings.prometheus.mode} and without "
                "alertmanager.receivers no Alertmanager is run; remove it, or add receivers",
                rests_on=(MODE, ("alertmanager", "receivers")),
            )


def slowness_can_be_seen(settings: StackSettings) -> Iterator[Clash]:
    """A quantile is at most the highest bucket's bound: from there on no alert could fire."""
    buckets: Location = ("telemetry", "buckets")
    highest = settings.telemetry.buckets[-1]
    limits: dict[Location, int | None] = {
        ("alerts", "setupMilliseconds"): settings.alerts.setup_milliseconds,
        **{
            ("vendors", index, "alerts", "setupMilliseconds"): vendor.alerts.setup_milliseconds
            for index, vendor in enumerate(settings.vendors)
        },
    }
    for at, limit in limits.items():
        if limit is not None and limit >= highest:
            yield Clash(
                at=at,
                says=f"{limit} is not below the highest of {text_of(buckets)} ({highest}), so no "
                "alert could fire; lower it, or add a bucket above it",
                rests_on=(buckets,),
            )


# What a receiver of a kind must have beside its name.
FIELDS = {
    "slack": ("channel",),
    "pagerduty": (),
    "email": ("to", "sender", "smarthost"),
    "webhook": (),
}


LEAST_SAMPLED_SIDECARS = 10
"""A hash decides which: of 10 expected there are none in one stack of 22,000."""


def some_histograms_are_kept(settings: StackSettings) -> Iterator[Clash]:
    pods = settings.crawlers.expected_pods
    most = max(1, pods // LEAST_SAMPLED_SIDECARS)
    one_in = settings.telemetry.histograms_from_one_in
    if one_in > most:
        yield Clash(
            at=("telemetry", "histogramsFromOneIn"),
            says=f"{one_in} leaves the set-up times of fewer than {LEAST_SAMPLED_SIDECARS} of "
            f"crawlers.expectedPods ({pods}), which would not be the fleet's; "
            f"write {most}" + (" or less" if most > 1 else ""),
            rests_on=(("crawlers", "expectedPods"),),
        )


def receivers_are_unique(settings: StackSettings) -> Iterator[Clash]:
    first: dict[str, Location] = {}
    for index, receiver in enumerate(settings.alertmanager.receivers):
        at: Location = ("alertmanager", "receivers", index, "name")
        earlier = first.setdefault(receiver.name, at)
        if earlier != at:
            yield Clash(
                at=at,
                says=f"{receiver.name!r} is also {text_of(earlier)}; give it another name",
                rests_on=(earlier,),
            )


def receivers_are_complete(settings: StackSettings) -> Iterator[Clash]:
    for index, receiver in enumerate(settings.alertmanager.receivers):
        at: Location = ("alertmanager", "receivers", index)
        needed = FIELDS[receiver.kind]
        for name in ("channel", "to", "sender", "smarthost"):
            value = getattr(receiver, name)
            if name in needed and value is None:
                yield Clash(
                    at=(*at, name),
                    says=f"is missing, a receiver of kind {receiver.kind} needs it; write it",
                    rests_on=((*at, "kind"),),
                )
            elif name not in needed and value is not None:
                yield Clash(
                    at=(*at, name),
                    says=f"{value!r} means nothing to a receiver of kind {receiver.kind}; "
                    "remove it, or correct kind",
                    rests_on=((*at, "kind"),),
                )


def receivers_are_there(settings: StackSettings) -> Iterator[Clash]:
    """Whoever is to be told exists, and whoever exists is told something."""
    alertmanager = settings.alertmanager
    listed = {
        "page": alertmanager.page,
        "ticket": alertmanager.ticket,
        "heartbeat": alertmanager.heartbeat,
    }
    receivers: Location = ("alertmanager", "receivers")
    names = [receiver.name for receiver in alertmanager.receivers]
    for key, wanted in listed.items():
        for number, name in enumerate(wanted):
            if name not in names:
                there = f"those are {', '.join(names)}" if names else "there are none"
                yield Clash(
                    at=("alertmanager", key, number),
                    says=f"{name!r} is none of alertmanager.receivers ({there}); "
                    "add it there, or remove it here",
                    rests_on=(receivers,),
                )
    for index, name in enumerate(names):
        if not any(name in wanted for wanted in listed.values()):
            yield Clash(
                at=(*receivers, index, "name"),
                says=f"{name!r} is told nothing; name it under alertmanager.page, ticket or "
                "heartbeat, or remove it",
                rests_on=tuple(("alertmanager", key) for key in listed),
            )


def receivers_have_credentials(settings: StackSettings) -> Iterator[Clash]:
    """Their form, where it is known here: the file has them encrypted."""
    receivers: Location = ("alertmanager", "receivers")
    secrets = settings.alertmanager_secrets
    for index, receiver in enumerate(settings.alertmanager.receivers):
        at: Location = ("alertmanagerSecrets", receiver.name)
        secret = secrets.get(receiver.name)
        rests_on = tuple((*receivers, index, key) for key in ("name", "kind"))
        if secret is None:
            command = f"pulumi config set --secret --path proxy-observability:{text_of(at)}"
            yield Clash(
                at=at,
                says=f"is missing, {text_of((*receivers, index))} cannot be told anything without "
                f"it; run `{command}`",
                rests_on=rests_on,
            )
        elif secret.text is not None and (fault := fault_of_credential(receiver.kind, secret.text)):
            yield Clash(at=at, says=fault, rests_on=rests_on)
    names = {receiver.name for receiver in settings.alertmanager.receivers}
    for name in secrets:
        if name not in names:
            yield Clash(
                at=("alertmanagerSecrets", name),
                says="belongs to none of alertmanager.receivers; add that receiver, or run "
                f"`pulumi config rm --path proxy-observability:alertmanagerSecrets.{name}`",
                rests_on=(receivers,),
            )


def federated_clusters_are_others(settings: StackSettings) -> Iterator[Clash]:
    """One name a cluster: two would have one series, and neither's numbers."""
    first: dict[str, Location] = {settings.cluster: ("cluster",)}
    for index, source in enumerate(settings.prometheus.federate_from):
        at: Location = ("prometheus", "federateFrom", index, "cluster")
        earlier = first.setdefault(source.cluster, at)
        if earlier == ("cluster",):
            yield Clash(
                at=at,
                says=f"{source.cluster!r} is this stack's own; its shards are asked without being "
                "named, so remove it, or give one of the two another name",
                rests_on=(earlier,),
            )
        elif earlier != at:
            yield Clash(
                at=at,
                says=f"{source.cluster!r} is also {text_of(earlier)}; name each cluster once",
                rests_on=(earlier,),
            )


def federated_clusters_have_passwords(settings: StackSettings) -> Iterator[Clash]:
    if not settings.runs_prometheus:  # nothing is federated, and its keys are refused
        return
    sources: Location = ("prometheus", "federateFrom")
    known = {source.cluster for source in settings.prometheus.federate_from}
    for index, source in enumerate(settings.prometheus.federate_from):
        at: Location = ("federationSecrets", source.cluster)
        if source.cluster not in settings.federation_secrets:
            yield Clash(
                at=at,
                says=f"is missing, {text_of((*sources, index))} refuses whoever has no password; "
                "run `pulumi config set --secret --path "
                f"proxy-observability:{text_of(at)}` with that stack's output prometheusPassword",
                rests_on=((*sources, index, "cluster"),),
            )
    for name in settings.federation_secrets:
        if name not in known:
            there = f"those are {', '.join(sorted(known))}" if known else "there are none"
            yield Clash(
                at=("federationSecrets", name),
                says=f"belongs to none of prometheus.federateFrom ({there}); add that cluster "
                "there, or run "
                f"`pulumi config rm --path proxy-observability:federationSecrets.{name}`",
                rests_on=(sources,),
            )


def a_global_server_has_sources_alone(settings: StackSettings) -> Iterator[Clash]:
    prometheus = settings.prometheus
    if prometheus.role != "global" or not settings.runs_prometheus:
        return
    role: Location = ("prometheus", "role")
    if not prometheus.federate_from:
        yield Clash(
            at=("prometheus", "federateFrom"),
            says="names no source, and a global server has no records but other clusters'; name "
            "them, or remove prometheus.role",
            rests_on=(role,),
        )
    here: tuple[tuple[Location, object, bool], ...] = (
        (("prometheus", "shards"), prometheus.shards, prometheus.shards > 1),
        (("loadGenerator", "enabled"), "true", settings.load_generator.enabled),
        (("simulatedVendors", "enabled"), "true", settings.simulated_vendors.enabled),
    )
    for at, value, there in here:
        if there:
            yield Clash(
                at=at,
                says=f"{value} needs crawlers, and where prometheus.role is global there are none; "
                "remove one of the two",
                rests_on=(role,),
            )
    for section in ("crawlers", "istio", "telemetry"):
        if section in settings.model_fields_set:
            yield Clash(
                at=(section,),
                says="has no effect, where prometheus.role is global there are no crawlers; "
                "remove it",
                rests_on=(role,),
            )


def fault_of_credential(kind: str, text: str) -> str:
    """What is wrong with a credential's form, never its text; empty if nothing is."""
    if kind == "slack" and not re.fullmatch(r"https://[^\s/@]+/\S+", text):
        return "is not the URL of an incoming webhook; copy it from Slack, with https:// in front"
    if kind == "webhook" and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", text):
        return "is not a URL; write the receiver's, with https:// in front"
    if kind == "pagerduty" and not re.fullmatch(r"[0-9A-Za-z]{32}", text):
        return (
            "is not an integration key, which has 32 letters and digits; copy that of an "
            "integration of type Events API v2"
        )
    return ""


def requests_fit_the_limits(settings: StackSettings) -> Iterator[Clash]:
    blocks: dict[Location, Resources] = {
        ("istio", "sidecar"): settings.istio.sidecar,
        ("prometheus", "resources"): settings.prometheus.resources,
        ("alertmanager", "resources"): settings.alertmanager.resources,
        ("grafana", "resources"): settings.grafana.resources,
        ("loadGenerator", "resources"): settings.load_generator.resources,
        ("simulatedVendors", "resources"): settings.simulated_vendors.resources,
    }
    for at, block in blocks.items():
        requests, limits = block.requests, block.limits
        pairs = (
            ("cpu", requests.cpu, limits.cpu, cpu_millis),
            ("memory", requests.memory, limits.memory, memory_bytes),
        )
        for name, request, limit, amount in pairs:
            if amount(request) > amount(limit):
                limit_at: Location = (*at, "limits", name)
                yield Clash(
                    at=(*at, "requests", name),
                    says=f"{request!r} is more than {text_of(limit_at)} ({limit!r}); "
                    "lower it, or raise the limit",
                    rests_on=(limit_at,),
                )


def buckets_ascend(settings: StackSettings) -> Iterator[Clash]:
    for lower, upper in pairwise(settings.telemetry.buckets):
        if upper <= lower:
            yield Clash(
                at=("telemetry", "buckets"),
                says=f"has {upper} after {lower}; write each bound once, ascending",
            )
            return


def pod_security_allows_injection(settings: StackSettings) -> Iterator[Clash]:
    crawlers = settings.crawlers
    level = crawlers.pod_security
    if crawlers.create_namespaces and not settings.istio.cni and level != "privileged":
        # An Istio of others redirects as it does, whatever is written here.
        way_out = "set istio.cni to true, or " if settings.istio.install else "set "
        yield Clash(
            at=("crawlers", "podSecurity"),
            says=f"{level!r} refuses the NET_ADMIN that istio-init needs in every crawler pod; "
            f"{way_out}podSecurity to privileged",
            rests_on=(("istio", "cni"), ("istio", "install"), ("crawlers", "createNamespaces")),
        )


def pod_security_is_enforced(settings: StackSettings) -> Iterator[Clash]:
    crawlers = settings.crawlers
    if not crawlers.create_namespaces and "pod_security" in crawlers.model_fields_set:
        yield Clash(
            at=("crawlers", "podSecurity"),
            says=f"{crawlers.pod_security!r} has no effect where crawlers.createNamespaces is "
            "false; remove it, and set the level on the namespaces themselves",
            rests_on=(("crawlers", "createNamespaces"),),
        )


def an_istio_of_others_is_described(settings: StackSettings) -> Iterator[Clash]:
    """The namespaces' Pod Security Standard must admit what redirects traffic there."""
    istio = settings.istio
    told = istio.install or "cni" in istio.model_fields_set
    if settings.crawlers.create_namespaces and not told:
        yield Clash(
            at=("istio", "cni"),
            says="is missing; with install: false say whether the cluster's Istio redirects "
            "traffic by its CNI plugin (true) or by istio-init (false)",
            rests_on=(("istio", "install"), ("crawlers", "createNamespaces")),
        )


def crawler_namespaces_are_unique(settings: StackSettings) -> Iterator[Clash]:
    first: dict[str, Location] = {}
    for index, namespace in enumerate(settings.crawlers.namespaces):
        at: Location = ("crawlers", "namespaces", index)
        earlier = first.setdefault(namespace, at)
        if earlier != at:
            yield Clash(
                at=at,
                says=f"{namespace!r} is also {text_of(earlier)}; remove one",
                rests_on=(earlier,),
            )


def crawlers_have_their_own_namespaces(settings: StackSettings) -> Iterator[Clash]:
    for index, namespace in enumerate(settings.crawlers.namespaces):
        at: Location = ("crawlers", "namespaces", index)
        if namespace == MONITORING_NAMESPACE:
            yield Clash(
                at=at,
                says=f"{namespace!r} is where Prometheus and Grafana run without sidecars; "
                "put the crawlers in another namespace",
            )
        elif namespace == settings.istio.root_namespace:
            yield Clash(
                at=at,
                says=f"{namespace!r} is istio.rootNamespace, whose settings reach the whole mesh; "
                "put the crawlers in another namespace",
                rests_on=(("istio", "rootNamespace"),),
            )


def istio_has_its_own_namespace(settings: StackSettings) -> Iterator[Clash]:
    if settings.istio.root_namespace == MONITORING_NAMESPACE:
        yield Clash(
            at=("istio", "rootNamespace"),
            says=f"{MONITORING_NAMESPACE!r} is where Prometheus and Grafana run; "
            "write istiod's own namespace, like istio-system",
        )


def vendors_are_outside_the_cluster(settings: StackSettings) -> Iterator[Clash]:
    own = {
        "podCidrs": settings.network.pod_cidrs,
        "serviceCidrs": settings.network.service_cidrs,
    }
    for index, vendor in enumerate(settings.vendors):
        for number, block in enumerate(vendor.cidrs):
            for name, networks in own.items():
                for position, network in enumerate(networks):
                    if not overlap(block.network, network):
                        continue
                    # Its addresses are cluster IPs, and nobody else's.
                    if name == "serviceCidrs" and settings.is_simulated(vendor.name):
                        continue
                    inside: Location = ("network", name, position)
                    yield Clash(
                        at=("vendors", index, "cidrs", number),
                        where=block.where,
                        says=f"'{block.network}' overlaps {text_of(inside)} ({network}), so "
                        "traffic inside the cluster would count as the vendor's; "
                        "correct one of them",
                        rests_on=(inside, ("simulatedVendors",)),
                    )


CHECKS: tuple[Callable[[StackSettings], Iterator[Clash]], ...] = (
    vendor_names_are_unique,
    ranges_are_unique,
    ports_are_unique,
    http_ports_are_the_vendors,
    what_is_shared_is_inspected_alike,
    targets_are_unique,
    contains_needs_a_header,
    outcome_rules_are_reachable,
    load_generator_has_endpoints,
    endpoints_are_their_vendors,
    simulated_proxies_are_there,
    real_traffic_is_bounded,
    some_endpoint_has_weight,
    a_profile_without_rate_gets_none,
    some_vendor_is_simulated,
    simulated_addresses_can_be_services,
    behaviours_are_known,
    simulated_vendors_have_their_own_namespace,
    retention_fits_the_volume,
    keys_of_prometheus_fit_its_mode,
    images_know_what_is_asked_of_them,
    objects_of_the_operator_stay_ours,
    another_prometheus_is_no_crawler,
    another_prometheus_is_described,
    alertmanager_is_set_where_it_runs,
    slowness_can_be_seen,
    some_histograms_are_kept,
    receivers_are_unique,
    receivers_are_complete,
    receivers_are_there,
    receivers_have_credentials,
    federated_clusters_are_others,
    federated_clusters_have_passwords,
    a_global_server_has_sources_alone,
    requests_fit_the_limits,
    buckets_ascend,
    pod_security_allows_injection,
    pod_security_is_enforced,
    an_istio_of_others_is_described,
    crawler_namespaces_are_unique,
    crawlers_have_their_own_namespaces,
    istio_has_its_own_namespace,
    vendors_are_outside_the_cluster,
)
