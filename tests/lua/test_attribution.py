"""The very script Envoy runs, in LuaJIT (Envoy's Lua), against its Python twin."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings, strategies
from lupa.luajit21 import LuaRuntime

from components.attribution.lua import SCRIPT, attribution_script, quoted
from settings.catalogue import Catalogue
from settings.model import OutcomeRule, Vendor
from settings.values import AddressRange, parse_network

NAMESPACE = "proxy_observability"

# What Envoy hands the hooks, as far as the script may use it. A missing header returns no
# value at all, not nil: seen on Envoy 1.40.
ENVOY = """
function stream(address, status, headers, now)
  local handle = { written = {}, now = now }
  local metadata = {}
  function metadata:get(namespace) return handle.written[namespace] end
  function metadata:set(namespace, key, value)
    handle.written[namespace] = handle.written[namespace] or {}
    handle.written[namespace][key] = value
  end
  local info = {}
  function info:downstreamLocalAddress() return address end
  function info:dynamicMetadata() return metadata end
  local map = {}
  function map:get(name)
    if name == ":status" then return status end
    if headers[name] == nil then return end
    return headers[name]
  end
  function handle:streamInfo() return info end
  function handle:timestamp() return self.now end
  function handle:headers() return map end
  return handle
end
"""


class Script:
    """A loaded script, called as Envoy calls it."""

    def __init__(self, source: str) -> None:
        self.lua = LuaRuntime(unpack_returned_tuples=True)
        self.lua.execute(ENVOY)
        self.lua.execute(source)

    def request(
        self,
        address: str,
        *,
        status: str | None = None,
        headers: dict[str, str] | None = None,
        milliseconds: int = 0,
    ) -> dict[str, Any]:
        """Run both hooks; return the metadata written under our namespace."""
        table = self.lua.table_from(headers or {})
        handle = self.lua.globals().stream(address, status, table, 1000)
        self.lua.globals().envoy_on_request(handle)
        if status is not None:
            handle.now = 1000 + milliseconds
            self.lua.globals().envoy_on_response(handle)
        return dict(handle.written[NAMESPACE])


def vendor(*cidrs: str | tuple[str, str], outcomes: tuple[OutcomeRule, ...] = ()) -> Vendor:
    entries = [(cidr, "") if isinstance(cidr, str) else cidr for cidr in cidrs]
    return Vendor(
        name="vendor-a",
        cidrs=tuple(AddressRange(network=parse_network(c), pool=pool) for c, pool in entries),
        outcomes=outcomes,
    )


def test_names_the_vendor_and_the_pool_of_the_longest_prefix():
    """A pool inside a wider range of the same vendor is found, IPv4 and IPv6."""
    script = Script(
        attribution_script(
            vendor("10.1.0.0/16", ("10.1.128.0/17", "residential"), ("2001:db8::/33", "mobile"))
        )
    )
    assert script.request("10.1.1.1:3128")["proxy_vendor"] == "vendor-a"
    assert "proxy_pool" not in script.request("10.1.1.1:3128")
    assert script.request("10.1.200.1:3128")["proxy_pool"] == "residential"
    assert script.request("[2001:db8:7fff::1]:8080")["proxy_pool"] == "mobile"
    assert script.request("[2001:db8:8000::1]:8080")["proxy_vendor"] == "unknown"


addresses = strategies.one_of(
    strategies.integers(0, 2**32 - 1).map(lambda n: str(ip_address(n))),
    # Few bits in few places: random addresses would hardly ever meet a range.
    strategies.integers(0, 255).map(lambda n: f"10.1.{n}.{255 - n}"),
    strategies.ip_addresses(v=6).map(str),
    strategies.integers(0, 2**16 - 1).map(lambda n: str(ip_address(0x20010DB8 << 96 | n << 72))),
)
networks = strategies.one_of(
    strategies.tuples(strategies.integers(0, 255), strategies.integers(8, 32)).map(
        lambda t: f"{ip_address(0x0A010000 | t[0] << 8)}/{t[1]}"
    ),
    strategies.tuples(strategies.integers(0, 2**16 - 1), strategies.integers(1, 128)).map(
        lambda t: f"{ip_address(0x20010DB8 << 96 | t[0] << 72)}/{t[1]}"
    ),
)


def without_host_bits(text: str) -> str:
    address, length = text.split("/")
    bits = ip_address(address).max_prefixlen - int(length)
    return f"{type(ip_address(address))((int(ip_address(address)) >> bits) << bits)}/{length}"


@settings(max_examples=150, deadline=None)
@given(
    ranges=strategies.lists(networks.map(without_host_bits), min_size=1, max_size=12, unique=True),
    looked_up=strategies.lists(addresses, min_size=1, max_size=30),
)
def test_agrees_with_the_catalogue_on_every_address(ranges, looked_up):
    """Lua and Python name the same range for the same address, both IP versions."""
    owner = vendor(*((cidr, f"pool-{i}") for i, cidr in enumerate(ranges)))
    script, catalogue = Script(attribution_script(owner)), Catalogue.of([owner])
    for address in looked_up:
        text = f"[{address}]:3128" if ":" in address else f"{address}:3128"
        route = catalogue.find(address)
        seen = script.request(text)
        assert seen["proxy_vendor"] == ("vendor-a" if route else "unknown"), address
        assert seen.get("proxy_pool") == (route.pool if route else None), address


@pytest.mark.parametrize(
    "address",
    [
        "", ":", "10.1.0", "10.1.0.256:1", "999.1.1.1:3128", "10.1.0.1.9:1", "[::]:", "[:::]:1",
        "[1::2::3]:1", "[12345::]:1", "[g::1]:1", "::ffff:10.1.0.300", "/var/run/envoy.sock",
        "@internal", "10.1.0.1:3128\n", "[::ffff:10.1.0.1.2]:1", "%s%n", "1" * 10_000,
    ],
)  # fmt: skip
def test_an_odd_address_is_unknown_and_nothing_raises(address):
    """Whatever Envoy prints for an address, the request goes on."""
    assert Script(attribution_script(vendor("192.0.2.0/24"))).request(address)["proxy_vendor"] == (
        "unknown"
    )


def test_an_ipv4_address_written_as_ipv6_is_not_lost():
    """A dual-stack listener may print an IPv4 destination in its mapped form."""
    script = Script(attribution_script(vendor("10.1.0.0/16")))
    assert script.request("[::ffff:10.1.0.10]:3128")["proxy_vendor"] == "vendor-a"


def test_many_addresses_do_not_grow_the_memory_without_bound():
    """Crawlers choose addresses; what the script remembers of them is bounded."""
    script = Script(attribution_script(vendor("10.0.0.0/8")))
    script.lua.execute("collectgarbage()")
    for number in range(20_000):
        script.request(f"{ip_address(0x0A000000 + number)}:3128")
    script.lua.execute("collectgarbage()")
    kib = script.lua.eval("collectgarbage('count')")
    assert kib < 2_000
    assert script.request("10.0.0.1:3128")["proxy_vendor"] == "vendor-a"


def test_time_to_the_answer_is_in_milliseconds():
    """Latency is request start to response headers, whatever follows."""
    script = Script(attribution_script(vendor("10.1.0.0/16")))
    seen = script.request("10.1.0.1:3128", status="200", milliseconds=251)
    assert seen["setup_milliseconds"] == 251


RULES = (
    OutcomeRule(status=407, header="X-Error", contains="traffic", outcome="quota_exhausted"),
    OutcomeRule(status=407, header="X-Banned", outcome="blocked"),
    OutcomeRule(status=503, outcome="vendor_error"),
)


@pytest.mark.parametrize(
    ("status", "headers", "verdict"),
    [
        ("407", {"x-error": "out of traffic today"}, "quota_exhausted"),
        ("407", {"x-error": "wrong password"}, None),
        ("407", {}, None),
        ("407", {"x-banned": ""}, "blocked"),
        ("407", {"x-error": "traffic", "x-banned": "1"}, "quota_exhausted"),
        ("503", {}, "vendor_error"),
        ("200", {"x-error": "traffic"}, None),
        ("407", {"x-error": "%a+ [traffic"}, "quota_exhausted"),
    ],
)
def test_the_vendors_dialect_gives_the_verdict(status, headers, verdict):
    """First rule that fits wins; header names in any case, text as it is, never a pattern."""
    script = Script(attribution_script(vendor("10.1.0.0/16", outcomes=RULES)))
    assert script.request("10.1.0.1:1", status=status, headers=headers).get("verdict") == verdict


def test_the_unfilled_script_loads_and_knows_nobody():
    """The file in lua/ is a script of its own, not text with holes."""
    script = Script(SCRIPT.read_text(encoding="utf-8"))
    assert script.request("10.1.0.1:3128", status="200")["proxy_vendor"] == "unknown"


@given(strategies.text(alphabet=strategies.characters(min_codepoint=32, max_codepoint=126)))
def test_no_text_of_a_stack_file_becomes_code(text):
    """A quoted string is that string in Lua, whatever is in it."""
    assert LuaRuntime().eval(quoted(text)) == text


@pytest.mark.parametrize("text", ["line\nbreak", "nul\0", "é", "\x7f", "\t"])
def test_text_outside_printable_ascii_is_refused(text):
    """What cannot be quoted safely is an error, not a guess."""
    with pytest.raises(ValueError, match="printable ASCII"):
        quoted(text)


def test_a_range_is_one_line_and_order_does_not_matter():
    """A pull request that edits one range shows one changed line of Lua."""
    one = attribution_script(vendor("10.1.0.0/16", "10.2.0.0/16", "2001:db8::/32"))
    other = attribution_script(vendor("2001:db8::/32", "10.2.0.0/16", "10.1.0.0/16"))
    edited = attribution_script(vendor("10.1.0.0/16", "10.2.128.0/17", "2001:db8::/32"))
    assert one == other
    changed = set(edited.splitlines()) ^ set(one.splitlines())
    assert sorted(changed) == ['    { "10.2.0.0/16" },', '    { "10.2.128.0/17" },']
