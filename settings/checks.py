"""What two keys of a stack may not say together.

Each check reads whole settings and yields clashes. A clash names every key it rests on:
when one of those was refused already, `settings.loading` put a stand-in there and drops
the clash, so that one mistake is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from settings.catalogue import Catalogue
from settings.keys import Location, text_of
from settings.model import OutcomeRule, Resources, StackSettings
from settings.values import (
    cpu_millis,
    format_bytes,
    memory_bytes,
    overlap,
    split_endpoint,
)

# Prometheus and Grafana run there, without sidecars.
MONITORING_NAMESPACE = "monitoring"


@dataclass(frozen=True, kw_only=True)
class Clash:
    at: Location
    says: str  # "reason; fix", the value first
    rests_on: tuple[Location, ...] = ()  # beside `at`


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
    first: dict[object, Location] = {}
    for index, vendor in enumerate(settings.vendors):
        for number, block in enumerate(vendor.cidrs):
            at: Location = ("vendors", index, "cidrs", number)
            earlier = first.setdefault(block.network, at)
            if earlier != at:
                yield Clash(
                    at=at,
                    says=f"'{block.network}' is also {text_of(earlier)}; "
                    "keep it where it belongs (a part of it may be another vendor's)",
                    rests_on=(earlier,),
                )


def http_ports_are_unique(settings: StackSettings) -> Iterator[Clash]:
    for index, vendor in enumerate(settings.vendors):
        first: dict[int, Location] = {}
        for number, port in enumerate(vendor.http_ports):
            at: Location = ("vendors", index, "httpPorts", number)
            earlier = first.setdefault(port, at)
            if earlier != at:
                yield Clash(
                    at=at,
                    says=f"{port} is also {text_of(earlier)}; remove one",
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
    catalogue = Catalogue.of(settings.vendors)
    names = [vendor.name for vendor in settings.vendors]
    spoken_of = tuple(
        ("vendors", index, key) for index in range(len(names)) for key in ("name", "cidrs")
    )
    for vendor, endpoint in settings.load_generator.endpoints.items():
        at: Location = ("loadGenerator", "endpoints", vendor)
        address, _ = split_endpoint(endpoint)
        route = catalogue.find(address)
        if vendor not in names:
            yield Clash(
                at=at,
                says=f"{endpoint!r} belongs to no vendor of this stack; "
                f"the vendors are {', '.join(names)}",
                rests_on=tuple(location for location in spoken_of if location[-1] == "name"),
            )
        elif route is None or route.vendor != vendor:
            whose = f"in {route.network} of {route.vendor}" if route else "outside every range"
            yield Clash(
                at=at,
                says=f"{endpoint!r} lies {whose}, so its traffic would not count as {vendor}; "
                f"write an address of {vendor}",
                rests_on=spoken_of,
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


def requests_fit_the_limits(settings: StackSettings) -> Iterator[Clash]:
    blocks: dict[Location, Resources] = {
        ("istio", "sidecar"): settings.istio.sidecar,
        ("prometheus", "resources"): settings.prometheus.resources,
        ("grafana", "resources"): settings.grafana.resources,
        ("loadGenerator", "resources"): settings.load_generator.resources,
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
                    inside: Location = ("network", name, position)
                    yield Clash(
                        at=("vendors", index, "cidrs", number),
                        says=f"'{block.network}' overlaps {text_of(inside)} ({network}), so "
                        "traffic inside the cluster would count as the vendor's; "
                        "correct one of them",
                        rests_on=(inside,),
                    )


CHECKS: tuple[Callable[[StackSettings], Iterator[Clash]], ...] = (
    vendor_names_are_unique,
    ranges_are_unique,
    http_ports_are_unique,
    contains_needs_a_header,
    outcome_rules_are_reachable,
    load_generator_has_endpoints,
    endpoints_are_their_vendors,
    retention_fits_the_volume,
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
