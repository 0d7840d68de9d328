"""Refuse EnvoyFilters that would fail only once they are applied."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from components.attribution.dry_run import script_faults
from components.attribution.envoy import ISTIO_RELEASES, SIDECAR_VERSIONS, Json
from components.attribution.groups import Group, groups
from components.attribution.lua import script_name
from components.attribution.name_faults import name_faults
from components.attribution.order import (
    clusters_held,
    clusters_needed,
    extensions_held,
    extensions_needed,
)
from components.attribution.passive import MODULE_SHA256, WASM_TYPE
from components.attribution.standalone import (
    extensions_by_name,
    scripts_by_name,
    validation_bootstrap,
)
from settings.catalogue import Catalogue
from settings.loading import SettingsError
from settings.vendors import Vendor
from tools.find import NotFoundError, find

# etcd takes requests of 1.5 MiB (its --max-request-bytes), and the API server adds managedFields
# and metadata.
MAX_OBJECT_BYTES = 1_000_000

# Envoy's trie of prefixes has a fixed number of nodes: 4,600 single IPv6 addresses inside another
# vendor's range fitted (Envoy 1.40), 5,000 did not. Envoy refuses a listener with more, and new
# pods do not start.
MAX_IPV6_RANGES = 4000

# Each chain's copy of a script keeps the hosts of all target groups, on the main thread and on each
# worker. 432,000 took 350 MB of a sidecar (Envoy 1.40), and twice that while an edit arrived.
MAX_HOST_ENTRIES = 50_000

MAX_NAME = 253  # Kubernetes takes no longer name of an object

# One CEL expression tells the vendors of a shared address apart; Envoy parses it to a depth of 32.
MAX_SHARING = 16

# The passive module refuses its whole configuration if a vendor's rules look for more
# (wasm/parser/src/outcome.rs, `CONDITIONS`), or for a header with a longer name (config.rs), or if
# all vendors have more pools (config.rs, `MOST_NAMES`, one of which is none).
MAX_HEADERS_LOOKED_FOR = 128
MAX_HEADER_NAME = 63
MAX_POOLS = 4095
# It keeps the first 1,024 bytes of a line (lib.rs, `LINE_LIMIT`): a longer text is never found.
MAX_HEADER_LINE = 1000

VALIDATION_SECONDS = 60.0
# Both have validated the lab's configuration. An older Envoy would refuse settings that sidecars
# know, a newer one settings that it has dropped.
KNOWN_ENVOYS = ((1, 39), (1, 40))
# What an Envoy says that was built without V8. It can load no module, and refuses every listener
# that has one; sidecars have V8.
WITHOUT_WASM = "Envoy was compiled without support for it"


@lru_cache(maxsize=1)
def envoy_here() -> Path | None:
    """Return this machine's Envoy if the chains are tested with its version, else None."""
    try:
        envoy = find("envoy")
        output = subprocess.run(
            [str(envoy), "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (NotFoundError, OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"/(\d+)\.(\d+)\.\d+/", output)
    return envoy if version and (int(version[1]), int(version[2])) in KNOWN_ENVOYS else None


def refuse_undeployable(
    vendors: Sequence[Vendor],
    filters: Mapping[str, Json],
    envoy: Path | None,
    *,
    entries: Mapping[str, Json] | None = None,
    istio_versions: Mapping[str, str] | None = None,
    scripts_run: bool = True,
) -> None:
    """Check the rendered EnvoyFilters of a stack.

    Args:
        vendors: the stack's.
        filters: as `render.envoy_filters` returns them.
        entries: specs of the ServiceEntries by name, those of retired names among them.
        envoy: an Envoy that validates all of it; None if the machine has none.
        istio_versions: the releases that the stack installs, by the key that says so.
        scripts_run: whether the chains run the vendors' scripts, which `crawlers.mode` decides.

    Raises:
        SettingsError: no filter matches the sidecars of Istio's release, an object is larger than
            the cluster's store can hold or has too long a name, the ranges or the vendors of one
            address are more than Envoy can tell apart, a vendor's rules or all pools more than the
            passive module can, a chain lacks a cluster, an extension or its pair, a script does
            not load or says another pool or outcome than the catalogue, the passive module is
            another one or would cut connections, a name's listener, cluster and chains do not fit
            together, or Envoy refuses any of it.
    """
    stack_groups = groups(vendors)
    findings = [
        *_wrong_release(istio_versions or {}),
        *_too_large(stack_groups, filters),
        *_too_many_sharing(stack_groups, filters),
        *_too_many_headers(vendors),
        *_too_many_pools(vendors),
    ]
    findings += [
        *_without_cluster(filters),
        *_without_extension(filters),
        *(_wrong_scripts(vendors, stack_groups, filters) if scripts_run else ()),
        *_wrong_module(filters),
        *name_faults(filters, entries or {}),
    ]
    if envoy is not None and not findings:
        findings += _refused_by_envoy(envoy, filters, entries or {})
    findings = findings or [*_without_opaque_chain(filters)]
    if findings:
        raise SettingsError(findings)


def _wrong_release(istio_versions: Mapping[str, str]) -> Iterator[str]:
    for key, version in istio_versions.items():
        if not re.search(SIDECAR_VERSIONS, version):
            yield (
                f"{key}: {version} is not a release that the EnvoyFilters match "
                f"({' and '.join(ISTIO_RELEASES)}): its sidecars would attribute nothing"
            )


def _too_large(stack_groups: Sequence[Group], filters: Mapping[str, Json]) -> Iterator[str]:
    for name, spec in filters.items():
        size = len(json.dumps(spec))
        if size > MAX_OBJECT_BYTES:
            yield (
                f"vendors: EnvoyFilter {name} is {size / 1e6:.1f} MB, and the cluster stores "
                f"{MAX_OBJECT_BYTES / 1e6:.0f} MB; join neighbouring ranges, split the vendor in "
                "two, or name fewer hosts in targets"
            )
    scripts = scripts_by_name(filters)
    running = [scripts.get(script_name(group), "") for group in stack_groups for _ in group.chains]
    hosts = sum(source.partition("  targets = {")[2].count('"] = "') for source in running)
    if hosts > MAX_HOST_ENTRIES:
        yield (
            f"targets: {hosts} hosts in {len(running)} scripts together, and a sidecar has memory "
            f"for {MAX_HOST_ENTRIES}; name fewer, or wider ones like *.shop.example"
        )
    ipv6 = len(
        {
            (block["address_prefix"], block["prefix_len"])
            for _, chain in _chains(filters)
            for block in chain["filter_chain_match"]["prefix_ranges"]
            if ":" in block["address_prefix"]
        }
    )
    if ipv6 > MAX_IPV6_RANGES:
        yield (
            f"vendors: {ipv6} IPv6 ranges together, and Envoy's look-up holds {MAX_IPV6_RANGES}; "
            "join neighbouring ranges"
        )


def _too_many_sharing(stack_groups: Sequence[Group], filters: Mapping[str, Json]) -> Iterator[str]:
    for group in stack_groups:
        if len(group.vendors) > MAX_SHARING:
            yield (
                f"vendors: {len(group.vendors)} share {group.chains[0].networks[0]} by port, and "
                f"Envoy tells {MAX_SHARING} apart; give some of them addresses of their own"
            )
    for name in filters:
        if len(name) > MAX_NAME:
            yield (
                f"vendors: EnvoyFilter {name[:40]}… is named after all vendors that share "
                f"addresses, in {len(name)} characters, and Kubernetes takes {MAX_NAME}; "
                "give them shorter names"
            )


def _too_many_headers(vendors: Sequence[Vendor]) -> Iterator[str]:
    for index, vendor in enumerate(vendors):
        if vendor.inspect != "passive":
            continue
        looked_for = {
            (rule.header.lower(), rule.contains) for rule in vendor.outcomes if rule.header
        }
        if len(looked_for) > MAX_HEADERS_LOOKED_FOR:
            yield (
                f"vendors[{index}].outcomes: {len(looked_for)} different headers and texts, and "
                f"the passive module tells {MAX_HEADERS_LOOKED_FOR} apart; remove some, or write "
                "inspect: http"
            )
        for header in sorted({name for name, _ in looked_for if len(name) > MAX_HEADER_NAME}):
            yield (
                f"vendors[{index}].outcomes: {header[:20]}… has {len(header)} characters, and the "
                f"passive module reads names of {MAX_HEADER_NAME}; remove the rule"
            )
        for header, text in sorted((name, text or "") for name, text in looked_for):
            if len(header) + len(text) > MAX_HEADER_LINE:
                yield (
                    f"vendors[{index}].outcomes: {text[:20]}… has {len(text)} characters, and the "
                    f"passive module reads {MAX_HEADER_LINE} of a header; write a part of the text"
                )


def _too_many_pools(vendors: Sequence[Vendor]) -> Iterator[str]:
    passive = [vendor for vendor in vendors if vendor.inspect == "passive"]
    pools = {entry.pool for vendor in passive for entry in vendor.ranges if entry.pool}
    pools |= {product.name for vendor in passive for product in vendor.products}
    if len(pools) > MAX_POOLS:
        yield (
            f"vendors: {len(pools)} pools and products of passive vendors, and the passive "
            f"module tells {MAX_POOLS} apart; give several ranges one pool"
        )


def _without_cluster(filters: Mapping[str, Json]) -> Iterator[str]:
    held = {cluster for spec in filters.values() for cluster in clusters_held(spec)}
    for name, spec in filters.items():
        for chain, needed in clusters_needed(spec).items():
            for cluster in sorted(needed - held):
                yield (
                    f"EnvoyFilter {name}: chain {chain} leads to cluster {cluster}, which none "
                    "adds: its requests would get 503; this is a defect of the program, report it"
                )


def _without_extension(filters: Mapping[str, Json]) -> Iterator[str]:
    held = {extension for spec in filters.values() for extension in extensions_held(spec)}
    for name, spec in filters.items():
        for chain, needed in extensions_needed(spec).items():
            for extension in sorted(needed - held):
                yield (
                    f"EnvoyFilter {name}: chain {chain} asks for {extension}, which none sends: "
                    "nothing of it would be counted; this is a defect of the program, report it"
                )


def _without_opaque_chain(filters: Mapping[str, Json]) -> Iterator[str]:
    chains = _chains(filters)
    matches = [(listener, chain["filter_chain_match"]) for listener, chain in chains]
    for listener, chain in chains:
        # Envoy looks for the address first and does not go back. Without the opaque chain it would
        # reset what is not HTTP, and not use Istio's catch-all (tests/mesh/test_fail_open.py).
        prefix_ranges = chain["filter_chain_match"]["prefix_ranges"]
        if (listener, {"prefix_ranges": prefix_ranges}) not in matches:
            yield (
                f"EnvoyFilters: chain {chain['name']} has no chain beside it for what is not HTTP: "
                "TLS and SOCKS5 to its addresses would be reset; this is a defect of the program, "
                "report it"
            )


def _chains(filters: Mapping[str, Json]) -> list[tuple[Json, Json]]:
    """Return every filter chain with the listener that it is for."""
    return [
        (patch["match"]["listener"], patch["patch"]["value"])
        for spec in filters.values()
        for patch in spec["configPatches"]
        if patch["applyTo"] == "FILTER_CHAIN"
    ]


def _wrong_scripts(
    vendors: Sequence[Vendor], stack_groups: Sequence[Group], filters: Mapping[str, Json]
) -> Iterator[str]:
    sources = scripts_by_name(filters)
    catalogue = Catalogue.of(vendors)
    for group in stack_groups:
        name = script_name(group)
        if group.parses_http and name in sources:  # `_without_extension` says which is missing
            for fault in script_faults(group, sources[name], catalogue):
                yield f"lua/attribution.lua: filled for {name} it {fault}; correct the script"


def _wrong_module(filters: Mapping[str, Json]) -> Iterator[str]:
    for extension in extensions_by_name(filters).values():
        if extension["@type"] != WASM_TYPE:
            continue
        plugin = extension["config"]
        if plugin.get("fail_open") is not True or "failure_policy" in plugin:
            yield (
                "EnvoyFilters: a trap of the passive module would cut all open connections of a "
                "worker, its plugin needs fail_open and no failure_policy; this is a defect of the "
                "program, report it"
            )
        code = b64decode(plugin["vm_config"]["code"]["local"]["inline_bytes"])
        if sha256(code).hexdigest() != MODULE_SHA256.read_text(encoding="ascii").split()[0]:
            yield (
                "wasm/passive.wasm: is not the module whose sum is in wasm/passive.wasm.sha256; "
                "check both out again, or run make wasm"
            )


def _refused_by_envoy(
    envoy: Path, filters: Mapping[str, Json], entries: Mapping[str, Json]
) -> Iterator[str]:
    complaint = _validated(envoy, json.dumps(validation_bootstrap(filters, entries)))
    if "LC-Trie" in complaint:
        yield "vendors: their ranges are more than Envoy's look-up holds; join neighbouring ranges"
    elif "Unable to create Wasm plugin" in complaint:
        yield (
            "EnvoyFilters: the passive module does not load in Envoy, or refuses its "
            "configuration; this is a defect of the program, report it"
        )
    elif complaint:
        yield (
            f"EnvoyFilters: Envoy refuses them ({complaint}); "
            "this is a defect of the program, report it"
        )


@lru_cache(maxsize=32)
def _validated(envoy: Path, bootstrap: str) -> str:
    """Return Envoy's reason to refuse a configuration in one line, or nothing if it takes it."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "envoy.json"
            file.write_text(bootstrap)
            arguments = ["--mode", "validate", "-c", str(file), "--log-level", "warning"]
            run = subprocess.run(
                [str(envoy), *arguments, "--disable-hot-restart"],
                capture_output=True,
                text=True,
                timeout=VALIDATION_SECONDS,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # Envoy does not run here, which says nothing about the configuration
    said = run.stdout + run.stderr
    if run.returncode == 0 or "rror" not in said or WITHOUT_WASM in said:
        return ""
    message = " ".join((run.stderr or run.stdout).split())
    # Before the reason Envoy prints the time, its source file and the configuration's file name.
    # The reason may contain the whole configuration, so its middle is left out.
    reason = message.rpartition(f"'{file}': ")[2]
    return reason if len(reason) <= 1000 else f"{reason[:300]} … {reason[-600:]}"
