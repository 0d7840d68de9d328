"""What several parts of the rendered Envoy configuration have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

TYPE = "type.googleapis.com/envoy"

# Envoy's defaults are 100 headers and 60 KiB; it answers 431 to a request with more, and 502 in the
# place of an answer with more.
MAX_HEADERS = 1000

# Envoy holds a head until it is complete, and a hostile site can send one without an end on every
# connection. 1,000 such connections took 293 MiB (Envoy 1.40), which fits into a sidecar's 512 MB
# (settings/istio.py) beside the 100 MB that it has anyway. At the 8,192 KiB that Envoy allows, 60
# did not fit. Chromium takes no longer answer. Requests have the same limit.
MAX_HEADERS_KIB = 256

# What Envoy reads ahead of a crawler or a vendor that reads slowly, for each of a connection's
# sides. With Envoy's default of 1 MiB, 200 slow readers held 276 to 386 MB (Envoy 1.40), with this
# 93 MB, and a fast reader's MB cost the same CPU.
BUFFER_BYTES = 256 * 1024

LISTENER = "virtualOutbound"
"""Istio's listener for all outbound connections."""

# Releases whose sidecars take the filter chains (tests/mesh). A sidecar of another release keeps
# Istio's own configuration: an Envoy that refused one setting of the listener would keep its pod
# from starting. `SIDECAR_VERSIONS` is a regular expression over the sidecar's own version.
ISTIO_RELEASES = ("1.30", "1.31")
SIDECAR_VERSIONS = r"^1\.(30|31)\b"


def extension(name: str, message: str, **settings: Any) -> Json:
    """Return an Envoy extension.

    Args:
        name: the extension's name, "envoy.filters.network.tcp_proxy".
        message: its configuration message below `envoy.extensions`,
            "filters.network.tcp_proxy.v3.TcpProxy".
        settings: the fields of that message.
    """
    return {"name": name, "typed_config": {"@type": f"{TYPE}.extensions.{message}", **settings}}


def standard_output(fields: Json) -> Json:
    """Return the access log that prints these fields as a line of JSON."""
    return extension(
        "envoy.access_loggers.file",
        "access_loggers.file.v3.FileAccessLog",
        path="/dev/stdout",
        log_format={"json_format": fields},
    )


def filter_state(key: str, factory: str, value: str) -> Json:
    """Return an entry that a chain's first filter writes into a connection; `value` is a format."""
    computed = "%" in value
    return {
        "object_key": key,
        "factory_key": factory,
        "format_string": {"text_format_source": {"inline_string": value}},
        **({"skip_if_empty": True} if computed else {}),  # no vendor's port: the key stays unset
    }


def preserve_case() -> Json:
    """Return the header format that keeps header names and reason phrases as they were sent.

    Without it Envoy writes header names in lower case and a reason phrase of its own.
    """
    formatter = extension(
        "preserve_case",
        "http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
        forward_reason_phrase=True,
    )
    return {"stateful_formatter": formatter}


def mappings(node: Any) -> Iterator[Json]:
    """Yield every mapping anywhere in a part of Envoy's configuration, outer ones first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from mappings(item)


def add(apply_to: str, value: Json) -> Json:
    """Return the patch that adds a cluster or an extension."""
    return patch(apply_to, "ADD", value, {})


def patch_listener(apply_to: str, operation: str, value: Json, listener: str = LISTENER) -> Json:
    """Return a patch of an outbound listener, or of something within it."""
    return patch(apply_to, operation, value, {"listener": {"name": listener}})


def patch(apply_to: str, operation: str, value: Json, where: Json) -> Json:
    """Return a patch of crawlers' sidecars; `where` is more of what it must match."""
    sidecars = {"context": "SIDECAR_OUTBOUND", "proxy": {"proxyVersion": SIDECAR_VERSIONS}}
    return {
        "applyTo": apply_to,
        "match": {**sidecars, **where},
        "patch": {"operation": operation, "value": value},
    }
