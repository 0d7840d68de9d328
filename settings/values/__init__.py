"""The kinds of value that a stack file holds, each read from the text an operator writes."""

from settings.values.addresses import (
    IPAddress,
    IPNetwork,
    PortRange,
    overlap,
    parse_network,
    split_endpoint,
)
from settings.values.quantities import (
    cpu_millis,
    format_bytes,
    format_duration,
    memory_bytes,
    parse_duration,
)

__all__ = [
    "IPAddress",
    "IPNetwork",
    "PortRange",
    "cpu_millis",
    "format_bytes",
    "format_duration",
    "memory_bytes",
    "overlap",
    "parse_duration",
    "parse_network",
    "split_endpoint",
]
