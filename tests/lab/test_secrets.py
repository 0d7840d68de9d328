"""Credentials pass through and stay nowhere: no label, log, file, manifest or process list."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import socket
import urllib.parse
from pathlib import Path

import pytest

import lab.system
from lab import plan
from lab.loopback import answers, get_json, get_text
from lab.system import ROOT, STACK_FILE, running
from render.__main__ import main as render
from settings.products import Product
from tests.lab.conftest import free_ports, until
from tests.lab.scripted import vendor

SOCKS = b"\x05\x01\x02"
BY_POOL = 'sum by (proxy_pool) (istio_requests_total{proxy_vendor="vendor-j"})'
COUNT, PER_SECOND = 2000, 700

# Unlike anything in the repository or on the machine: whoever finds one has found a leak. The users
# of products and their sessions begin with the crawler's.
CRAWLERS = "zqcrawler4711:zqcrawlerword4711"
IN_CONFIG = "zqconfigword4711"
IN_TRAFFIC = [
    *("zqurluser4711", "zqurlword4711", "zqtunneluser4711", "zqtunnelword4711", "zqquery4711"),
    *("zqbasic4711:zqbasicword4711", "zqbearer4711", "zqcookie4711", "zqhostname4711"),
    *("zqsocksuser4711", "zqsocksword4711", "zqanswer4711", "zqreason4711", "zqmethod4711"),
]


def encoded(secret):
    """Return the forms in which a secret travels."""
    return {
        secret.encode(),
        base64.b64encode(secret.encode()),
        # A product's user goes on behind it; a group of three bytes is the same whatever follows.
        base64.b64encode(secret.encode()[: len(secret) // 3 * 3]),
        urllib.parse.quote(secret, safe="").encode(),
        secret.encode().hex().encode(),
    }


SECRETS = {
    form
    for secret in (*CRAWLERS.split(":"), CRAWLERS, IN_CONFIG, *IN_TRAFFIC)
    for form in encoded(secret)
}


def leaks(places):
    """Return (place, secret) for every secret that stands in a place."""
    return [
        (place, secret.decode())
        for place, content in places.items()
        for secret in SECRETS
        if secret.lower() in content.lower()
    ]


# By these the users' products are told; a pattern is part of the configuration, and no secret.
SOLD = (
    Product(user="zqcraw*", name="crawling"),
    Product(user="zqbas*", name="plain"),
    Product(user="zqsocksu*", name="in-clear-text"),
)


def selling_and_logging(settings):
    vendors = tuple(one.model_copy(update={"products": SOLD}) for one in settings.vendors)
    telemetry = settings.telemetry.model_copy(update={"access_logs": True})
    return settings.model_copy(update={"vendors": vendors, "telemetry": telemetry})


def requests():
    """Return requests with credentials wherever HTTP and SOCKS5 have a place for them."""
    basic = base64.b64encode(b"zqbasic4711:zqbasicword4711").decode()
    headers = (
        f"Proxy-Authorization: Basic {basic}\r\nAuthorization: Bearer zqbearer4711\r\n"
        "Cookie: session=zqcookie4711\r\nX-Api-Key: zqbearer4711\r\n"
    )
    host = "Host: zqhostname4711.test\r\n"
    url = "http://zqurluser4711:zqurlword4711@zqhostname4711.test/?token=zqquery4711"
    authority = "zqtunneluser4711:zqtunnelword4711@zqhostname4711.test:443"
    user, word = b"zqsocksuser4711", b"zqsocksword4711"
    socks = b"\x01%c%b%c%b" % (len(user), user, len(word), word)
    return [
        f"GET {url} HTTP/1.1\r\n{host}{headers}\r\n".encode(),
        f"GET /?token=zqquery4711 HTTP/1.1\r\n{host}{headers}\r\n".encode(),
        f"GET {url} HTTP/9.9\r\n{host}{headers}\r\n".encode(),
        f"GET {url}\x00 HTTP/1.1\r\n{host}{headers}zqbearer4711\r\n\r\n".encode(),
        f"ZQMETHOD4711 {url} HTTP/1.1\r\n{host}{headers}\r\n".encode(),
        f"CONNECT {authority} HTTP/1.1\r\n{host}{headers}\r\n".encode(),
        f"CONNECT zqhostname4711.test:443 HTTP/1.1\r\n{host}{headers}\r\n".encode(),
        SOCKS + socks,
    ]


ANSWER = (
    "HTTP/1.1 407 zqreason4711\r\nSet-Cookie: zqanswer4711\r\nX-Sim-Error: zqanswer4711 traffic\r\n"
    "Proxy-Authenticate: Basic realm=zqanswer4711\r\nContent-Length: 0\r\n\r\n"
)


@pytest.fixture(scope="module", params=["http", "passive"])
def lab_after_a_run(request, tmp_path_factory):
    """(a lab whose crawler has ended, what its parts showed while it ran, the mode)."""
    folder = tmp_path_factory.mktemp("lab") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.system, "CREDENTIALS", CRAWLERS)
        with running(
            ports=free_ports(),
            folder=folder,
            say=lambda line: None,
            behind_the_generator=selling_and_logging,
            inspect=request.param,
        ) as own:
            own.start_crawler(count=None, requests_per_second=PER_SECOND)
            until(lambda: answers(f"{own.crawler_url}/books"))
            until(lambda: b"success" in crawler_pages(own)["crawler /metrics"])
            while_running = crawler_pages(own) | processes()
            assert plan.CREDENTIALS_VARIABLE.encode() in while_running["environment of the crawler"]
            until(lambda: get_json(f"{own.crawler_url}/books")["requests"] >= COUNT)
            own.family.end("crawler", signal.SIGTERM)
            yield own, while_running, request.param


def crawler_pages(own):
    return {
        f"crawler {path}": get_text(f"{own.crawler_url}{path}").encode()
        for path in ("/metrics", "/books")
    }


def processes():
    """Return the command lines of this process' descendants, and their environments."""
    places = {}
    for pid, command in descendants(os.getpid()):
        places[f"command line {pid}"] = command
        is_crawler = b"simulation.crawler" in command
        place = "environment of the crawler" if is_crawler else f"environment {pid}"
        places[place] = Path(f"/proc/{pid}/environ").read_bytes()
    return places


def descendants(pid):
    children = Path(f"/proc/{pid}/task")
    for listed in children.glob("*/children"):
        for child in listed.read_text().split():
            with contextlib.suppress(OSError):
                yield int(child), Path(f"/proc/{child}/cmdline").read_bytes()
                yield from descendants(int(child))


def sent_with_credentials(own):
    """Send them all through Envoy; return all that a vendor received."""
    address = own.endpoints[0].dead_address
    with vendor(address, own.ports.vendor_upstream, ANSWER) as scripted:
        for request in requests():
            with socket.create_connection((address, own.ports.vendor), timeout=10) as connection:
                connection.sendall(request)
                if request.startswith(SOCKS):
                    connection.settimeout(0.3)  # the vendor speaks HTTP: it has no answer
                with contextlib.suppress(TimeoutError, ConnectionError):
                    connection.recv(65536)
        return b"".join(scripted.seen)


def test_a_running_lab_keeps_no_credential(lab_after_a_run):
    """Nothing that Envoy, Prometheus, crawler or vendors show or write holds one."""
    own, while_running, mode = lab_after_a_run
    # The search would find them: the one place where the crawler's may stand, and a vendor's wire.
    kept = while_running.pop("environment of the crawler")
    assert leaks({"": kept})
    assert b"=zqcrawler4711-zone-resi-session-zqcrawler4711{n}:zqcrawlerword4711" in kept
    own.settle()
    assert {one["metric"].get("proxy_pool", "") for one in own.query(BY_POOL)} == {"", "crawling"}
    received = sent_with_credentials(own)
    assert {b"zqcookie4711", b"zqquery4711", b"zqbearer4711"} <= {
        secret for _, found in leaks({"": received}) for secret in [found.encode()]
    }
    own.settle()
    counted = get_text(f"{own.envoy_url}/stats/prometheus")
    known = {one.name for one in SOLD if mode == "passive" or "socks" not in one.user}
    assert {name for name in known if f'proxy_pool="{name}"' in counted} == known

    pages = {
        own.envoy_url: [
            *("/stats", "/stats/prometheus", "/config_dump", "/clusters", "/listeners"),
            *("/server_info", "/runtime"),
        ],
        own.prometheus_url: [
            *("/api/v1/series?match[]={__name__=~%22.%2B%22}", "/api/v1/label/__name__/values"),
            *("/api/v1/status/config", "/api/v1/targets", "/api/v1/status/flags", "/metrics"),
        ],
        own.vendor_url: ["/metrics", "/books"],
    }
    shown = {f"{url}{path}": get_text(url + path).encode() for url in pages for path in pages[url]}
    files = {str(file): file.read_bytes() for file in own.folder.rglob("*") if file.is_file()}
    assert {"envoy.log", "vendors.log", "crawler.log", "prometheus.log"} <= {
        Path(name).name for name in files
    }
    found = leaks(while_running | processes() | shown | files)
    # An access log names the method, once Envoy has written its buffer.
    method_logged = (str(own.folder / "envoy.log"), "zqmethod4711")
    found = [leak for leak in found if leak != method_logged]
    assert not found, found[:10]


def test_no_manifest_of_any_stack_holds_a_credential(tmp_path, monkeypatch, capfd):
    """Of the environment, or of a secret that the stack holds for Pulumi: not even encoded."""
    shipped = (ROOT / "Pulumi.dev.yaml").read_text()
    with_secret = tmp_path / "with-secret.yaml"
    kubeconfig = f'"users: [{{user: {{token: {IN_CONFIG}}}}}]"'
    with_secret.write_text(f"{shipped}  kubernetes:kubeconfig: {kubeconfig}\n")
    refused = tmp_path / "refused.yaml"
    endpoint = "vendor-a: 10.1.0.10:3128"
    assert endpoint in shipped
    refused.write_text(shipped.replace(endpoint, f'vendor-a: "me:{IN_CONFIG}@10.1.0.10:3128"'))
    stacks = {
        "prod": (ROOT / "Pulumi.prod.yaml", 0),
        "lab": (STACK_FILE, 0),
        "dev": (with_secret, 0),
        "refused": (refused, 1),
    }
    monkeypatch.setenv(plan.CREDENTIALS_VARIABLE, CRAWLERS)
    for stack, (file, status) in stacks.items():
        monkeypatch.setenv("STACK_FILE", str(file))
        assert render(["--stack", stack, "--out", str(tmp_path / stack)]) == status

    written = [file for stack in stacks for file in (tmp_path / stack).rglob("*.*")]
    places = {str(file): file.read_bytes() for file in written}
    assert sum("ConfigMap-" in place for place in places) >= 6
    output = capfd.readouterr()
    found = leaks(places | {"output": (output.out + output.err).encode()})
    assert not found, found[:10]
