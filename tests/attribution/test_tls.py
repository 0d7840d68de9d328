"""TLS to the vendor in the rendered EnvoyFilters; tests/lab/test_vendor_tls.py has it spoken."""

from __future__ import annotations

import pytest

from components.attribution import tls
from components.attribution.guard import envoy_here, refuse_undeployable
from components.attribution.names import service_entries
from components.attribution.render import envoy_filters
from settings.vendors import Vendor
from tests.attribution.filters import nested, values
from tests.certificates import Authority

NAME = "gw.vendor.test"
HOSTS = ({"name": NAME, "ports": (7777,)}, {"name": "us.vendor.test", "ports": (7777,)})


def render(**more):
    vendors = (Vendor(name="vendor-t", **more), Vendor(name="vendor-u", cidrs=("10.2.0.0/16",)))
    filters = envoy_filters(vendors, timeout_after_seconds=10, selector={})
    refuse_undeployable(vendors, filters, envoy_here(), entries=service_entries(vendors))
    return filters


def test_no_vendor_gets_tls_unasked():
    filters = render(cidrs=("10.1.0.0/16",), hosts=HOSTS)
    assert nested(filters, "transport_socket") == []


@pytest.mark.parametrize("inspect", ["http", "passive", "connections"])
def test_one_name_of_a_vendor_is_the_clusters(inspect):
    """It holds for addresses and names; the chains write none."""
    own = {"originate": True, "sni": NAME}
    filters = render(cidrs=("10.1.0.0/16",), hosts=HOSTS, tls=own, inspect=inspect)
    sockets = nested(filters, "transport_socket")
    assert len(sockets) == 2
    for socket in sockets:
        context = socket["typed_config"]["common_tls_context"]["validation_context"]
        assert socket["typed_config"]["sni"] == NAME
        assert context["trusted_ca"] == {"filename": tls.SYSTEM_CA_FILE}
        assert nested(context, "exact") == [NAME]
    assert tls.SERVER_NAME_KEY not in nested(filters, "object_key")


def test_each_name_is_asked_for_and_checked_in_each_of_its_chains():
    """A chain that leads to TLS without both would take any certificate of a trusted CA."""
    authority = Authority()
    filters = render(hosts=HOSTS, tls={"originate": True, "ca": authority.pem})
    (socket,) = nested(filters, "transport_socket")
    assert nested(socket, "inline_string") == [authority.pem]
    chains = [one for one in values(filters, "FILTER_CHAIN") if "vendor-t" in one["name"]]
    assert len(chains) == 8  # of two names, parsed and opaque, in two listeners each
    for chain in chains:
        states = {
            one["object_key"]: one["format_string"]["text_format_source"]["inline_string"]
            for one in nested(chain, "on_new_connection")[0]
        }
        name = states["envoy.upstream.dynamic_host"].removesuffix(".")
        assert name in chain["name"]
        assert states[tls.SERVER_NAME_KEY] == states[tls.CERTIFICATE_NAMES_KEY] == name


def test_a_file_that_this_machine_lacks_is_the_sidecars(monkeypatch):
    monkeypatch.setattr(tls, "SYSTEM_CA_FILE", "/nowhere/ca-certificates.crt")
    render(cidrs=("10.1.0.0/16",), tls={"originate": True, "sni": NAME})
