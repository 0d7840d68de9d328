"""The exporter as a process: a real ledger before it, a real Prometheus with rules behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from books.prometheus import Prometheus, PrometheusError
from lab.ledger_blocks import fill
from lab.processes import children
from money.as_json import written
from money.contract import Budget, Contract
from money.quantities import Book, Part, Quantities, Wire
from money.usage.account import Account
from money.usage.scheduled import accounts_json
from tests.lab.conftest import until
from tests.lab.server import start_prometheus
from tests.money import usage_servers
from tests.money.books import per_gb
from tests.money.ledger_server import serving
from tests.pages import answering
from tests.ports import free_block
from tests.programs import run_to_end
from tests.rules.promql import FILES

ROOT = Path(__file__).parents[2]
SECONDS = 120.0
HOUR = timedelta(hours=1)
PART = Part("vendor-a", "residential", "team-a", "shops")
PASSWORD = "a-password-of-the-ledger"
TOKEN = "a-token-of-the-vendor"

CONTRACT = Contract(
    vendor="vendor-a",
    product="",
    currency="USD",
    valid_from=None,
    rules=(per_gb((None, "8"), free_results=frozenset({"failed"})),),
)
BUDGET = Budget(name="spent", limit=Decimal("0.5"), currency="")
"""Half a GB a month, of 1 GB an hour."""

RATES = (
    'team_proxy_vendor_pool_result_target:proxy_bytes:rate5m{team="team-a",proxy_vendor="vendor-a",'
    'proxy_pool="residential",proxy_target="shops",proxy_result="%s"} %d\n'
)
LIVE = RATES % ("delivered", 1_000_000) + RATES % ("failed", 500_000)
"""What sidecars would give, at 0.008 USD a second."""


def last_days() -> Book:
    """A ledger of 1 GB an hour, for eight days until an hour ago, of which a tenth failed."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    one = Quantities(
        bytes_sent={"delivered": 1e8, "failed": 1e8},
        bytes_received={"delivered": 8e8},
        requests={"success": 900.0, "connect_failed": 100.0},
    )
    hours = {now - n * HOUR: {PART: one} for n in range(2, 8 * 24)}
    wire = {"vendor-a": Wire(bytes_sent=2e8, bytes_received=8e8)}
    return Book(hours=hours, wire=dict.fromkeys(hours, wire), coverage=dict.fromkeys(hours, 1.0))


@pytest.fixture(scope="module")
def book() -> Book:
    return last_days()


@pytest.fixture(scope="module")
def data(book: Book, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger") / "data"
    fill(folder, book, days=False)
    return folder


class Exporter:
    def __init__(self, port: int, process: subprocess.Popen[str], log: Path) -> None:
        self.port, self.process, self._log = port, process, log

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return str(answer.read().decode())

    def sample(self, start: str) -> float | None:
        """Return the value of the first sample that begins so."""
        lines = (line.rpartition(" ") for line in self.get("/metrics").splitlines())
        return next((float(value) for name, _, value in lines if name.startswith(start)), None)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")


@contextmanager
def exporting(folder: Path, ledger: str, *accounts: Account) -> Iterator[Exporter]:
    """Run the program as its pod does, with files that nobody else has."""
    folder.mkdir(exist_ok=True)
    (folder / "contracts.json").write_text(written([CONTRACT], [BUDGET]), encoding="utf-8")
    (folder / "username").write_text("ledger-user")
    (folder / "password").write_text(PASSWORD)
    (folder / "accounts.json").write_text(accounts_json(accounts), encoding="utf-8")
    for account in accounts:
        (folder / account.vendor).mkdir()
        (folder / account.vendor / "token").write_text(TOKEN)
    port, log = free_block(["127.0.0.1"]), folder / "exporter.log"
    command = [
        *(sys.executable, "-m", "money.exporter", f"--ledger={ledger}", f"--login={folder}"),
        *(f"--contracts={folder}/contracts.json", f"--port={port}", "--every=0.2"),
        *(f"--accounts={folder}/accounts.json", f"--credentials={folder}"),
    ]
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, text=True) as process,
    ):
        exporter = Exporter(port, process, log)
        try:
            until(lambda: process.poll() is not None or "serves port" in exporter.log(), SECONDS)
            yield exporter
        finally:
            process.terminate()


@contextmanager
def scraping(folder: Path, exporter: Exporter) -> Iterator[Prometheus]:
    """Run Prometheus with the rules of money; it scrapes the exporter, and the live rates."""
    folder.mkdir()
    for name in ("money_records.yml", "money_alerts.yml"):
        (folder / name).write_text(json.dumps(FILES[name]), encoding="utf-8")

    def job(name: str, port: int) -> dict[str, Any]:
        found = [{"targets": [f"127.0.0.1:{port}"], "labels": {"cluster": "test"}}]
        return {"job_name": name, "static_configs": found}

    text = {"Content-Type": "text/plain; version=0.0.4"}
    with answering(LIVE.encode(), **text) as rates, children() as family:
        # `job` of a record would be the scrape's.
        no_job = {"metric_relabel_configs": [{"action": "labeldrop", "regex": "job|instance"}]}
        config = {
            "global": dict.fromkeys(
                ("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s"
            ),
            "rule_files": ["money_*.yml"],
            "scrape_configs": [job("money", exporter.port), {**job("rates", rates.port), **no_job}],
        }
        port = free_block(["127.0.0.1"])
        yield Prometheus(start_prometheus(family, folder, config, port), {})


def value_of(prometheus: Prometheus, query: str) -> float | None:
    try:
        answer = prometheus.query(query)
    except PrometheusError:  # it still starts
        return None
    return float(answer[0]["value"][1]) if answer else None


def test_costs_reach_the_records_and_a_budgets_alert(
    data: Path, book: Book, tmp_path: Path
) -> None:
    """From hours in a real ledger to money a second and an alert, as in a cluster."""
    with (
        serving(data) as ledger,
        exporting(tmp_path / "exporter", ledger.url) as exporter,
        scraping(tmp_path / "prometheus", exporter) as prometheus,
    ):
        until(lambda: exporter.sample("proxy_ledger_last_hour_timestamp_seconds"), SECONDS)
        newest = exporter.sample("proxy_ledger_last_hour_timestamp_seconds")
        assert newest == (max(book.hours) + HOUR).timestamp()
        assert exporter.get("/healthz") == "ok\n"

        price = until(lambda: value_of(prometheus, 'max(proxy_unit_price{unit="byte"})'), SECONDS)
        assert price == pytest.approx(8e-9)
        cost = until(lambda: value_of(prometheus, "proxy_vendor:cost:rate5m"), SECONDS)
        assert cost == pytest.approx(0.008), "the failed half is free"
        for record in ("proxy_vendor_pool", "team_proxy_vendor_pool_target"):
            own = until(lambda name=record: value_of(prometheus, f"{name}:cost:rate5m"), SECONDS)
            assert own == cost

        month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        hours = sum(hour >= month for hour in book.hours)
        used = exporter.sample("proxy_budget_used")
        assert used == pytest.approx(hours)
        if hours:
            assert exporter.sample("proxy_cost_month_to_date") == pytest.approx(hours * 0.9 * 8)
            firing = 'ALERTS{alertname="ProxyBudgetUsed", severity="critical", budget="spent"}'
            until(lambda: value_of(prometheus, firing), SECONDS)


def test_figures_outlive_the_ledger_and_the_password_stays_secret(
    data: Path, tmp_path: Path
) -> None:
    failed = 'money_exporter_reads_total{result="failed"}'
    with (
        ExitStack() as ledger,
        exporting(tmp_path / "exporter", ledger.enter_context(serving(data)).url) as exporter,
    ):
        until(lambda: exporter.sample("proxy_budget_used") is not None, SECONDS)
        figures = exporter.sample("proxy_budget_used")
        assert exporter.sample(failed) == 0
        ledger.close()
        until(lambda: (exporter.sample(failed) or 0) > 2, SECONDS)
        assert exporter.sample("proxy_budget_used") == figures
        assert exporter.get("/healthz") == "ok\n", "to start anew would help nobody"
        assert "the ledger was not read: PrometheusError: " in exporter.log()
        shown = exporter.log() + exporter.get("/metrics")
        shown += Path(f"/proc/{exporter.process.pid}/cmdline").read_text(encoding="utf-8")
        assert PASSWORD not in shown


def test_what_a_vendor_bills_of_a_day_is_beside_what_passed(data: Path, tmp_path: Path) -> None:
    with serving(data) as ledger, usage_servers.serving(usage_servers.decodo) as vendor:
        products = {"residential_proxies": "residential"}
        account = Account(vendor="vendor-a", api="decodo", products=products, url=vendor.url)
        with exporting(tmp_path / "exporter", ledger.url, account) as exporter:
            until(lambda: exporter.sample("proxy_budget_used") is not None, SECONDS)
            billed = exporter.sample('proxy_billed_bytes_last_day{proxy_vendor="vendor-a"}')
            metered = exporter.sample('proxy_metered_bytes_last_day{proxy_vendor="vendor-a"}')
            shown = exporter.log() + exporter.get("/metrics")
    assert billed
    assert metered == pytest.approx(24e9)
    assert len(vendor.asked) == 1
    assert vendor.asked[0].login == TOKEN
    assert TOKEN not in shown


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"--contracts": "missing.json"}, "missing.json"),
        ({"--ledger": "https://user:secret@ledger"}, "holds credentials"),
        ({"--ledger": "ledger:9090"}, "is no address"),
        ({"--contracts": "broken.json"}, "broken.json: "),
        ({"--login": "nowhere"}, "nowhere"),
        ({"--accounts": "accounts.json", "--credentials": "."}, "accounts.json: holds no accounts"),
        ({"--accounts": "broken.json", "--credentials": "."}, "broken.json: "),
        ({"--accounts": "accounts.json"}, "--credentials: is missing"),
    ],
)
def test_what_cannot_start_says_why_in_a_line(
    wrong: dict[str, str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "contracts.json").write_text(written([CONTRACT]), encoding="utf-8")
    (tmp_path / "accounts.json").write_text('[{"vendor": "vendor-a"}]', encoding="utf-8")
    (tmp_path / "broken.json").write_text('{"contracts": [{}]', encoding="utf-8")
    options = {"--ledger": "http://127.0.0.1:9", "--contracts": "contracts.json", "--port": "0"}
    done = run_to_end(
        *(sys.executable, "-m", "money.exporter"),
        *(f"{name}={value}" for name, value in {**options, **wrong}.items()),
        status=2,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert words in done.stderr
    assert "secret" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_ends_when_the_pod_does(data: Path, tmp_path: Path) -> None:
    with exporting(tmp_path / "exporter", "http://127.0.0.1:9") as exporter:
        exporter.process.send_signal(signal.SIGTERM)
        assert exporter.process.wait(SECONDS) == 0
