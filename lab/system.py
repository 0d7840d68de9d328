"""The whole system on one machine: simulated vendors, Envoy, Prometheus, a crawler."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.alertmanager.config import START_DELAY
from components.attribution.names import service_entries
from components.attribution.render import envoy_filters
from components.attribution.stats import inclusion_regexps
from lab import loopback, plan
from lab.endpoints import (
    Endpoint,
    dead_addresses,
    endpoints,
    envoy_sockets,
    lab_settings,
    listening_addresses,
    named_sockets,
    upstream_ports,
    upstreams,
)
from lab.envoy import LabEnvoy, lab_envoy
from lab.inspection import with_inspection
from lab.istio_stats import NATIVE, STANDS_IN, lab_has_istio_stats
from lab.money import start_money, with_prices
from lab.names import name_servers
from lab.ports import Ports
from lab.processes import Children, LabError, children, require_free
from lab.prometheus import lab_alertmanager_files, lab_prometheus_files
from lab.shortening import DEMO_FACTOR, at_least, shortened
from settings.loading import load_stack_file
from settings.stack import StackSettings
from tools.find import find

ROOT = Path(__file__).parents[1]
STACK_FILE = ROOT / "lab" / "Pulumi.lab.yaml"
FOLDER = ROOT / ".demo"
"""Plans, logs and data of the last run of each kind; they stay, to find out what went wrong."""

EXTENSIONS = "extensions"  # folder of the Lua that Envoy watches, below a run's own

READY_SECONDS = 60.0
SETTLE_SECONDS = 60.0

# A test looks for this in every log, label and process list: there it would be a leak.
CREDENTIALS = "crawler:lab-password"

# Prometheus' own defaults, which the shipped pods keep: `prometheus --help`.
RULE_TIMES = {
    "--rules.alert.resend-delay": "1m",
    "--rules.alert.for-grace-period": "10m",
    "--rules.alert.for-outage-tolerance": "1h",
}

Json = dict[str, Any]
Change = Callable[[StackSettings], StackSettings]


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A running lab. Every method raises LabError once a part of it has died."""

    settings: StackSettings
    ports: Ports
    endpoints: tuple[Endpoint, ...]
    folder: Path
    family: Children
    is_watched: bool = False
    """Whether two Prometheus and an Alertmanager watch it, as in production."""

    @property
    def envoy_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.envoy_admin}"

    @property
    def prometheus_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.prometheus}"

    @property
    def prometheus_urls(self) -> dict[str, str]:
        """Where each replica is, by the name of its process."""
        replicas = _replicas(self.ports, watched=self.is_watched)
        return {name: f"http://127.0.0.1:{port}" for name, port in replicas.items()}

    @property
    def alertmanager_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.alertmanager}"

    @property
    def crawler_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.crawler_metrics}"

    @property
    def vendor_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.vendor_control}"

    @property
    def ready_urls(self) -> dict[str, str]:
        """The page of each part that says whether it is ready; the crawler has none."""
        return {
            "vendors": f"{self.vendor_url}/healthz",
            "envoy": f"{self.envoy_url}/ready",
            **{name: f"{url}/-/ready" for name, url in self.prometheus_urls.items()},
            **({"alertmanager": f"{self.alertmanager_url}/-/ready"} if self.is_watched else {}),
        }

    def restart(self, part: str, number: signal.Signals, pause_seconds: float) -> None:
        """End a part with a signal, start it again as it was, and wait until it is ready."""
        start = self.family.end(part, number)
        time.sleep(pause_seconds)
        start()
        wait_until_ready(self.family, part, self.ready_urls[part])

    def start_crawler(
        self,
        *,
        count: int | None,
        requests_per_second: int | None,
        seed: int = 1,
        mix: str = "crawl",
        round_envoy_share: float = 0.0,
        change: Callable[[Json], Json] = dict,
    ) -> None:
        """Start the crawler; it ends by itself after `count`, its books in `crawler_books`.

        `change` gets the finished plan and returns the one that is used.
        """
        crawler_plan = plan.crawler_plan(
            self.endpoints,
            self.ports,
            timeout_after_seconds=self.settings.telemetry.timeout_after,
            count=count,
            requests_per_second=requests_per_second,
            seed=seed,
            mix=mix,
            round_envoy_share=round_envoy_share,
        )
        plan_file = _write_json(self.folder / "crawler-plan.json", change(crawler_plan))
        self.family.start(
            "crawler",
            [
                *(sys.executable, "-m", "simulation.crawler"),
                *("--plan", str(plan_file), "--books", str(self.crawler_books)),
            ],
            log=self.folder / "crawler.log",
            environment={
                **plan.crawler_environment(self.endpoints, CREDENTIALS),
                "PYTHONPATH": str(ROOT),
            },
        )

    @property
    def crawler_books(self) -> Path:
        return self.folder / "crawler-books.json"

    def query(self, expression: str) -> list[Json]:
        """Return the instant vector of a PromQL expression: [{metric, value}]."""
        return loopback.query(self.prometheus_url, expression)

    def settle(self) -> None:
        """Return once every connection has ended and Prometheus has seen the final counts.

        Idle connections to vendors stay for `idleTimeout`, then they must end too.

        Raises:
            LabError: connections stay open, or the counts do not come to rest.
        """
        self._wait("Envoy's connections to end", lambda: self._open_connections() == 0)
        self._wait("the vendors' connections to end", lambda: self._open_at_vendors() == 0)
        ended = time.time()
        last: list[tuple[float, str]] = []

        def at_rest() -> bool:
            # Only a bare selector has the time of the scrape; any operator gives the query's.
            scraped = self.query('timestamp(up{job="sidecars"})')
            at = float(scraped[0]["value"][1]) if scraped else 0.0
            if at > ended and (not last or at > last[-1][0]):
                counts = self.query('{__name__=~"istio_.*_total|envoy_cluster_.*_total"}')
                total = str(sorted((str(c["metric"]), c["value"][1]) for c in counts))
                last.append((at, total))
            return len(last) >= 2 and last[-1][1] == last[-2][1]

        self._wait("two equal scrapes", at_rest)

    def _open_connections(self) -> int:
        stats = loopback.get_json(f"{self.envoy_url}/stats?format=json&filter=downstream_cx_active")
        # There is an entry for each socket and worker; this request itself is the admin listener's.
        return sum(
            int(stat["value"])
            for stat in stats["stats"]
            if "value" in stat
            and stat["name"].startswith("listener.")
            and not stat["name"].startswith("listener.admin")
            and "worker" not in stat["name"]
        )

    def _open_at_vendors(self) -> int:
        return int(loopback.get_json(f"{self.vendor_url}/books")["open"])

    def _wait(self, what: str, done: Callable[[], bool]) -> None:
        if not self.family.wait(done, SETTLE_SECONDS):
            raise LabError(f"waited {SETTLE_SECONDS:.0f} s for {what} in vain")


def load_settings(ports: Ports, inspect: str = "") -> StackSettings:
    """Return the lab's settings, with its HTTP ports where the lab listens.

    `inspect` is one of `lab.inspection`, or "" for what the stack file says.

    Raises:
        settings.loading.SettingsError: the file is wrong.
    """
    return with_inspection(lab_settings(load_stack_file(STACK_FILE), ports), inspect)


@contextlib.contextmanager
def running(
    *,
    ports: Ports,
    folder: Path,
    say: Callable[[str], None],
    behind_the_generator: Change | None = None,
    scrape_milliseconds: int | None = None,
    factor: int = DEMO_FACTOR,
    watched: bool = False,
    stand_ins: bool = False,
    inspect: str = "",
    priced: bool = False,
) -> Iterator[Lab]:
    """Run all but the crawler for the length of the block.

    Args:
        ports: where everything listens.
        folder: for plans, logs and Prometheus' data; emptied first.
        say: gets a line for each part that is ready.
        behind_the_generator: a change of the settings that Envoy gets and the crawler does not.
        scrape_milliseconds: Prometheus' interval; None for the stack's.
        factor: divides every time of rules and alerts.
        watched: with a second Prometheus and an Alertmanager. What they tell and scrape beside
            the lab is the caller's (`lab/receiver.py`, `lab/pages.py`).
        stand_ins: whether the caller serves pages in the place of istiod, Grafana, Alertmanager.
        inspect: as in `load_settings`.
        priced: with prices, a ledger and the exporter (`lab/money.py`).

    Raises:
        LabError: a port is taken, a program is missing, or a part died.
    """
    settings = load_settings(ports, inspect)
    if priced:
        settings = with_prices(settings, ports)
    meshed = behind_the_generator(settings) if behind_the_generator else settings
    where = endpoints(settings.vendors, ports)
    native_stats = lab_has_istio_stats()  # raises before anything starts
    for program in ("prometheus", *(["alertmanager"] if watched else [])):
        _program(program)
    require_free(_sockets(settings, where, ports))
    if priced:
        require_free(("127.0.0.1", port) for port in (ports.ledger, ports.money_exporter))
    if inspect:
        read = [vendor.name for vendor in settings.vendors if vendor.inspect == "passive"]
        say(f"{'passive':<13}{', '.join(read) or 'no vendor'}")
    say(f"{'istio.stats':<13}{NATIVE if native_stats else STANDS_IN}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    with children() as family, name_servers(family, settings.vendors, ports, folder):
        lab = Lab(
            settings=settings,
            ports=ports,
            endpoints=where,
            folder=folder,
            family=family,
            is_watched=watched,
        )
        # First: filling the ledger takes seconds, in which the others would have no traffic.
        money = start_money(family, settings, ports, folder, ROOT) if priced else {}
        start_vendors(family, where, ports, settings.telemetry.timeout_after, folder)
        addresses = listening_addresses(where)
        start_envoy(family, rendered_envoy(meshed, addresses, ports, folder), folder)
        files = lab_prometheus_files(
            settings,
            ports,
            scrape_milliseconds,
            factor=factor,
            watched=watched,
            stand_ins=stand_ins,
        )
        for name, port in _replicas(ports, watched=watched).items():
            _start_prometheus(family, name, port, files, folder, factor)
        if watched:
            _start_alertmanager(family, ports, folder, factor)
        for name, url in (money | lab.ready_urls).items():
            wait_until_ready(family, name, url)
            say(f"{name:<13}{url.rsplit('/', 1)[0].removesuffix('/-')}")
        yield lab


def _replicas(ports: Ports, *, watched: bool) -> dict[str, int]:
    if not watched:
        return {"prometheus": ports.prometheus}
    return {"prometheus-0": ports.prometheus, "prometheus-1": ports.other_prometheus}


def _start_prometheus(
    family: Children, name: str, port: int, files: dict[str, str], folder: Path, factor: int
) -> None:
    """Start one replica with files of its own, as each pod has its own mount."""
    config_file = _write_files(folder / name, files)
    family.start(
        name,
        [
            *(str(_program("prometheus")), f"--config.file={config_file}"),
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={folder / f'{name}-data'}",
            "--log.level=warn",
            # Without it 5 s would pass at each start before the first scrape.
            "--scrape.discovery-reload-interval=100ms",
            *("--config.auto-reload", "--config.auto-reload-interval=1s"),
            *(f"{flag}={shortened(time, factor)}" for flag, time in RULE_TIMES.items()),
        ],
        log=folder / f"{name}.log",
        environment={"POD_NAME": name if name[-1].isdecimal() else "prometheus-0"},
    )


def _start_alertmanager(family: Children, ports: Ports, folder: Path, factor: int) -> None:
    files = lab_alertmanager_files(ports, folder / "alertmanager", factor)
    family.start(
        "alertmanager",
        [
            *(str(_program("alertmanager")), "--log.level=warn"),
            f"--config.file={_write_files(folder / 'alertmanager', files)}",
            f"--web.listen-address=127.0.0.1:{ports.alertmanager}",
            f"--storage.path={folder / 'alertmanager-data'}",
            "--cluster.listen-address=",  # there is no second one
            f"--dispatch.start-delay={at_least(shortened(START_DELAY, factor))}",
        ],
        log=folder / "alertmanager.log",
    )


def rendered_envoy(
    settings: StackSettings,
    addresses: Sequence[str],
    ports: Ports,
    folder: Path,
    *,
    native_stats: bool | None = None,
) -> LabEnvoy:
    """Return what the lab's Envoy runs: the program's EnvoyFilters for `settings`, applied.

    `addresses` are what crawlers connect to; `folder` is where `start_envoy` will write it.
    Whether istio.stats counts, or its stand-in, is asked of this machine's Envoy unless
    `native_stats` says it.
    """
    filters = envoy_filters(
        settings.vendors,
        targets=settings.targets,
        destinations=settings.destinations,
        timeout_after_seconds=settings.telemetry.timeout_after,
        selector=settings.crawlers.selector,
        access_logs=settings.telemetry.access_logs,
        log_outside=settings.telemetry.log_outside,
    )
    return lab_envoy(
        filters,
        service_entries(settings.vendors, settings.destinations),
        sockets=envoy_sockets(settings.vendors, addresses, ports),
        upstream_ports=upstream_ports(settings.vendors, ports),
        ports=ports,
        dead_addresses=dead_addresses(endpoints(settings.vendors, ports)),
        buckets=settings.telemetry.buckets,
        inclusion_regexps=inclusion_regexps(),
        extension_dir=folder / EXTENSIONS,
        native_stats=lab_has_istio_stats() if native_stats is None else native_stats,
    )


def start_envoy(family: Children, rendered: LabEnvoy, folder: Path) -> int:
    """Write what was rendered for `folder`, run it on one worker; return its process number."""
    (folder / EXTENSIONS).mkdir(parents=True)
    for name, response in rendered.extensions.items():
        _write_json(folder / EXTENSIONS / name, response)
    config = _write_json(folder / "envoy.json", rendered.bootstrap)
    return family.start(
        "envoy",
        [
            *(str(_program("envoy")), "-c", str(config), "--concurrency", "1"),
            *("--disable-hot-restart", "--log-level", "warning"),
        ],
        log=folder / "envoy.log",
    )


def start_vendors(
    family: Children,
    where: Sequence[Endpoint],
    ports: Ports,
    timeout_after_seconds: int,
    folder: Path,
) -> None:
    """Start the simulated vendors, one process for all of `where`."""
    vendor_plan = plan.vendor_plan(where, ports, timeout_after_seconds)
    plan_file = _write_json(folder / "vendor-plan.json", vendor_plan)
    family.start(
        "vendors",
        [sys.executable, "-m", "simulation.proxy", "--plan", str(plan_file)],
        log=folder / "vendors.log",
        environment={"PYTHONPATH": str(ROOT)},
    )


def _sockets(
    settings: StackSettings, where: Sequence[Endpoint], ports: Ports
) -> list[tuple[str, int]]:
    local = (
        ports.envoy_admin,
        ports.crawler_metrics,
        ports.vendor_control,
        ports.prometheus,
    )
    return [
        *(("127.0.0.1", port) for port in local),
        *(socket for one in where for socket in upstreams(one, ports)),
        *(("127.0.0.1", port) for port in (ports.name_server, ports.captured_name_server)),
        *named_sockets(settings.vendors),
        *((address, ports.outside_upstream) for address in listening_addresses(where)),
        *envoy_sockets(settings.vendors, listening_addresses(where), ports),
    ]


def _program(name: str) -> Path:
    try:
        return find(name)
    except Exception as error:
        raise LabError(str(error)) from None


def wait_until_ready(family: Children, name: str, url: str) -> None:
    """Return once `url` answers.

    Raises:
        LabError: it does not in time, or a child died.
    """
    if not family.wait(lambda: loopback.answers(url), READY_SECONDS):
        raise LabError(f"{name} did not become ready within {READY_SECONDS:.0f} s ({url})")


def _write_json(file: Path, content: Json) -> Path:
    """Write by rename, so that Envoy, which watches some files, never reads half of one."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return temporary.replace(file)


def _write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write `files`; return the path of the first, which refers to the others."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / next(iter(files))
