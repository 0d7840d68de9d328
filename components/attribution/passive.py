"""The passive filter chain: a Wasm module reads the bytes that pass, and changes none.

    vendor constant -> module, sent by ECDS -> TCP proxy

One ECDS resource holds the module and its configuration for all vendors, so that an edit of a rule,
a pool, a product or a target group changes no chain and cuts no connection. The module is built
from `wasm/`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path

from components.attribution.chains import prefix_ranges, tcp_proxy, vendor_constant
from components.attribution.discovery import network_filter
from components.attribution.envoy import TYPE, Json, add
from components.attribution.groups import Chain, by_address
from components.attribution.outcome import answer_lines
from components.attribution.upstream import Upstream
from settings.vendors import OutcomeRule, Target, Vendor

MODULE = Path(__file__).parents[2] / "wasm" / "passive.wasm"
MODULE_SHA256 = MODULE.with_name("passive.wasm.sha256")
EXTENSION = "proxy_observability.passive"
FILTER_NAME = "proxy-passive"
"""The EnvoyFilter that holds the module."""

NO_POOL = "-"
"""In the module's configuration: a range without a pool. No pool can have this name."""

WASM_TYPE = f"{TYPE}.extensions.filters.network.wasm.v3.Wasm"

# What the crawler sends before the vendor's connection stands is read up to this, and the module
# sees it. Without it the module could not tell a request to a dead vendor from silence.
_EARLY_BYTES = 65536


def passive_chain(chain: Chain, upstream: Upstream) -> Json:
    """Return the one chain of these ranges: it takes every port and every protocol."""
    return {
        "name": f"{chain.name}_passive",
        "filter_chain_match": {"prefix_ranges": prefix_ranges(chain.networks)},
        "filters": [
            vendor_constant(*upstream.states, *upstream.opaque_states),
            network_filter(EXTENSION, WASM_TYPE),
            *upstream.opaque_filters,
            tcp_proxy(upstream.cluster, max_early_data_bytes=_EARLY_BYTES),
        ],
    }


def passive_patches(
    vendors: Sequence[Vendor], targets: Sequence[Target], timeout_after_seconds: int
) -> list[Json]:
    """Return the patch that has istiod send the module to the chains of all passive vendors."""
    configuration = module_configuration(vendors, targets, timeout_after_seconds)
    return [add("EXTENSION_CONFIG", module_extension(MODULE.read_bytes(), configuration))]


def module_extension(code: bytes, configuration: str) -> Json:
    """Return the module and its configuration under the name by which the filter asks for it."""
    return {
        "name": EXTENSION,
        "typed_config": {
            "@type": WASM_TYPE,
            "config": {
                "name": EXTENSION,
                "root_id": "passive",
                # After a trap connections go on, uncounted. With `failure_policy` instead, even
                # FAIL_OPEN, Envoy cuts every open connection of the worker (seen on Envoy 1.40).
                "fail_open": True,
                "vm_config": {
                    "vm_id": EXTENSION,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"inline_bytes": b64encode(code).decode()}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": configuration,
                },
            },
        },
    }


def module_configuration(
    vendors: Sequence[Vendor], targets: Sequence[Target], timeout_after_seconds: int
) -> str:
    """Return what the module reads as it starts: one directive a line, fields split by a space.

    The module refuses all of it for one line that it cannot read.

    Args:
        vendors: the stack's; only passive ones are told.
        targets: groups of crawled sites, for the label `proxy_target`.
        timeout_after_seconds: see `outcome.proxy_outcome`.
    """
    lines = [f"timeout_after {timeout_after_seconds * 1000}"]
    if targets:
        lines.append("with_targets")
    lines += answer_lines()
    for vendor in sorted(vendors, key=lambda vendor: vendor.name):
        if vendor.inspect == "passive":
            lines += [_rule(vendor, rule) for rule in vendor.outcomes]
            lines += _pools(vendor)
            lines += [f"product {vendor.name} {one.user} {one.name}" for one in vendor.products]
    named = sorted((host, target.name) for target in targets for host in target.hosts)
    lines += [f"target {host} {name}" for host, name in named]
    return "".join(f"{line}\n" for line in lines)


def _rule(vendor: Vendor, rule: OutcomeRule) -> str:
    header = rule.header.lower() if rule.header else "-"
    status = str(rule.status)
    words = ["rule", vendor.name, status, status, rule.kind, header, rule.outcome]
    return " ".join([*words, *([rule.contains] if rule.contains else [])])


def _pools(vendor: Vendor) -> Iterator[str]:
    """Yield all ranges of a vendor that has pools: the longest prefix decides, pool or not."""
    if any(entry.pool for entry in vendor.ranges):
        for entry in sorted(vendor.ranges, key=lambda entry: by_address(entry.network)):
            yield f"pool {vendor.name} {entry.network} {entry.pool or NO_POOL}"
