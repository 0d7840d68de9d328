"""What would fail in the cluster is refused while it is still text, in a sentence."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from components.attribution import guard
from components.attribution.discovery import LUA_TYPE, STATS_TYPE
from components.attribution.guard import envoy_here, refuse_undeployable
from components.attribution.render import envoy_filters
from components.attribution.standalone import validation_bootstrap
from settings.loading import SettingsError
from settings.values.addresses import parse_network
from settings.vendors import AddressRange, Target, Vendor
from tests.attribution.filters import values
from tests.programs import stand_in
from tools.find import NotFoundError, find

Filters = dict[str, Any]

A = Vendor(name="vendor-a", cidrs=("10.1.0.0/16",))
F = Vendor(name="vendor-f", cidrs=("10.6.0.0/24", "2001:db8::/32"), ports=(3128,))
G = Vendor(
    name="vendor-g", cidrs=("10.6.0.0/24",), ports=("4000-4999", 5000), http_ports=("4000-4999",)
)
OPAQUE = Vendor(name="vendor-o", cidrs=("10.9.0.0/16",), inspect="connections")
POOLED = Vendor(
    name="vendor-p",
    cidrs=("10.8.0.0/16", {"range": "10.8.8.0/24", "pool": "residential"}),
    outcomes=({"status": 407, "header": "X-Error", "outcome": "blocked"},),
    products=({"user": "*-mob*", "name": "mobile"}, {"user": "acme", "name": "sub-user"}),
)
SHOPS = Target(name="shops", hosts=("shop.example", "*.shop.example"))
PASSIVE = POOLED.model_copy(
    update={
        "name": "vendor-w",
        "cidrs": tuple(map(AddressRange.parse, ("10.10.0.0/16", "2001:db8:a::/48"))),
        "inspect": "passive",
    }
)
PASSIVE_BY_PORT = Vendor(name="vendor-x", cidrs=("10.11.0.0/24",), ports=(1,), inspect="passive")
STACKS = [
    *((A,), (OPAQUE,), (F,), (F, G), (PASSIVE,), (PASSIVE_BY_PORT,)),
    (A, F, G, OPAQUE, POOLED, PASSIVE, PASSIVE_BY_PORT),
]


def render(*vendors: Vendor) -> Filters:
    return envoy_filters(vendors, targets=(SHOPS,), timeout_after_seconds=10, selector={})


def findings(vendors: tuple[Vendor, ...], filters: Filters, envoy: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        refuse_undeployable(vendors, filters, envoy)
    assert all(finding.isprintable() for finding in refused.value.findings)
    return list(refused.value.findings)


@pytest.fixture(scope="module")
def envoy() -> Path:
    return find("envoy")


@pytest.mark.parametrize("vendors", STACKS)
def test_what_is_rendered_passes(vendors, envoy):
    """Each kind of chain, through everything the guard asks, Envoy's own validation included."""
    assert envoy == envoy_here()  # the program asks the same Envoy
    refuse_undeployable(vendors, render(*vendors), envoy)


def test_what_envoy_validates_is_what_is_rendered():
    """A chain, cluster or script that the validation leaves out would be refused by sidecars."""
    vendors = STACKS[-1]
    filters = render(*vendors)
    resources = validation_bootstrap(filters, {})["static_resources"]
    (listener,) = resources["listeners"]
    assert [chain["name"] for chain in listener["filter_chains"]] == [
        "virtualOutbound-catchall-tcp",
        *(
            patch["patch"]["value"]["name"]
            for name in sorted(filters)
            for patch in filters[name]["configPatches"]
            if patch["applyTo"] == "FILTER_CHAIN"
        ),
    ]
    rendered = {chain["name"]: chain for chain in values(filters, "FILTER_CHAIN")}
    for chain in listener["filter_chains"][1:]:
        own = rendered[chain["name"]]
        assert chain["filter_chain_match"] == own["filter_chain_match"]
        assert chain["filters"][0] == own["filters"][0]
    own_clusters = [cluster["name"] for cluster in values(filters, "CLUSTER")]
    assert sorted(cluster["name"] for cluster in resources["clusters"]) == sorted(
        ["PassthroughCluster", "BlackHoleCluster", *own_clusters]
    )
    text = json.dumps(listener)
    for extension in values(filters, "EXTENSION_CONFIG"):
        if extension["typed_config"]["@type"] != STATS_TYPE:
            assert json.dumps(extension["typed_config"]) in text
    assert "config_discovery" not in text
    assert STATS_TYPE not in text


def test_an_object_larger_than_the_cluster_stores():
    """etcd refuses it at `up`, half way through; this says so at preview."""
    filters = render(A)
    filters["proxy-vendor-vendor-a"]["configPatches"][0]["patch"]["value"]["x"] = "x" * 1_200_000
    assert findings((A,), filters) == [
        "vendors: EnvoyFilter proxy-vendor-vendor-a is 1.2 MB, and the cluster stores 1 MB; join "
        "neighbouring ranges, split the vendor in two, or name fewer hosts in targets"
    ]


def test_more_ipv6_ranges_than_envoy_looks_up():
    """Envoy's trie is full at some point between 4,600 and 5,000: new pods would not start."""

    def stack(count: int, *, ports: tuple[int, ...] = ()) -> Vendor:
        first = int(ip_address("2001:db8::"))
        return Vendor(
            name=f"vendor-{'.'.join(map(str, ports)) or 'a'}",
            cidrs=tuple(
                AddressRange(parse_network(str(ip_address(first + (n << 64)))))
                for n in range(count)
            ),
            ports=ports,
            inspect="connections",
        )

    def refused(*vendors: Vendor) -> list[str]:
        return list(guard._too_large((), render(*vendors)))

    assert refused(stack(4001)) == [
        "vendors: 4001 IPv6 ranges together, and Envoy's look-up holds 4000; "
        "join neighbouring ranges"
    ]
    assert refused(stack(4000)) == []
    # Vendors that share ranges by port share the look-up too.
    assert refused(stack(4000, ports=(1,)), stack(4000, ports=(2,))) == []


def sharing(count: int, prefix: str = "v") -> tuple[Vendor, ...]:
    return tuple(
        Vendor(
            name=f"{prefix}{number}",
            cidrs=("10.1.0.0/16",),
            ports=tuple(range(1000 + 40 * number, 1040 + 40 * number, 2)),
            http_ports=(1000 + 40 * number,),
        )
        for number in range(count)
    )


def test_more_vendors_at_an_address_than_envoy_tells_apart(envoy, monkeypatch):
    """Their one expression would be too deep for Envoy: the most that pass, and one more."""
    most = sharing(guard.MAX_SHARING)
    refuse_undeployable(most, render(*most), envoy)
    more = sharing(guard.MAX_SHARING + 1)
    assert findings(more, render(*more)) == [
        "vendors: 17 share 10.1.0.0/16 by port, and Envoy tells 16 apart; "
        "give some of them addresses of their own"
    ]
    monkeypatch.setattr(guard, "MAX_SHARING", 99)
    (finding,) = findings(more, render(*more), envoy)
    assert "Expression recursion limit exceeded" in finding


def test_a_name_longer_than_kubernetes_takes():
    """A shared filter is named after all of its vendors."""
    long = sharing(5, prefix="a-vendor-of-a-name-as-long-as-a-dns-label-may-be-or-nearly-so-")
    assert findings(long, render(*long)) == [
        "vendors: EnvoyFilter proxy-shared-a-vendor-of-a-name-as-long-… is named after all vendors "
        "that share addresses, in 332 characters, and Kubernetes takes 253; "
        "give them shorter names"
    ]


@pytest.mark.parametrize(
    ("removed", "chains"),
    [
        ("proxy-vendor_vendor-a", ["vendor-a_3_http", "vendor-a_3_opaque"]),
        ("proxy-vendor_vendor-o", ["vendor-o_0_opaque"]),
        ("proxy-unowned_vendor-f.vendor-g", ["vendor-f.vendor-g_2_http"]),
        # Its name stands within an expression in the opaque chain.
        ("proxy-vendor_vendor-g", ["vendor-f.vendor-g_2_http", "vendor-f.vendor-g_2_opaque"]),
    ],
)
def test_a_chain_without_its_cluster(removed, chains):
    """Requests that used to pass would get 503."""
    vendors = (A, F, G, OPAQUE)
    filters = render(*vendors)
    for spec in filters.values():
        spec["configPatches"] = [
            patch
            for patch in spec["configPatches"]
            if patch["patch"]["value"].get("name") != removed
        ]
    found = findings(vendors, filters)
    assert [
        re.findall(r"EnvoyFilter proxy-\S+: chain proxy-vendor_(\S+) leads", f) for f in found
    ] == [[chain] for chain in chains]
    end = f" leads to cluster {removed}, which none adds: its requests would get 503; "
    assert all(end + "this is a defect of the program, report it" in finding for finding in found)


def with_script(edit: Callable[[str], str]) -> list[str]:
    """What is told of a stack whose script was edited."""
    filters = render(POOLED)
    _edit_scripts(filters, edit)
    return findings((POOLED,), filters)


def _edit_scripts(filters: Filters, edit: Callable[[str], str]) -> None:
    for extension in values(filters, "EXTENSION_CONFIG"):
        if extension["typed_config"]["@type"] == LUA_TYPE:
            source = extension["typed_config"]["default_source_code"]
            source["inline_string"] = edit(source["inline_string"])


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (
            lambda text: f"{text}\nlocal x = = 1\n",
            "does not load: .*: unexpected symbol near '='",
        ),
        (lambda text: f"{text}\nerror('at load')\n", "does not load: .*: at load"),
        (
            lambda text: text.replace("or claim.pool)", "or nil)"),
            r"says \('', ''\) for 10\.8\.8\.0:3128; "
            r"the catalogue says \('residential', ''\), of vendor-p",
        ),
        (
            lambda text: text.replace("local stream = handle:streamInfo()", "error('asked')"),
            r"raises for 10\.8\.0\.0:3128: .*: asked",
        ),
        (
            lambda text: text.replace("residential", "isp"),
            r"says \('isp', ''\) for 10\.8\.8\.0:3128; "
            r"the catalogue says \('residential', ''\), of vendor-p",
        ),
        (
            lambda text: text.replace('outcome = "blocked"', 'outcome = "vendor_error"'),
            r"says \('', 'vendor_error'\) for 10\.8\.0\.0:3128; "
            r"the catalogue says \('', 'blocked'\), of vendor-p",
        ),
        (
            lambda text: text.replace("*-mob*", "*-dc*"),
            r"says '' for 10\.8\.0\.0:3128 and a user like \*-mob\*; "
            r"the stack says 'mobile', of vendor-p",
        ),
        (
            lambda text: text.replace("local count = at and", "local count = at + nil"),
            r"raises for 10\.8\.0\.0:3128 and a user like \*-mob\*: .*: attempt to perform arith.*",
        ),
        (
            lambda _: "function envoy_on_request() end function envoy_on_response() end",
            r"says \('', ''\) for 10\.8\.0\.0:3128; "
            r"the catalogue says \('', 'blocked'\), of vendor-p",
        ),
    ],
)
def test_a_script_that_fails_or_errs(edit, fault):
    """It costs pools and outcomes in every sidecar, and nobody would be told."""
    (finding,) = with_script(edit)
    name = "proxy-vendor_vendor-p_lua"
    expected = f"lua/attribution.lua: filled for {name} it {fault}; correct the script"
    assert re.fullmatch(expected, finding)


def test_a_port_that_leads_to_another_vendor_in_the_script():
    """The dry run asks by port, where ports decide."""
    ruled = G.model_copy(update={"outcomes": POOLED.outcomes})
    filters = render(F, ruled)
    _edit_scripts(filters, lambda text: text.replace("4000-4999", "4001-4999"))
    assert findings((F, ruled), filters) == [
        "lua/attribution.lua: filled for proxy-vendor_vendor-f.vendor-g_lua it says ('', '') for "
        "10.6.0.0:4000; the catalogue says ('', 'blocked'), of vendor-g; correct the script"
    ]


def add_unknown_field(filters: Filters) -> None:
    values(filters, "CLUSTER")[0]["no_such_field"] = 1


def name_two_chains_alike(filters: Filters) -> None:
    chains = values(filters, "FILTER_CHAIN")
    chains[1]["filter_chain_match"] = copy.deepcopy(chains[0]["filter_chain_match"])


def break_an_expression(filters: Filters) -> None:
    constant = values(filters, "FILTER_CHAIN")[0]["filters"][0]["typed_config"]
    text = constant["on_new_connection"][0]["format_string"]["text_format_source"]
    text["inline_string"] = "%CEL(destination.port >)%"


def offer_a_lone_rule(filters: Filters) -> None:
    inspector = values(filters, "LISTENER_FILTER")[1]
    rules = [{"destination_port_range": {"start": 1, "end": 2}}]
    inspector["filter_disabled"] = {"not_match": {"or_match": {"rules": rules}}}


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (add_unknown_field, "'no_such_field'"),
        (name_two_chains_alike, "has the same matching rules"),
        (break_an_expression, "Syntax error"),
        (offer_a_lone_rule, "at least 2 item(s)"),
    ],
)
def test_what_envoy_refuses(envoy, spoil, complaint):
    """A sidecar that starts with it has no outbound listener, and its pod is never ready."""
    filters = render(A)
    spoil(filters)
    (finding,) = findings((A,), filters, envoy)
    assert finding.startswith("EnvoyFilters: Envoy refuses them (")
    assert finding.endswith("); this is a defect of the program, report it")
    assert complaint in finding
    assert "/tmp" not in finding


def test_an_istio_whose_sidecars_no_filter_matches():
    """Everything would be deployed, and nothing attributed."""
    refuse_undeployable((A,), render(A), None, istio_versions={"istio.version": "1.30.2"})
    with pytest.raises(SettingsError) as refused:
        refuse_undeployable((A,), render(A), None, istio_versions={"istio.version": "1.32.0"})
    assert list(refused.value.findings) == [
        "istio.version: 1.32.0 is not a release that the EnvoyFilters match (1.30 and 1.31): "
        "its sidecars would attribute nothing"
    ]


def test_every_finding_comes_at_once():
    """A stack that is wrong in two ways is corrected once."""
    more = sharing(17)
    filters = render(*more)
    filters.pop("proxy-vendor-v0")
    assert len(findings(more, filters)) == 3


def program(folder: Path, text: str) -> Path:
    return stand_in(folder / "envoy", text)


@pytest.mark.parametrize(
    "text",
    [
        "exit 139",
        "echo cannot open shared object file >&2; exit 127",
        "kill -9 $$",
        "exec sleep 20",
        f"echo '{guard.WITHOUT_WASM}' >&2; echo 'error: Unable to create Wasm plugin' >&2; exit 1",
    ],
)
def test_an_envoy_that_gives_no_verdict_refuses_nothing(tmp_path, monkeypatch, text):
    """A broken binary on the machine that deploys is no defect of the stack."""
    monkeypatch.setattr(guard, "VALIDATION_SECONDS", 0.2)
    refuse_undeployable((A,), render(A), program(tmp_path, text))
    refuse_undeployable((A,), render(A), tmp_path / "removed since it was found")


@pytest.mark.parametrize(
    ("output", "taken"),
    [
        ("envoy  version: abc/1.40.0/Clean/RELEASE/BoringSSL", True),
        ("envoy  version: abc/1.39.3/Clean/RELEASE/BoringSSL", True),
        ("envoy  version: abc/2.0.0/Clean/RELEASE/BoringSSL", False),
        ("envoy  version: abc/1.41.0/Clean/RELEASE/BoringSSL", False),
        ("envoy  version: abc/1.38.9/Clean/RELEASE/BoringSSL", False),
        ("envoy  version: abc/1.9.0/Clean/RELEASE/BoringSSL", False),
        ("envoy, of a sort", False),
        ("", False),
    ],
)
def test_only_an_envoy_of_a_tested_version_is_used(tmp_path, monkeypatch, output, taken):
    """An older one would refuse settings that Istio's sidecars know."""
    path = program(tmp_path, f"echo '{output}'")
    monkeypatch.setattr(guard, "find", lambda name: path)
    assert envoy_here.__wrapped__() == (path if taken else None)


def test_a_machine_without_envoy_deploys_all_the_same(monkeypatch):
    """Everything else is still checked."""

    def missing(name: str) -> Path:
        raise NotFoundError("envoy: not installed")

    monkeypatch.setattr(guard, "find", missing)
    assert envoy_here.__wrapped__() is None
    refuse_undeployable((A,), render(A), None)


def test_a_chain_without_its_pair_is_refused() -> None:
    """What is not HTTP would be reset at its addresses, not passed through by Istio's catch-all."""
    filters = render(A)
    patches = filters["proxy-vendor-vendor-a"]["configPatches"]
    patches[:] = [one for one in patches if "_opaque" not in one["patch"]["value"]["name"]]
    (finding,) = findings((A,), filters)
    assert "has no chain beside it" in finding


def test_a_script_that_none_sends():
    """It is named with its chain, in place of a traceback."""
    filters = render(A)
    patches = filters[f"proxy-vendor-{A.name}"]["configPatches"]
    patches[:] = [patch for patch in patches if patch["applyTo"] != "EXTENSION_CONFIG"]
    (finding,) = findings((A,), filters)
    assert f"asks for proxy-vendor_{A.name}_lua, which none sends" in finding
