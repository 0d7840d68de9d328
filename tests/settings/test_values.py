"""Values are read as the systems behind them read the same text."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from settings.values.addresses import (
    PortRange,
    overlap,
    parse_network,
    parse_ports,
    split_endpoint,
)
from settings.values.kubernetes import Image
from settings.values.quantities import (
    LONGEST_DURATION,
    cpu_millis,
    format_bytes,
    format_duration,
    memory_bytes,
    parse_bytes,
    parse_duration,
)
from settings.values.texts import HOST_PATTERN
from settings.vendors import AddressRange


@pytest.mark.parametrize(
    ("image", "is_one"),
    [
        ("python:3.13-slim", True),
        ("registry.example:5000/team/grafana:12.1.0", True),
        (f"quay.io/prometheus/prometheus:v3.16.0@sha256:{'0' * 64}", True),
        (f"localhost:5000/x@sha256:{'0' * 64}", True),
        ("198.51.100.11:8800:lamer:hunter2", False),
        ("198.51.100.11:8800/x", False),
        ("gw.example/lamer:hunter2:x", False),
    ],
)
def test_an_image_has_one_tag(image, is_one):
    """A proxy's line with its login, taken for an image, would be written into manifests."""
    adapter = TypeAdapter(Image)
    if is_one:
        assert adapter.validate_python(image) == image
    else:
        with pytest.raises(ValidationError):
            adapter.validate_python(image)


@given(st.integers(1, LONGEST_DURATION))
def test_a_duration_survives_being_written(seconds):
    """What Prometheus and Envoy are given is what the stack says."""
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("7d", 604800), ("1w", 604800), ("1h30m", 5400), ("90m", 5400)],
)
def test_durations(text, seconds):
    """Units are Prometheus's."""
    assert parse_duration(text) == seconds


@given(st.integers(1, 2**50))
def test_a_size_survives_being_written(size):
    """No byte is lost between the stack and the volume claim."""
    assert parse_bytes(format_bytes(size)) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [("40GB", 40 * 10**9), ("50Gi", 50 * 2**30), ("1.5Gi", 3 * 2**29), ("512M", 512 * 10**6)],
)
def test_sizes(text, size):
    """GB is 10^9 and Gi is 2^30."""
    assert parse_bytes(text) == size


def test_quantities_are_compared_in_one_unit():
    """0.5 CPU is 500m; 1Gi is more than 1G."""
    assert cpu_millis("0.5") == cpu_millis("500m") == 500
    assert memory_bytes("1Gi") > memory_bytes("1G") == 10**9


def test_a_bare_address_is_a_range_of_one():
    """Vendors of dedicated proxies give addresses, not blocks."""
    assert parse_network("10.1.0.7") == ip_network("10.1.0.7/32")
    assert parse_network("2001:db8::7") == ip_network("2001:db8::7/128")
    assert AddressRange.parse({"range": "10.1.0.7", "pool": "isp"}) == AddressRange(
        ip_network("10.1.0.7/32"), "isp"
    )


NETWORKS = st.one_of(
    st.tuples(st.integers(0, 2**8 - 1).map(lambda n: n << 24), st.integers(1, 32)).map(
        lambda one: IPv4Network(one, strict=False)
    ),
    st.tuples(st.integers(0, 2**8 - 1).map(lambda n: n << 120), st.integers(1, 128)).map(
        lambda one: IPv6Network(one, strict=False)
    ),
)


@given(NETWORKS, NETWORKS)
def test_networks_overlap_as_the_standard_library_says(one, other):
    """A vendor's range in the cluster's own addresses is never missed."""
    expected = one.version == other.version and one.overlaps(other)
    assert overlap(one, other) is expected


@given(NETWORKS)
def test_a_network_survives_being_written(network):
    """Of either IP version: ::1/24 is not 0.0.0.1/24."""
    assert parse_network(str(network)) == network
    assert type(parse_network(str(network))) is type(network)


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [(3128, 3128, 3128), (1, 1, 1), (65535, 65535, 65535), ("10000-10999", 10000, 10999),
     ("1-65535", 1, 65535), ("080-0090", 80, 90)],
)  # fmt: skip
def test_ports(value, first, last):
    """A number, or both ends of a range."""
    assert parse_ports(value) == PortRange(first, last)


PORTS = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(
    lambda ends: PortRange(min(ends), max(ends))
)


@given(PORTS, PORTS)
def test_port_ranges_are_sets_of_ports(one, other):
    """Meeting, being inside and holding are what they are for sets."""
    ports, others = ({port for port in range(14) if port in each} for each in (one, other))
    assert ports == set(range(one.first, one.last + 1))
    assert one.meets(other) is bool(ports & others)
    assert one.within(other) is (ports <= others)


@pytest.mark.parametrize(
    "text", ["shop.example", "*.shop.example", "localhost", "xn--bcher-kva.example", "10.1.2.3",
             "a_b.example", "*.example"],
)  # fmt: skip
def test_hosts_of_a_target(text):
    """Every host a crawler may ask for, as its authority spells it."""
    assert HOST_PATTERN.check(text) == text


@pytest.mark.parametrize(
    "text", ["shop.example.", "shop.example\n", "a" * 64, ".".join(["a" * 60] * 5), "*.", "*.*.a",
             "shop .example", "-shop.example", 'shop"]=nil--', "bücher.example"],
)  # fmt: skip
def test_what_is_no_host_of_a_target(text):
    """No such text reaches the Lua script."""
    with pytest.raises(ValueError, match="; write a host"):
        HOST_PATTERN.check(text)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("10.2.9.1", "10.2.9.1", None),
        ("10.2.9.1:3128", "10.2.9.1", 3128),
        ("[2001:db8::1]:3128", "2001:db8::1", 3128),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("2001:db8::1", "2001:db8::1", None),
    ],
)
def test_endpoints(text, address, port):
    """Every way an address and its port are commonly written."""
    assert split_endpoint(text) == (ip_address(address), port)


@pytest.mark.parametrize("text", ["10.2.9.1:", "[::1]:", "[10.2.9.1]:80", "::1:x", "[::1]80", ""])
def test_what_is_no_endpoint(text):
    """A port that was forgotten is not "every port"."""
    with pytest.raises(ValueError, match="; write"):
        split_endpoint(text)


@given(st.text(max_size=20))
def test_any_text_is_an_endpoint_or_refused_with_a_fix(text):
    """No text brings another error than the sentence."""
    refusal = "reason; fix"
    try:
        split_endpoint(text)
    except ValueError as error:
        refusal = str(error)
    assert "; " in refusal
