"""Detail may be lost; a request, never. Through real Envoy on the rendered chains."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass, replace

import pytest

from components.attribution.answers import ANSWERS, SETUP_HEADER
from lab.loopback import get_text
from tests.attribution.filters import nested
from tests.lab.conftest import Sidecar, running_sidecar, until
from tests.lab.scripted import GOOD, PLAIN, ask, vendor


def lua_of(folder):
    """Return the file and the source of vendor-a's script: its ranges are one chain."""
    (file,) = folder.glob("proxy-vendor_vendor-a*_lua.json")
    code = json.loads(file.read_text())["resources"][0]["typed_config"]["default_source_code"]
    return file, code["inline_string"]


def write_lua(sidecar, source):
    """Replace vendor-a's script, as an ECDS push would."""
    file, _ = lua_of(sidecar.extension_dir)
    response = json.loads(file.read_text())
    response["version_info"] = str(time.time())
    code = response["resources"][0]["typed_config"]["default_source_code"]
    code["inline_string"] = source
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(response))
    temporary.replace(file)


def test_set_up_times_do_not_need_the_script(sidecar):
    """Envoy measures them itself: a script that is missing leaves no gap in a vendor's latency."""
    ports = sidecar.ports
    with vendor("127.1.0.10", ports.vendor_upstream):
        write_lua(sidecar, "-- nothing")
        for _ in range(3):
            assert ask("127.1.0.10", ports.vendor).endswith("ok")
    count = "(?:envoy_lab_)?istio_proxy_setup_milliseconds_count"
    until(lambda: sidecar.counter(count, proxy_vendor="vendor-a") == 3)


def test_a_set_up_time_of_a_thousand_seconds_is_a_whole_number(tmp_path):
    """istio.stats reads integers alone: 1e+06 milliseconds would be recorded as 0."""
    loggers = "type.googleapis.com/envoy.extensions.access_loggers"
    log = tmp_path / "values"

    def write_a_thousand_seconds(rendered):
        text = json.dumps(rendered.bootstrap).replace("%RESPONSE_DURATION%", "1000000")
        rendered = replace(rendered, bootstrap=json.loads(text))
        histograms = [one for found in nested(rendered.bootstrap, "histograms") for one in found]
        (value,) = {histogram["value_format"] for histogram in histograms}
        file_log = {
            "@type": f"{loggers}.file.v3.FileAccessLog",
            "path": str(log),
            "log_format": {"text_format_source": {"inline_string": f"{value}\n"}},
        }
        for manager in nested(rendered.bootstrap, "typed_config"):
            if "http_filters" in manager:
                manager["access_log"].append(
                    {"name": "envoy.access_loggers.file", "typed_config": file_log}
                )
        return rendered

    with (
        running_sidecar(tmp_path, write_a_thousand_seconds) as sidecar,
        vendor("127.1.0.10", sidecar.ports.vendor_upstream),
    ):
        assert ask("127.1.0.10", sidecar.ports.vendor).endswith("ok")
        until(lambda: log.exists() and log.read_text())
    assert log.read_text() == "1000000\n"


def with_counters_of_updates(rendered):
    """Have Envoy export its ECDS counters; in a mesh istiod exports pilot_total_xds_rejects."""
    matcher = rendered.bootstrap["stats_config"]["stats_matcher"]["inclusion_list"]
    matcher["patterns"].append({"prefix": "extension_config_discovery."})
    return rendered


@dataclass(frozen=True)
class Pushed(Sidecar):
    """A sidecar that gets one script after another; the first is as rendered."""

    rendered_script: str


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    with running_sidecar(tmp_path_factory.mktemp("pushed"), with_counters_of_updates) as own:
        yield Pushed(own.ports, own.extension_dir, lua_of(own.extension_dir)[1])


def updates(sidecar, extension="vendor-a"):
    """Return how many of an extension's configurations Envoy took, and how many it refused."""
    admin = f"http://127.0.0.1:{sidecar.ports.envoy_admin}"
    text = get_text(f"{admin}/stats?filter=config_discovery.*{extension}.*update_")
    return tuple(
        int(re.search(rf"\.update_{what}: (\d+)", text)[1]) for what in ("success", "rejected")
    )


def push(sidecar, source):
    """Replace vendor-a's script; return whether Envoy took it."""
    before = updates(sidecar)
    write_lua(sidecar, source)
    until(lambda: updates(sidecar) != before)
    return updates(sidecar)[0] > before[0]


def tunnel(address, port):
    """Open a tunnel, send a word through it; return what comes back."""
    with socket.create_connection((address, port), timeout=10) as connection:
        connection.sendall(b"CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        connection.sendall(b"word\r\n\r\n")
        return connection.recv(65536)


REQUEST_RAISES = 'function envoy_on_request(handle) error("broken") end\n'
RESPONSE_RAISES = "function envoy_on_response(handle) error({}) end\n"
NO_SUCH_METHOD = "function envoy_on_request(handle) handle:streamInfo():vendor():name() end\n"


@pytest.mark.parametrize(
    "script", [REQUEST_RAISES, RESPONSE_RAISES, REQUEST_RAISES + RESPONSE_RAISES, NO_SUCH_METHOD]
)
def test_wherever_the_script_raises_requests_and_tunnels_pass(pushed, script):
    """Both hooks, both visibilities: served, named, and told by a counter."""
    ports = pushed.ports
    assert push(pushed, script)
    errors, before = pushed.counter("envoy_http_lua_errors"), pushed.requests()
    with vendor("127.1.0.10", ports.vendor_upstream):
        assert ask("127.1.0.10", ports.vendor).endswith("ok")
    # Without a length: the scripted vendor would otherwise end the tunnel's first bytes.
    with vendor(
        "127.1.0.10", ports.vendor_upstream, "HTTP/1.1 200 OK\r\nX: Content-Length\r\n\r\n"
    ):
        assert tunnel("127.1.0.10", ports.vendor).startswith(b"HTTP/1.1 200 OK")
        until(lambda: sum(pushed.requests().values()) == sum(before.values()) + 2)
    assert pushed.requests() - before == {
        ("vendor-a", "http", "success", "200"): 1,
        ("vendor-a", "tunnel", "success", "200"): 1,
    }
    assert pushed.counter("envoy_http_lua_errors") >= errors + 2


def with_catalogue(source, table):
    """Return the rendered script with another table in its slot."""
    text, count = re.subn(
        r"^local CATALOGUE = \{$.*?^\}$",
        lambda _: f"local CATALOGUE = {table}",
        source,
        flags=re.MULTILINE | re.DOTALL,
    )
    assert count == 1
    return text


def own_range_and(more):
    """Return a table that knows vendor-a's range, as the renderer writes it, and `more`."""
    return '{ ranges = "127.1.0.0/16 vendor-a -\\n", products = {}, ' + more + " }"


TOLD_BROKEN = {
    "a text": '"text"',
    "nothing": "nil",
    "an empty table": "{}",
    "a number": "7",
    "a boolean": "true",
    "a function": "print",
    "no Lua": "{ ranges = ",
    "an unfinished text": "{ ranges = [[\n}",
    "no ranges": own_range_and("").replace("127.1.0.0/16 vendor-a -\\n", ""),
    "ranges of a number": "{ ranges = 7 }",
    "ranges in a table": "{ ranges = {} }",
    "rows of every type": '{ ranges = { 7, "x", {}, true } }',
    "garbage for ranges": '{ ranges = "a b c\\n/ / /\\n1/2/3 4\\n\\0\\255\\n" }',
    "a range that cannot be read": '{ ranges = "127.1.0.0/16 vendor-a -\\nx/8 vendor-a -\\n" }',
    "a prefix too long": '{ ranges = "127.1.0.0/99 vendor-a -\\n" }',
    "an octet too large": '{ ranges = "999.1.0.0/16 vendor-a -\\n" }',
    "no verdicts and no targets": own_range_and(""),
    "targets of a text": own_range_and('verdicts = {}, targets = "x"'),
    "a target that is a function": own_range_and(
        'verdicts = {}, targets = { ["shop.test"] = print }'
    ),
    "verdicts of a text": own_range_and('targets = {}, verdicts = "x"'),
    "verdicts of a number": own_range_and("targets = {}, verdicts = 7"),
    "products of a number": own_range_and("").replace("products = {}", "products = 7"),
    "a product of a number": own_range_and("").replace("products = {}", "products = { x = { 7 } }"),
    "a vendor's verdicts a number": own_range_and('targets = {}, verdicts = { ["vendor-a"] = 7 }'),
    "rules of a number": own_range_and(
        'targets = {}, verdicts = { ["vendor-a"] = { ["200"] = 7 } }'
    ),
    "a rule of a number": own_range_and(
        'targets = {}, verdicts = { ["vendor-a"] = { ["200"] = { 7 } } }'
    ),
}
"""What raises, as it is loaded or as it is used: a counter moves."""

HELD_BROKEN = {
    "ranges of others": own_range_and("verdicts = {}, targets = {}").replace("127.1", "10.1"),
    "a rule without outcome": own_range_and(
        'targets = {}, verdicts = { ["vendor-a"] = { ["200"] = { {} } } }'
    ),
}
"""What only means that no range or rule fits: told by the labels that are empty."""


@pytest.mark.parametrize("table", [*TOLD_BROKEN, *HELD_BROKEN])
def test_a_broken_table_costs_detail_only(pushed, table):
    """Whatever stands in the table's place: the request passes, the constant names the vendor."""
    ports = pushed.ports
    script = with_catalogue(pushed.rendered_script, (TOLD_BROKEN | HELD_BROKEN)[table])
    errors, before = pushed.counter("envoy_http_lua_errors"), pushed.requests()
    taken = push(pushed, script)
    with vendor("127.1.0.10", ports.vendor_upstream) as scripted:
        assert ask("127.1.0.10", ports.vendor, PLAIN).endswith("ok")
        assert scripted.seen == [PLAIN.encode()]
    assert pushed.requests() - before == {("vendor-a", "http", "success", "200"): 1}
    if table in TOLD_BROKEN:
        assert not taken or pushed.counter("envoy_http_lua_errors") > errors


def test_a_sidecar_that_starts_with_broken_scripts_serves_without_them(tmp_path):
    """A new pod gets its listener, its vendor's name and its counts; refused scripts are told."""

    def with_broken_scripts(rendered):
        for name, response in rendered.extensions.items():
            if "vendor-a" in name:
                code = response["resources"][0]["typed_config"]["default_source_code"]
                code["inline_string"] = with_catalogue(code["inline_string"], "7")
        return with_counters_of_updates(rendered)

    with running_sidecar(tmp_path, with_broken_scripts) as sidecar:
        ports = sidecar.ports
        with vendor("127.1.0.10", ports.vendor_upstream):
            assert ask("127.1.0.10", ports.vendor, PLAIN).endswith("ok")
        assert sidecar.requests() == {("vendor-a", "http", "success", "200"): 1}
        assert updates(sidecar) == (0, 1)
        assert sidecar.counter("envoy_http_lua_errors") == 0


def test_no_crawler_sees_what_envoy_notes(tmp_path):
    """Until istiod's configuration is there, set-up times are noted, and not in the answer."""

    def with_refused_rules(rendered):
        (resource,) = rendered.extensions[f"{ANSWERS}.json"]["resources"]
        resource["typed_config"]["response_rules"][0]["header"] = ""
        return with_counters_of_updates(rendered)

    with running_sidecar(tmp_path, with_refused_rules) as sidecar:
        ports = sidecar.ports
        with vendor("127.1.0.10", ports.vendor_upstream):
            answer = ask("127.1.0.10", ports.vendor)
        assert answer.endswith("ok")
        assert SETUP_HEADER not in answer.lower()
        count = "envoy_lab_istio_proxy_setup_milliseconds_count"
        until(lambda: sidecar.counter(count, proxy_vendor="vendor-a") == 1)
        assert updates(sidecar, ANSWERS) == (0, 1)


def test_an_address_outside_every_range_passes_through(sidecar):
    """Istio's own catch-all carries it: same bytes, counted in no vendor."""
    ports = sidecar.ports
    with vendor("127.9.0.10", ports.outside_upstream) as scripted:
        request = "GET http://shop.test/ HTTP/1.1\r\nhOST: shop.test\r\n\r\n"
        assert ask("127.9.0.10", ports.vendor, request) == GOOD
        assert scripted.seen == [request.encode()]
    assert sidecar.requests() == {}
    assert 'upstream_cx_total{cluster_name="PassthroughCluster"} 1' in sidecar.stats()
