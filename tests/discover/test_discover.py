"""What is read of sidecars, and the stack file that is made of it."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from deployment import stack_plan
from discover.__main__ import HOST
from discover.kubectl import Kubectl, KubectlError, Pod, spread
from discover.names import Presets, names_of, read_presets
from discover.reading import Destination, NotAPageError, Tally
from discover.report import Row, recognise, rows_of, table
from discover.suggestion import left_out, stack_text
from settings.loading import load_stack_file
from settings.presets import preset_names
from tests.programs import stand_in

PRESETS = Presets(
    hosts={"gw.big.example": "big", "*.big.example": "big", "gw.small.example": "small"},
    listed={"big": frozenset({("gw.big.example", 7777)}), "small": frozenset()},
    ports={"big": frozenset({7777, 3128}), "small": frozenset({5959, 3128})},
)


def page(**hosts: tuple[int, int]) -> str:
    """Return Envoy's page for {"10_0_0_1:80": (total, active)}."""
    return json.dumps(
        {
            "cluster_statuses": [
                {"name": "outbound|80||shop.local", "host_statuses": [host("10.9.9.9:80", 9, 9)]},
                {
                    "name": "PassthroughCluster",
                    "host_statuses": [host(name, *numbers) for name, numbers in hosts.items()],
                },
                {"name": "proxy-vendor_a", "host_statuses": [host("10.1.0.1:3128", 2, 1)]},
                {"name": "xds-grpc", "host_statuses": [{"address": {"pipe": {"path": "x"}}}]},
            ]
        }
    )


def host(name: str, total: int, active: int) -> dict[str, object]:
    address, port = name.replace("_", ".").split(":")
    counts = {"cx_total": total, "cx_active": active}
    return {
        "address": {"socket_address": {"address": address, "port_value": int(port)}},
        # As protobuf writes them: a number as text, a zero not at all.
        "stats": [{"name": key, **({"value": str(n)} if n else {})} for key, n in counts.items()],
    }


def to(text: str) -> Destination:
    address, port = text.rsplit(":", 1)
    return Destination(ip_address(address), int(port))


def test_samples_add_up_though_idle_hosts_vanish():
    """Envoy forgets an idle host; when it comes back its count begins anew."""
    tally = Tally()
    for sample in ({"10_0_0_1:80": (3, 0)}, {"10_0_0_1:80": (5, 1)}, {}, {"10_0_0_1:80": (2, 2)}):
        tally.add_sample(page(**sample))
    seen = tally.seen[to("10.0.0.1:80")]
    assert (seen.connections, seen.active) == (7, 2)
    vendor = tally.seen[to("10.1.0.1:3128")]
    assert (vendor.connections, vendor.known) == (2, "a")
    assert to("10.9.9.9:80") not in tally.seen


@pytest.mark.parametrize("text", ["", "{}", "[]", "<html>", '{"cluster_statuses": [{"name": 1}]}'])
def test_another_page_is_refused(text):
    """As of a proxy between kubectl and the pod."""
    with pytest.raises(NotAPageError):
        Tally().add_sample(text)


def test_only_our_lines_of_the_log_count():
    """Others' lines, also JSON, and the half line where the log was cut, are left alone."""
    ours = {"log": "outside", "destination": "[2001:db8::1]:443", "sni": "site.example"}
    tally = Tally()
    tally.add_log(
        [
            json.dumps({**ours, "bytes_received": 10, "bytes_sent": 2000}),
            json.dumps({**ours, "bytes_received": None, "sni": None}),
            json.dumps({"destination": "10.0.0.1:80", "bytes_sent": 5}),
            json.dumps({**ours, "destination": "user:hunter2@10.0.0.1:80"}),
            json.dumps(ours)[:30],
            "2026-11-29 info xdsproxy connected",
        ]
    )
    (seen,) = tally.seen.values()
    assert tally.seen[to("2001:db8::1:443")] is seen
    assert (seen.logged, seen.sent, seen.received) == (2, 10, 2000)
    assert seen.server_names == {"site.example"}


def test_pods_are_of_every_workload():
    """A large workload does not hide a small one."""
    pods = [Pod("shops", "large", f"large-{n}") for n in range(30)] + [Pod("shops", "small", "s")]
    assert {pod.workload for pod in spread(pods, 2)} == {"large", "small"}
    assert len(spread(pods, 10)) == 10


def test_a_name_that_does_not_resolve_is_left_out():
    """DNS is asked for each name once, and the first name of an address wins."""
    answers = {"a.example": ["10.0.0.1", "fe80::1%eth0"], "b.example": ["10.0.0.1", "10.0.0.2"]}

    def resolve(name):
        if name not in answers:
            raise OSError("no such name")
        return answers[name]

    found = names_of(["a.example", "gone.example", "b.example"], resolve)
    assert {str(address): name for address, name in found.items()} == {
        "10.0.0.1": "a.example",
        "fe80::1": "a.example",
        "10.0.0.2": "b.example",
    }


def seen(*destinations: str) -> list[Row]:
    tally = Tally()
    for number, one in enumerate(destinations):
        tally.seen[to(one)].connections = 100 - number
    return rows_of([("scraper", tally)])


def suggested(rows, **more):
    return stack_text(
        rows, PRESETS, **{"cluster": "new", "namespaces": ["shops"], "selector": {}, **more}
    )


def test_the_stack_file_is_valid_and_renders(tmp_path):
    """Names from NAMES=, proxies by address and port, one vendor for the same ports."""
    rows = seen(
        *("10.0.0.1:7000", "10.0.0.1:9000", "10.0.0.2:3128", "10.0.0.3:3128", "2001:db8::1:8080"),
        *("10.0.0.4:443", "10.0.0.5:5432"),
    )
    names = {ip_address("10.0.0.1"): "gw.rare.example"}
    recognise(rows, names, PRESETS, None)
    text = suggested(rows, selector={"app": "scraper"})
    (tmp_path / "Pulumi.new.yaml").write_text(text)
    settings = load_stack_file(tmp_path / "Pulumi.new.yaml")
    by_name = {vendor.name: vendor for vendor in settings.vendors}
    assert [host.name for host in by_name["rare"].hosts] == ["gw.rare.example"]
    assert [ports.first for ports in by_name["rare"].hosts[0].ports] == [7000, 9000]
    assert [str(one.network) for one in by_name["vendor-1"].cidrs] == ["10.0.0.2/32", "10.0.0.3/32"]
    assert [str(one.network) for one in by_name["vendor-2"].cidrs] == ["2001:db8::1/128"]
    assert (settings.crawlers.namespaces, dict(settings.crawlers.selector)) == (
        ("shops",),
        {"app": "scraper"},
    )
    assert stack_plan(settings).crawlers is not None
    assert "10.0.0.4" not in text
    assert left_out(rows).startswith("not in it: 2 destinations on ports 443, 5432 ")


def test_a_preset_is_suggested_by_name_and_perhaps_by_port():
    """A name beside the preset's own is written out; a port that two presets have says nothing."""
    rows = seen("10.0.0.1:7777", "10.0.0.2:5959", "10.0.0.3:3128")
    recognise(rows, {ip_address("10.0.0.1"): "gw.big.example"}, PRESETS, None)
    text = suggested(rows)
    assert "- {name: big, preset: big}\n" in text
    assert "- {name: small, preset: small}  # perhaps: only this preset has port 5959\n" in text
    assert "- {name: vendor-1, cidrs: [10.0.0.3], httpPorts: [3128]}" in text
    recognise(rows, {ip_address("10.0.0.1"): "us.big.example"}, PRESETS, None)
    (line,) = (line for line in suggested(rows).splitlines() if "name: big," in line)
    assert line.endswith(
        "{name: big, preset: big, hosts: [{name: gw.big.example, ports: [7777]}, "
        "{name: us.big.example, ports: [7777]}]}"
    )


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_makes_a_stack_file(tmp_path, name):
    """By a name of it with its own ports and by another, and by a port where one has no other."""
    presets = read_presets()
    own = [(host, port) for host, port in sorted(presets.listed[name])]
    others = [(host, 41000) for host, holder in presets.hosts.items() if holder == name][:3]
    for pairs in (own, [*own, *((host, p) for host, p in others if "*" not in host)]):
        hosts = [*dict.fromkeys(host for host, _ in pairs)]
        rows = seen(*(f"10.0.0.{hosts.index(host)}:{port}" for host, port in pairs))
        names = {ip_address(f"10.0.0.{hosts.index(host)}"): host for host in hosts}
        recognise(rows, names, presets, None)
        text = stack_text(rows, presets, cluster="new", namespaces=["shops"], selector={})
        (tmp_path / "Pulumi.new.yaml").write_text(text)
        settings = load_stack_file(tmp_path / "Pulumi.new.yaml")
        assert [vendor.preset for vendor in settings.vendors] == [name]
        assert stack_plan(settings).crawlers is not None
        if pairs is own:
            assert f"    - {{name: {name}, preset: {name}}}\n" in text


def test_a_port_of_one_preset_suggests_it():
    """Those on which anything may listen suggest none."""
    by_port = read_presets().by_port
    assert (by_port[33335], by_port[7777], by_port[5959]) == ("bright-data", "oxylabs", "netnut")
    assert not by_port.keys() & {80, 443, 3128, 8080, 5000}


def test_many_ports_and_addresses_stay_a_stack_file(tmp_path):
    """A name with sticky ports, and more addresses of one kind than belong into a stack file."""
    sticky = [f"10.0.0.1:{port}" for port in range(20000, 20030)]
    many = [f"10.0.{n // 200 + 1}.{n % 200 + 1}:{3128}" for n in range(300)]
    rows = seen(*sticky, *many)
    recognise(rows, {ip_address("10.0.0.1"): "gw.rare.example"}, PRESETS, None)
    (tmp_path / "Pulumi.new.yaml").write_text(suggested(rows, namespaces=["default"]))
    settings = load_stack_file(tmp_path / "Pulumi.new.yaml")
    assert [str(ports) for ports in settings.vendors[0].hosts[0].ports] == ["20000", "20001-20029"]
    assert len(settings.vendors[1].cidrs) == 50
    assert settings.crawlers.namespaces == ("crawlers",)


def test_what_the_stack_has_is_named_and_not_suggested(tmp_path):
    """A vendor's range, and a destination's."""
    (tmp_path / "Pulumi.x.yaml").write_text(
        "config:\n  proxy-observability:cluster: x\n  proxy-observability:vendors:\n"
        "    - {name: mine, cidrs: [10.0.0.0/24]}\n  proxy-observability:destinations:\n"
        "    - {name: store, cidrs: [10.2.0.0/24]}\n"
    )
    rows = seen("10.0.0.1:3128", "10.2.0.1:9000")
    recognise(rows, {}, PRESETS, load_stack_file(tmp_path / "Pulumi.x.yaml"))
    assert [row.known for row in rows] == ["mine", "store"]
    assert suggested(rows) is None
    assert "10.0.0.1:3128" in table(rows, has_bytes=False)


def test_a_login_that_kubectl_quotes_is_left_out(tmp_path, monkeypatch):
    """As of an HTTPS_PROXY that it cannot read; the name of a context stays."""
    said = 'error: context "me@new": parse "http://user:hunt%er2@gw.example:1"'
    stand_in(tmp_path / "kubectl", f"echo '{said}' >&2\nexit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(KubectlError) as caught:
        Kubectl().pods("shops", {})
    assert 'context "me@new": parse "http://…@gw.example:1"' in str(caught.value)


def test_an_address_is_no_name():
    """As a name it would be suggested under hosts, where it is refused."""
    assert HOST.fullmatch("gw.vendor.example")
    assert not HOST.fullmatch("203.0.113.5")
