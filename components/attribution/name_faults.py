"""Find what does not fit together in rendered names: one part without the others cuts
connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from components.attribution.envoy import LISTENER, Json
from components.attribution.names import HOST_KEY, NAME_LOOKUP, PORT_KEY, dns_caches
from components.attribution.order import clusters_named

_DEFECT = "this is a defect of the program, report it"


def name_faults(filters: Mapping[str, Json], entries: Mapping[str, Json]) -> Iterator[str]:
    """Yield what does not fit together.

    Args:
        filters: EnvoyFilter specs by name.
        entries: ServiceEntry specs by name, those of retired names among them.
    """
    patches = [patch for spec in filters.values() for patch in spec["configPatches"]]
    chains = [patch for patch in patches if patch["applyTo"] == "FILTER_CHAIN"]
    caches = {
        patch["patch"]["value"]["name"]: cache
        for patch in patches
        if patch["applyTo"] == "CLUSTER"
        for cache in dns_caches(patch["patch"]["value"])
    }
    for patch in chains:
        yield from _chain_faults(patch["patch"]["value"], caches)
    yield from _listener_faults(chains, patches, entries)


def _chain_faults(chain: Json, caches: Mapping[str, Json]) -> Iterator[str]:
    """Yield what is wrong with one chain, by name or not.

    Args:
        caches: the DNS cache of each cluster that resolves names, by the cluster's name.
    """
    led_to = sorted(set(clusters_named(chain)) & caches.keys())
    keys = {state["object_key"] for state in _states(chain)}
    where = f"EnvoyFilters: chain {chain['name']}"
    if led_to and not {HOST_KEY, PORT_KEY} <= keys:
        yield (
            f"{where} must write name and port into a connection, as its cluster resolves names: "
            f"it would get 503; {_DEFECT}"
        )
    lookups = [one for one in chain["filters"] if one["name"] == NAME_LOOKUP]
    if led_to and not lookups and chain["filters"][-1]["name"].endswith("tcp_proxy"):
        yield (
            f"{where} does not look the name up before its TCP proxy does: the first connection "
            f"to a port would be reset; {_DEFECT}"
        )
    for cache in dns_caches(lookups):
        if [cache] != [caches[name] for name in led_to]:
            yield (
                f"{where} and its cluster have different DNS caches: Envoy would refuse the "
                f"listener, or look every name up twice; {_DEFECT}"
            )


def _listener_faults(
    chains: list[Json], patches: list[Json], entries: Mapping[str, Json]
) -> Iterator[str]:
    """Yield listeners that Istio does not make, or that lack what virtualOutbound has."""
    made = {
        f"{address}_{port['number']}": (entry["hosts"][0], address)
        for entry in entries.values()
        for address in entry["addresses"]
        for port in entry["ports"]
    }
    meant = {patch["match"].get("listener", {}).get("name", LISTENER) for patch in patches}
    for listener in sorted(meant - {LISTENER} - made.keys()):
        yield (
            f"EnvoyFilters: listener {listener} is patched, and no ServiceEntry has Istio make "
            f"it; {_DEFECT}"
        )
    named: dict[str, dict[str, set[str]]] = {}
    for patch in chains:
        chain = patch["patch"]["value"]
        for host in _hosts(chain):
            of_host = named.setdefault(patch["match"]["listener"]["name"], {})
            ranges = chain["filter_chain_match"]["prefix_ranges"]
            of_host.setdefault(host, set()).update(one["address_prefix"] for one in ranges)
    for listener, (host, address) in made.items():
        for place in (LISTENER, listener):
            if named.get(place, {}).get(f"{host}.") != {address}:
                yield (
                    f"EnvoyFilters: listener {place} has no chain for {host} at {address}: its "
                    f"connections would count as nobody's, or be reset; {_DEFECT}"
                )


def _states(chain: Json) -> list[Json]:
    return list(chain["filters"][0].get("typed_config", {}).get("on_new_connection", ()))


def _hosts(chain: Json) -> list[str]:
    return [
        state["format_string"]["text_format_source"]["inline_string"]
        for state in _states(chain)
        if state["object_key"] == HOST_KEY
    ]
