"""The very script Envoy runs, in LuaJIT (Envoy's Lua), against its Python twin."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings, strategies
from lupa.luajit21 import LuaError, LuaRuntime

from components.attribution.dry_run import Script
from components.attribution.groups import Chain, Group, groups
from components.attribution.lua import SCRIPT, attribution_script, quoted
from settings.catalogue import Catalogue
from settings.values.addresses import parse_network
from settings.vendors import AddressRange, OutcomeRule, Target, Vendor


def vendor(
    *cidrs: str | tuple[str, str], name: str = "vendor-a", ports: tuple[int | str, ...] = (), **more
) -> Vendor:
    entries = [(cidr, "") if isinstance(cidr, str) else cidr for cidr in cidrs]
    return Vendor(
        name=name,
        cidrs=tuple(AddressRange(network=parse_network(c), pool=pool) for c, pool in entries),
        ports=ports,
        **more,
    )


def everything(*vendors: Vendor) -> Group:
    """All ranges in one group: what the script must cope with does not depend on the grouping."""
    routes = Catalogue.of(vendors).routes
    networks = tuple({route.network for route in routes})
    chain = Chain(part="0", name="all", networks=networks, routes=routes)
    return Group(vendors=vendors, chains=(chain,))


def script_of(*vendors: Vendor, targets: tuple[Target, ...] = ()) -> Script:
    return Script(attribution_script(everything(*vendors), targets))


def pooled(cidr: str, **more) -> Vendor:
    return vendor((cidr, "isp"), **more)


def printed(address: str, port: int) -> str:
    """An address as Envoy prints it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


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


# Disjoint ports, so that they may share ranges; the last vendor has every port.
PORTS = {
    "vendor-a": (3128, "4000-4009", 65535),
    "vendor-b": ("4010-4999",),
    "vendor-c": (1, "5000-5001", "6000-6999"),
    "vendor-d": (),
}
BOUNDS = (1, 2, 3127, 3128, 3999, 4000, 4009, 4010, 4999, 5000, 5001, 5002, 6500, 7000, 65535)


@strategies.composite
def stacks(draw) -> list[Vendor]:
    """Vendors that share ranges, and lie inside each other's."""
    cidrs = strategies.lists(networks.map(without_host_bits), min_size=1, max_size=6, unique=True)
    own = draw(cidrs)
    chosen = draw(strategies.sets(strategies.sampled_from([*PORTS]), min_size=1))
    stack, taken = [], set()
    for name in sorted(chosen):
        ranges = draw(strategies.lists(strategies.sampled_from(own), max_size=4)) + draw(cidrs)
        if not PORTS[name]:
            ranges = [cidr for cidr in ranges if cidr not in taken]
        taken |= set(ranges)
        if ranges:
            pools = [(cidr, f"{name}-{i}") for i, cidr in enumerate(dict.fromkeys(ranges))]
            stack.append(vendor(*pools, name=name, ports=PORTS[name]))
    return stack


@settings(max_examples=150, deadline=None)
@given(
    stack=stacks(),
    looked_up=strategies.lists(addresses, max_size=10),
    ports=strategies.lists(strategies.sampled_from(BOUNDS), min_size=3, max_size=6),
)
def test_agrees_with_the_catalogue_on_every_port(stack, looked_up, ports):
    """Vendors that share ranges, that lie inside one of every port, with several port ranges."""
    script, catalogue = script_of(*stack), Catalogue.of(stack)
    edges = [str(edge) for r in catalogue.routes for edge in (r.network[0], r.network[-1])]
    for address in [*edges, *looked_up]:
        for port in ports:
            route = catalogue.find(address, port)
            seen = script.request(printed(address, port))
            assert seen.get("proxy_pool") == (route.pool if route else None), (address, port)


@settings(max_examples=60, deadline=None)
@given(stack=stacks(), port=strategies.sampled_from(BOUNDS))
def test_the_chain_that_envoy_picks_knows_enough(stack, port):
    """A group's script has its own ranges only, and those around them."""
    catalogue = Catalogue.of(stack)
    scripts = {
        network: script
        for group in groups(stack)
        for script in [Script(attribution_script(group))]
        for chain in group.chains
        for network in chain.networks
    }
    for network in scripts:
        for address in (network[0], network[-1]):
            route = catalogue.find(address, port)
            longest = catalogue.covering(address)[0].network
            seen = scripts[longest].request(printed(str(address), port))
            assert seen.get("proxy_pool") == (route.pool if route else None)


@pytest.mark.parametrize(
    "address",
    [
        "", ":", "10.1.0", "10.1.0.256:1", "999.1.1.1:3128", "10.1.0.1.9:1", "[::]:", "[:::]:1",
        "[1::2::3]:1", "[12345::]:1", "[g::1]:1", "::ffff:10.1.0.300", "/var/run/envoy.sock",
        "@internal", "10.1.0.1:3128\n", "[::ffff:10.1.0.1.2]:1", "%s%n", "1" * 10_000,
    ],
)  # fmt: skip
def test_an_odd_address_is_outside_and_nothing_raises(address):
    """Whatever Envoy prints for an address, the request goes on, and no vendor is guessed."""
    assert script_of(pooled("192.0.2.0/24")).request(address) == {}


@pytest.mark.parametrize("port", ["", ":", ":x", ":99999"])
def test_without_a_port_no_vendor_of_ports_is_named(port):
    """Whatever Envoy prints, nothing is guessed and nothing raises."""
    script = script_of(pooled("10.6.0.0/24", ports=(3128,)))
    assert script.request("10.6.0.10:3128") == {"proxy_pool": "isp"}
    assert script.request(f"10.6.0.10{port}") == {}


def test_an_ipv4_address_written_as_ipv6_is_not_lost():
    """A dual-stack listener may print an IPv4 destination in its mapped form."""
    script = script_of(pooled("10.1.0.0/16"))
    assert script.request("[::ffff:10.1.0.10]:3128") == {"proxy_pool": "isp"}


@pytest.mark.parametrize(
    ("more", "targets", "hooks"),
    [
        ({}, False, ""),
        ({"ports": (3128,)}, False, ""),
        ({"pool": "isp"}, False, "request"),
        ({}, True, "request"),
        ({"outcomes": True}, False, "response"),
        ({"outcomes": True, "ports": (3128,)}, False, "response"),
        ({"outcomes": True, "pool": "isp"}, True, "request response"),
    ],
)
def test_a_hook_is_there_only_if_it_has_something_to_tell(more, targets, hooks):
    """A hook costs each request or answer CPU, whatever it does."""
    asked = {"ports": more.get("ports", ()), "outcomes": RULES if "outcomes" in more else ()}
    owner = vendor(("10.1.0.0/16", more.get("pool", "")), **asked)
    script = script_of(owner, targets=TARGETS if targets else ())
    there = script.lua.globals()
    assert hooks.split() == [
        name for name in ("request", "response") if there[f"envoy_on_{name}"] is not None
    ]


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
    script = script_of(vendor("10.1.0.0/16", outcomes=RULES))
    seen = script.request("10.1.0.1:1", answer={":status": status, **headers})
    assert seen.get("verdict") == verdict


def test_each_vendor_of_a_shared_range_has_its_own_dialect():
    """What a 407 means is the vendor's of the port, not its neighbour's."""
    rules = {
        "vendor-f": ({"status": 407, "outcome": "quota_exhausted"},),
        "vendor-g": ({"status": 407, "outcome": "blocked"},),
        "vendor-h": (),
    }
    script = script_of(
        *(
            vendor("10.6.0.0/24", name=name, ports=(port,), outcomes=outcomes)
            for port, (name, outcomes) in enumerate(rules.items(), start=1)
        )
    )
    assert [
        script.request(f"10.6.0.1:{port}", answer={":status": "407"}).get("verdict")
        for port in (1, 2, 3, 4)
    ] == ["quota_exhausted", "blocked", None, None]


TARGETS = (
    Target(name="shops", hosts=("shop.example", "*.shop.example")),
    Target(name="news", hosts=("news.shop.example", "*.news.shop.example", "10.1.2.3")),
    Target(name="wide", hosts=("*.example",)),
)


@pytest.mark.parametrize(
    ("authority", "target"),
    [
        ("shop.example", "shops"),
        ("shop.example:443", "shops"),
        ("www.shop.example:8080", "shops"),
        ("a.b.c.shop.example", "shops"),
        ("WWW.Shop.EXAMPLE:443", "shops"),
        ("news.shop.example", "news"),
        ("a.news.shop.example", "news"),
        ("bookshop.example", "wide"),
        ("example", None),
        ("shop.example.org", None),
        ("10.1.2.3:80", "news"),
        ("9.10.1.2.3", None),
        ("[2001:db8::1]:443", None),
        ("[2001:db8::1]", None),
        ("2001:db8::1", None),
        ("", None),
        (":443", None),
        (".", None),
        ("..shop.example", "shops"),
        ("*.shop.example", "shops"),
        ("shop.example:443:443", None),
        ("%a+.%d", None),
        ("user:secret@shop.example", "wide"),
        (f"{'a.' * 120}shop.example", "shops"),
        (f"{'a.' * 4_000_000}shop.example", None),
    ],
)
def test_the_target_is_the_longest_host_that_fits(authority, target):
    """In any case, with or without port; no text is a pattern, and none takes long."""
    script = script_of(vendor("10.1.0.0/16"), targets=TARGETS)
    assert script.request("10.1.0.1:3128", authority=authority).get("proxy_target") == target


hosts = strategies.lists(strategies.sampled_from("ab"), min_size=1, max_size=4).map(".".join)
patterns = strategies.tuples(strategies.sampled_from(["", "*."]), hosts).map("".join)


@settings(max_examples=150, deadline=None)
@given(
    listed=strategies.lists(patterns, min_size=1, max_size=8, unique=True),
    asked=strategies.lists(hosts, min_size=1, max_size=10),
)
def test_targets_as_brute_force_finds_them(listed, asked):
    """Of all hosts that fit, the longest; a host itself before what stands for those below."""
    targets = tuple(Target(name=f"t{i}", hosts=(host,)) for i, host in enumerate(listed))
    script = script_of(vendor("10.1.0.0/16"), targets=targets)
    for host in asked:
        fitting = [
            target
            for target in targets
            for listed_host in target.hosts
            if host == listed_host or (listed_host[:1] == "*" and host.endswith(listed_host[1:]))
        ]
        best = max(fitting, key=lambda one: len(one.hosts[0].lstrip("*.").split(".")), default=None)
        seen = script.request("10.1.0.1:3128", authority=f"{host}:443")
        assert seen.get("proxy_target") == (best.name if best else None)


def kib(script: Script) -> float:
    script.lua.execute("collectgarbage()")
    return script.lua.eval("collectgarbage('count')")


def test_addresses_and_sites_do_not_grow_the_memory_without_bound():
    """Crawlers choose both, long ones too; what the script remembers of them is bounded."""
    script = script_of(pooled("10.0.0.0/8"), targets=TARGETS)
    before = kib(script)
    for number in range(20_000):
        authority = f"{number}.{'x' * 200}.example:443"
        script.request(f"{ip_address(0x0A000000 + number)}:3128", authority=authority)
    assert kib(script) - before < 6_000
    assert script.request("10.0.0.1:3128")["proxy_pool"] == "isp"


def test_the_unfilled_script_does_not_load():
    """Envoy keeps what it has and counts a rejected update, instead of naming nobody."""
    with pytest.raises(LuaError):
        Script(SCRIPT.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("10.1.0.0/16 vendor-a isp", "10.1.0.300/16 vendor-a isp"),
        ("10.1.0.0/16 vendor-a isp", "not-an-address/16 vendor-a isp"),
        ("10.1.0.0/16 vendor-a isp", "10.1.0.0 vendor-a isp"),
        ("10.1.0.0/16 vendor-a isp", "10.1.0.0/16"),
        ("10.1.0.0/16 vendor-a isp\n", ""),
    ],
)
def test_a_broken_table_does_not_load(old, new):
    """Nothing is half read: a lost line would be a vendor without pool and verdicts."""
    source = attribution_script(everything(pooled("10.1.0.0/16")))
    assert source.count(old) == 1
    with pytest.raises(LuaError):
        Script(source.replace(old, new))


def test_ten_thousand_ranges_are_small_once_loaded():
    """A sidecar keeps a copy for its main thread and each worker, of each chain."""
    script = script_of(vendor(*((f"10.{n // 200}.{n % 200}.1/32", "isp") for n in range(10_000))))
    assert kib(script) < 700
    assert script.request("10.49.199.1:3128")["proxy_pool"] == "isp"


@given(strategies.text(alphabet=strategies.characters(min_codepoint=32, max_codepoint=126)))
def test_no_text_of_a_stack_file_becomes_code(text):
    """A quoted string is that string in Lua, whatever is in it."""
    assert LuaRuntime().eval(quoted(text)) == text


@pytest.mark.parametrize("text", ["line\nbreak", "nul\0", "é", "\x7f", "\t"])
def test_text_outside_printable_ascii_is_refused(text):
    """What cannot be quoted safely is an error, not a guess."""
    with pytest.raises(ValueError, match="printable ASCII"):
        quoted(text)
