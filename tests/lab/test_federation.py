"""Two shards and the server that adds them up, beside one server of the same sidecars.

Real Prometheus with the rendered configuration and rules, windows and intervals shortened. A second
cluster, with the same vendors and other traffic, is federated by the same server, behind its
password.
"""

from __future__ import annotations

import json
import math
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.file_text import yaml_text
from components.prometheus.config import BasicAuth, StaticTargets, prometheus_config, web_config
from components.prometheus.estimate import estimate
from components.prometheus.federation import LEVELS, Source, server_config, shard_config
from components.prometheus.rules import federated_sums, server_rules, shard_rules
from lab.processes import Children, children
from settings.loading import parse_settings
from tests.lab.conftest import until
from tests.lab.sidecars import BOUNDS, DESTINATION, GATEWAY, exposed, page
from tests.lab.test_password import HASH, PASSWORD, get
from tests.ports import free_block
from tests.rules.promql import FILES, limits, rules_of
from tools.find import find

pytestmark = pytest.mark.long

SECONDS = 300.0  # for a busy machine; 25 are usual
WINDOW_SECONDS = 6
AVERAGED_SECONDS = 5
NEAR = 0.01

VENDORS = ("vendor-a", "vendor-b", "vendor-c")
HERE = [f"127.20.1.{n}" for n in range(1, 17)]
THERE = [f"127.20.2.{n}" for n in range(1, 5)]
GENERATORS = {"lab": "127.20.3.1", "eu": "127.20.3.2"}
SHARDS = 2

# The rest is about servers, hours and money, of which the pages below say nothing.
FILES_COMPARED = ("burn_rates.yml", "sums.yml", "vendor_records.yml")
# From nodes, which only Kubernetes knows.
FROM_NODES = {"cluster:sidecar_cpu:rate5m", "cluster:sidecar_memory:sum"}
# What a server takes in, and for how long it scrapes, differs from server to server.
OF_ITSELF = {"cluster:prometheus_samples_appended:rate5m", "job:scrape_duration_seconds:sum"}
# A mean since the server's start here, and they do not start at one moment.
OF_A_WEEK = {"proxy_vendor:request_failures_per_budget:burnrate7d"}

Series = dict[tuple[tuple[str, str], ...], float]


@dataclass(frozen=True)
class Servers:
    """Addresses of the running ones."""

    single: str
    server: str
    shards: tuple[str, ...]
    leaf: str


def settings_of(cluster: str, shards: int = 1) -> Any:
    vendors = [{"name": name, "cidrs": [f"10.{n}.0.0/16"]} for n, name in enumerate(VENDORS, 1)]
    vendors[0]["inspect"] = "passive"  # its bytes are compared with the cluster's
    vendors[1]["hosts"] = [{"name": GATEWAY, "ports": [7777]}]
    # One cluster in each form: the same records are federated.
    telemetry = {"buckets": [*BOUNDS], "nativeHistograms": cluster == "lab"}
    # The last bound is all that can be differences, and below the limit nothing would ever be slow.
    stack = {
        "cluster": cluster,
        "vendors": vendors,
        "destinations": [{"name": DESTINATION, "cidrs": ["10.9.0.0/16"]}],
        "telemetry": telemetry,
        "alerts": {"setupMilliseconds": BOUNDS[-2]},
        "prometheus": {"shards": shards, "scrapeInterval": "1s"},
    }
    # The least it may be, so that a sidecar of many series is over it.
    budget = estimate(parse_settings(stack)).sidecar.total
    return parse_settings({**stack, "telemetry": {**telemetry, "seriesBudget": budget}})


def shortened(text: str) -> str:
    """Both windows and averages of windows fill within seconds of the start."""
    text = re.sub(r"(\[|offset |[/<] )5m\b", rf"\g<1>{WINDOW_SECONDS}s", text)
    text = re.sub(r"interval: [12]m\b", "interval: 1s", text)
    return re.sub(r"\[(?:30m|1h|6h)\]", f"[{WINDOW_SECONDS // 2}s]", text)


def config_of(
    cluster: str, sidecars: list[str], prometheus: str, port: int, auth: BasicAuth | None = None
) -> dict[str, Any]:
    config = prometheus_config(
        settings_of(cluster),
        targets=StaticTargets(
            sidecars=tuple(f"{address}:{port}" for address in sidecars),
            prometheus=(prometheus,),
            load_generator=(f"{GENERATORS[cluster]}:{port}",),
        ),
        rule_files=("rules/*.yml",),
        prometheus_auth=auth,
    )
    (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "sidecars")
    for number, one in enumerate(job["static_configs"]):
        one["labels"]["source_workload"] = f"w{number % 2}"
    return config


def generated(seconds: float) -> str:
    return "crawler_in_flight 3\n" + "".join(
        f'crawler_requests_total{{vendor="{vendor}",outcome="success"}} '
        f"{10 * place * seconds:.6f}\n"
        f'crawler_unexpected_total{{vendor="{vendor}"}} {place * seconds:.6f}\n'
        for place, vendor in enumerate(VENDORS, 1)
    )


def pages() -> dict[str, Callable[[float], str]]:
    def of(number: int, faster: float) -> Callable[[float], str]:
        return lambda seconds: page(number, faster * seconds, VENDORS)

    return {
        **{address: of(number, 1) for number, address in enumerate(HERE)},
        **{address: of(number, 7) for number, address in enumerate(THERE)},
        **dict.fromkeys(GENERATORS.values(), generated),
    }


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("federation")
    base = free_block(["127.0.0.1", *pages()])
    names = ("single", "server", "leaf", *(f"shard-{n}" for n in range(SHARDS)))
    at = {name: f"127.0.0.1:{base + 1 + n}" for n, name in enumerate(names)}

    (folder / "password").write_text(PASSWORD)
    auth = BasicAuth(username="prometheus", password_file=str(folder / "password"))
    whole, sharded, leaf = settings_of("lab"), settings_of("lab", SHARDS), settings_of("eu")
    sources = [
        *(Source(url=f"http://{at[f'shard-{n}']}", auth=None, shard=n) for n in range(SHARDS)),
        Source(url=f"http://{at['leaf']}/", auth=auth, cluster="eu"),
    ]

    def one(name: str) -> dict[str, Any]:
        return config_of("lab", HERE, at[name], base)

    with exposed(pages(), base), children() as family:
        for name, config, rules in (
            ("single", one("single"), server_rules(whole)),
            *(
                (name, shard_config(one(name), n, SHARDS), shard_rules(sharded))
                for n in range(SHARDS)
                for name in [f"shard-{n}"]
            ),
            ("server", server_config(one("server"), sources), server_rules(sharded)),
            ("leaf", config_of("eu", THERE, at["leaf"], base, auth), server_rules(leaf)),
        ):
            _start(family, name, config, rules, at[name], folder / name)
        yield Servers(
            *(f"http://{at[name]}" for name in ("single", "server")),
            tuple(f"http://{at[f'shard-{n}']}" for n in range(SHARDS)),
            f"http://{at['leaf']}",
        )
        family.check()


def _start(
    family: Children,
    name: str,
    config: dict[str, Any],
    rules: Mapping[str, str],
    address: str,
    folder: Path,
) -> None:
    (folder / "rules").mkdir(parents=True)
    for file, text in rules.items():
        if "record: " in text:  # alerts have tests of their own, and cost as much again
            (folder / "rules" / file).write_text(shortened(text))
    (folder / "prometheus.yml").write_text(yaml_text(config))
    (folder / "web.yml").write_text(
        yaml_text(web_config("prometheus", HASH)) if name == "leaf" else "{}"
    )
    family.start(
        name,
        [
            *(str(find("prometheus")), f"--config.file={folder / 'prometheus.yml'}"),
            *(f"--web.listen-address={address}", f"--web.config.file={folder / 'web.yml'}"),
            f"--storage.tsdb.path={folder / 'data'}",
        ],
        log=folder / "log",
        environment={"POD_NAME": f"{name}-0"},
    )


def asked(server: str, path: str, **parameters: str) -> Any:
    url = f"{server}{path}?{urllib.parse.urlencode(parameters)}"
    try:
        _, text = get(url, f"prometheus:{PASSWORD}")
    except OSError:  # not up yet
        return []
    return json.loads(text)["data"]["result"] if text else []


def recorded(server: str, selector: str = '{__name__=~".+:.+:.+"}') -> Series:
    """Return each series' mean over the last seconds; the lag of federation is evened out."""
    now = time.time()
    found = asked(
        server,
        "/api/v1/query_range",
        query=selector,
        start=str(now - AVERAGED_SECONDS),
        end=str(now),
        step="1",
    )
    series: Series = {}
    for one in found:
        # A native histogram has none; nothing reads it but the rules beside it.
        values = [float(value) for _, value in one.get("values", ())]
        if len(values) > AVERAGED_SECONDS:  # there all the time
            series[tuple(sorted(one["metric"].items()))] = sum(values) / len(values)
    return series


def name_of(labels: tuple[tuple[str, str], ...]) -> str:
    return dict(labels)["__name__"]


def comparable(series: Series, cluster: str) -> Series:
    """Return what is recorded of a cluster's traffic and is the same on every server."""
    kept: Series = {}
    for labels, value in series.items():
        known = dict(labels)
        name = known["__name__"]
        if known["cluster"] != cluster or name not in EXPECTED:
            continue
        if name.startswith("job:") and known["job"] != "sidecars":
            continue  # the jobs of each server itself
        kept[labels] = value
    return kept


def is_compared(name: str) -> bool:
    """Whether a record is one that boards and alerts read, and no limit."""
    return name.split(":")[0] in LEVELS and name not in limits()


def all_near(one: Callable[[], Series], other: Callable[[], Series]) -> None:
    """Wait until both have the same series, and each was of one value while it was steady.

    They need not agree at one moment: a busy machine evaluates some rule late. While windows fill,
    the later server passes through many values, so a value that still moves is not compared.
    """
    deadline = time.monotonic() + SECONDS
    before: Series = {}
    pending: set[tuple[tuple[str, str], ...]] | None = None
    while pending is None or pending:
        here, there = one(), other()
        if not (differences := complete(here)):
            differences = [f"only here: {labels}" for labels in here.keys() - there.keys()]
            differences += [f"only there: {labels}" for labels in there.keys() - here.keys()]
        if not differences:
            pending = set(here) if pending is None else pending
            pending -= {
                labels
                for labels in here
                if near(here[labels], before.get(labels, math.nan))
                and near(here[labels], there[labels])
            }
            differences = [f"{labels}: {here[labels]} and {there[labels]}" for labels in pending]
        assert not differences or time.monotonic() < deadline, "\n".join(differences[:20])
        before = here
        time.sleep(1)


def near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=NEAR, abs_tol=1e-9)


EXPECTED = {
    rule["record"]
    for file in FILES_COMPARED
    for rule in rules_of(FILES[file])
    if "record" in rule and is_compared(rule["record"])
}
EXPECTED -= FROM_NODES | OF_ITSELF | OF_A_WEEK


def complete(series: Series) -> list[str]:
    missing = EXPECTED - {name_of(labels) for labels in series}
    return [f"no series: {name}" for name in sorted(missing)]


def test_two_shards_record_what_one_server_does(servers: Servers) -> None:
    """Every record, its labels and its value: a ratio over one shard is no vendor's ratio."""

    all_near(
        lambda: comparable(recorded(servers.single), "lab"),
        lambda: comparable(recorded(servers.server), "lab"),
    )
    # Both had a part to do.
    parts = [
        next(iter(recorded(shard, 'job:up:count{job="sidecars"}').values()), 0)
        for shard in servers.shards
    ]
    assert sum(parts) == len(HERE)
    assert min(parts) > 0


def test_clusters_with_the_same_vendors_stay_apart(servers: Servers) -> None:
    """The federating server has of each cluster what that cluster's own server has."""

    all_near(
        lambda: comparable(recorded(servers.leaf), "eu"),
        lambda: comparable(recorded(servers.server), "eu"),
    )
    rate = 'proxy_vendor:istio_requests:rate5m{proxy_vendor="vendor-a"}'
    by_cluster = {
        dict(labels)["cluster"]: value for labels, value in recorded(servers.server, rate).items()
    }
    assert set(by_cluster) == {"lab", "eu"}
    assert by_cluster["eu"] > 1.5 * by_cluster["lab"]


def test_shards_record_sums_and_nothing_else(servers: Servers) -> None:
    """A shard's ratio would look like the cluster's."""
    for shard in servers.shards:
        until(lambda shard=shard: recorded(shard), SECONDS)
        names = {name_of(labels) for labels in recorded(shard)}
        derived = re.compile(":ratio|p50|p95|burn|_per_")
        assert not [name for name in names - limits() if derived.search(name)]
        assert asked(shard, "/api/v1/query", query='{job!="sidecars", __name__!~".+:.+"}') == []


def test_no_query_counts_a_shards_part_beside_the_sum(servers: Servers) -> None:
    """A shard's records have a prefix, and keep no label of the replica that answered."""
    until(lambda: not complete(comparable(recorded(servers.server), "lab")), SECONDS)
    found = recorded(servers.server)
    assert all(("shard" in dict(k)) <= name_of(k).startswith("shard_") for k in found)
    extra = {"prometheus_replica", "instance"}
    assert [labels for labels in found if extra & dict(labels).keys()] == []
    names = {name_of(labels) for labels in found if name_of(labels).startswith("shard_")}
    assert names <= {f"shard_{name}" for name in federated_sums()}
