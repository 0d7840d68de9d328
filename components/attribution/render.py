"""The EnvoyFilters of a stack: what istiod is asked to add to a crawler's sidecar.

`proxy-observability` prepares the outbound listener, once (listener.py), and `proxy-labels` says
how every chain counts (labels.py). `proxy-vendor-<name>` holds everything of one vendor: its
cluster (clusters.py, simulators.py), its Lua (lua.py), and for each part of its ranges a pair of
filter chains (chains.py), so that a chain never arrives without its cluster. Each of a vendor's
names has a pair of its own, and that again in the listener of each of its ports (names.py), all in
an EnvoyFilter `proxy-vendor-<name>.chain-<host>`. A passive vendor has one chain in place of each
pair and no Lua; `proxy-passive` holds the module that all of its like share (passive.py).
`proxy-destination-<name>` counts what goes to a known destination (destinations.py). Vendors that
share addresses have one more EnvoyFilter together, `proxy-shared-<names>` (shared_addresses.py). A
vendor with thousands of ranges has an EnvoyFilter for each pair of chains.

`crawlers.mode: off` replaces what is sent apart from the chains by their no-op defaults, and
changes no chain. `observe` gives each vendor its opaque chains alone, and changes no listener.

Nothing of Istio's is replaced. When a patch stops matching, traffic takes Istio's own catch-all
without attribution. It passes unharmed if the mesh's `outboundTrafficPolicy` is `ALLOW_ANY`,
Istio's default; under `REGISTRY_ONLY` the catch-all cuts it. A Sidecar resource limits what else of
the mesh the crawlers' sidecars know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from components.attribution.access_logs import log_accesses
from components.attribution.chains import http_chain, opaque_chain
from components.attribution.clusters import unowned_cluster, vendor_cluster
from components.attribution.destinations import destination_patches
from components.attribution.envoy import LISTENER, Json, add, mappings, patch_listener
from components.attribution.groups import Chain, Group, groups
from components.attribution.labels import LABELS_FILTER_NAME, label_patches
from components.attribution.listener import listener_patches, named_listener_patches
from components.attribution.lua import lua_extension
from components.attribution.names import listener_name, named_cluster
from components.attribution.outside_log import FILTER_NAME as OUTSIDE_LOG_FILTER_NAME
from components.attribution.outside_log import outside_log_patches
from components.attribution.passive import FILTER_NAME, passive_chain, passive_patches
from components.attribution.simulators import Simulator, simulator_cluster
from components.attribution.upstream import Upstream, upstream_of
from settings.crawlers import Mode
from settings.destinations import Destination
from settings.vendors import Target, Vendor, is_http_port, only_connections, ports_of

LISTENER_FILTER_NAME = "proxy-observability"

# An EnvoyFilter above this is split, chain by chain. etcd takes 1.5 MiB (its --max-request-bytes);
# half of it leaves room for what the API server adds.
SPLIT_ABOVE_BYTES = 750_000


def envoy_filters(
    vendors: Sequence[Vendor],
    *,
    targets: Sequence[Target] = (),
    destinations: Sequence[Destination] = (),
    timeout_after_seconds: int,
    selector: Mapping[str, str],
    simulators: Mapping[str, Simulator] | None = None,
    access_logs: bool = False,
    log_outside: bool = False,
    mode: Mode = "full",
) -> dict[str, Json]:
    """Return the spec of each EnvoyFilter by its name.

    Args:
        vendors: the stack's vendors; their order does not change the result.
        targets: groups of crawled sites, for the label `proxy_target`.
        destinations: what is counted beside the vendors.
        timeout_after_seconds: see `outcome.proxy_outcome`.
        selector: labels of the pods that get the filters; empty means the whole namespace.
        simulators: who gets the connections of simulated vendors, by the vendor's name.
        access_logs: whether sidecars print a line for each request and connection to a vendor.
        log_outside: whether they print one for each connection to nobody's address.
        mode: see `crawlers.mode`.
    """
    simulators = simulators or {}
    # In every mode the same: another set of inspected ports would end all connections.
    patches = {LISTENER_FILTER_NAME: listener_patches(vendors)}
    as_written = {vendor.name: vendor for vendor in vendors}
    if mode == "observe":
        vendors = only_connections(vendors)
    if any(vendor.inspect == "passive" for vendor in vendors):
        patches[FILTER_NAME] = passive_patches(vendors, targets, timeout_after_seconds)
    for vendor in sorted(vendors, key=lambda vendor: vendor.name):
        clusters = _vendor_clusters(vendor, simulators.get(vendor.name))
        patches[_vendor_filter(vendor)] = [add("CLUSTER", each) for each in clusters]
    stack_groups = groups(vendors)
    labels = label_patches(
        stack_groups, with_targets=bool(targets), timeout_after_seconds=timeout_after_seconds
    )
    if labels:
        patches[LABELS_FILTER_NAME] = labels
    for group in stack_groups:
        simulated = group.vendors[0].name in simulators
        of_group = _group_patches(group, targets, as_written, simulated=simulated)
        for name, more in of_group.items():
            patches[name] = [*patches.get(name, []), *more]
    if access_logs:
        for patch in (patch for config_patches in patches.values() for patch in config_patches):
            if patch["applyTo"] == "FILTER_CHAIN":
                log_accesses(patch["patch"]["value"], timeout_after_seconds)
    patches |= destination_patches(destinations)
    if log_outside:
        patches[OUTSIDE_LOG_FILTER_NAME] = outside_log_patches()
    if mode == "off":
        _send_defaults(patches)
    workloads = _workload_selector(selector)
    return {
        name: {**workloads, **_priority(config_patches), "configPatches": config_patches}
        for name, config_patches in patches.items()
    }


def _priority(config_patches: Sequence[Json]) -> Json:
    """Have what changes Istio's own listeners come after other EnvoyFilters that do.

    To what is added istiod applies no patch, whatever the order.
    """
    added = {"CLUSTER", "EXTENSION_CONFIG", "FILTER_CHAIN"}
    changes = any(patch["applyTo"] not in added for patch in config_patches)
    return {"priority": 10} if changes else {}


def sidecar_spec(
    egress_hosts: Sequence[str], selector: Mapping[str, str], *, registry_only: bool = False
) -> Json:
    """Return the spec of the crawlers' Sidecar resource.

    Without it a Service or ServiceEntry of any namespace on a vendor's port becomes a listener in
    the crawlers' sidecars, which takes the connection before our chains: CONNECT gets 404.

    Args:
        egress_hosts: services of other namespaces to keep, as `namespace/host`. istiod's
            namespace must be named too: an ingress gateway there has port 80.
        selector: as in `envoy_filters`; a namespace may have one Sidecar without a selector.
        registry_only: close connections to destinations that neither our chains nor the mesh know.
            Otherwise the mesh's own policy for them stays in force.
    """
    policy = {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}} if registry_only else {}
    return {
        **_workload_selector(selector),
        "egress": [{"hosts": ["./*", *egress_hosts]}],
        **policy,
    }


def _send_defaults(patches: Mapping[str, list[Json]]) -> None:
    """Have istiod send each filter the default that it runs until istiod has answered.

    Without an answer a starting sidecar would wait for 3 s.
    """
    asking = (one for one in mappings([*patches.values()]) if "config_discovery" in one)
    defaults = {one["name"]: one["config_discovery"]["default_config"] for one in asking}
    for patch in (patch for config_patches in patches.values() for patch in config_patches):
        if patch["applyTo"] == "EXTENSION_CONFIG":
            value = patch["patch"]["value"]
            value["typed_config"] = defaults[value["name"]]


def _workload_selector(selector: Mapping[str, str]) -> Json:
    return {"workloadSelector": {"labels": dict(selector)}} if selector else {}


def _vendor_filter(vendor: Vendor) -> str:
    return f"proxy-vendor-{vendor.name}"


def _vendor_clusters(vendor: Vendor, simulator: Simulator | None) -> Iterator[Json]:
    if simulator:
        yield simulator_cluster(vendor, simulator)
        return
    if vendor.cidrs:
        yield vendor_cluster(vendor)
    if vendor.hosts:
        yield named_cluster(vendor)


def _group_patches(
    group: Group,
    targets: Sequence[Target],
    as_written: Mapping[str, Vendor],
    *,
    simulated: bool,
) -> dict[str, list[Json]]:
    """Return a group's patches by the name of the EnvoyFilter that holds them.

    Args:
        as_written: the stack's vendors by name, with their own `inspect` in every mode.
    """
    alone = len(group.vendors) == 1
    name = _vendor_filter(group.vendors[0]) if alone else f"proxy-shared-{group.name}"
    shared = []
    if group.leaves_ports_out and not group.is_passive:
        shared.append(add("CLUSTER", unowned_cluster(group)))
    if group.parses_http:
        shared.append(add("EXTENSION_CONFIG", lua_extension(group, targets)))
    chains = {
        chain.part: _chain_patches(
            group, chain, upstream_of(group, chain, simulated=simulated), as_written
        )
        for chain in group.chains
    }
    # A name's are always apart: with 4 names of 20 ports a further one would split the vendor, and
    # cut all its connections.
    apart = {chain.part for chain in group.chains if chain.host}
    together = [patches for part, patches in chains.items() if part not in apart]
    if len(json.dumps([shared, *together])) > SPLIT_ABOVE_BYTES:
        apart, together = set(chains), []
    patches = [*shared, *(patch for patches in together for patch in patches)]
    split = {f"{name}.chain-{part}": chains[part] for part in chains if part in apart}
    return ({name: patches} if patches else {}) | split


def _chain_patches(
    group: Group, chain: Chain, upstream: Upstream, as_written: Mapping[str, Vendor]
) -> list[Json]:
    patches = _chains_in(LISTENER, group, chain, upstream, parses_http=group.parses_http)
    if chain.host:
        (vendor,) = group.vendors
        for port in ports_of(vendor, chain.host):
            listener, parses_http = listener_name(chain.host, port), is_http_port(vendor, port)
            inspects = is_http_port(as_written[vendor.name], port)
            patches += named_listener_patches(listener, inspects=inspects)
            patches += _chains_in(listener, group, chain, upstream, parses_http=parses_http)
    return patches


def _chains_in(
    listener: str, group: Group, chain: Chain, upstream: Upstream, *, parses_http: bool
) -> list[Json]:
    if group.is_passive:
        chains = [passive_chain(chain, upstream)]
    elif parses_http:
        chains = [http_chain(group, chain, upstream), opaque_chain(chain, upstream)]
    else:
        chains = [opaque_chain(chain, upstream)]
    return [patch_listener("FILTER_CHAIN", "ADD", each, listener) for each in chains]
