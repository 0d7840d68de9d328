"""`make reconcile`, from a vendor's file or API and a real ledger to the verdict."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.ledger_blocks import fill
from money.reconcile import __main__ as command
from money.usage import asking
from tests.money.invoices import CONTRACTS, DAY, invoice, ledger, on, times
from tests.money.ledger_server import serving
from tests.money.usage_servers import days
from tests.money.usage_servers import serving as serving_usage

NOW = datetime(2026, 12, 5, 10, 30, tzinfo=UTC)
SECRET = "s3cret-K3y"

STACK = """
config:
  proxy-observability:cluster: test
  proxy-observability:vendors:
    - name: vendor-a
      cidrs: [10.1.0.0/16]
      products: [{user: "*-resi", name: residential}]
      billing:
        currency: USD
        perGB:
          tiers: [{upTo: 20, price: 8.4}, {price: 7}]
          unit: GB
          counts: target
          overhead: {tunnel: 9000, request: 60}
        free: [failed]
      usage:
        api: decodo
        products: [{name: residential_proxies, product: residential}]
        timeZone: UTC
        csv:
          day: {column: Date, format: "%d/%m/%Y"}
          traffic: {column: Traffic, text: "# GB", unit: GB}
          cost: {column: Cost, text: $#, currency: USD}
          product: Zone
    - {name: vendor-b, cidrs: [10.2.0.0/16]}
"""

BOOK = ledger(1)


@pytest.fixture(scope="module")
def ledger_url(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("ledger")
    fill(folder / "data", BOOK, days=False)
    with serving(folder / "data") as server:
        yield server.url


@pytest.fixture(autouse=True)
def _stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    file = tmp_path / "Pulumi.test.yaml"
    file.write_text(STACK)
    monkeypatch.setenv("STACK_FILE", str(file))
    monkeypatch.setenv("LEDGER_URL", ledger_url)
    for name in ("USAGE_TOKEN", "USAGE_USERNAME", "USAGE_PASSWORD", "USAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(asking.time, "sleep", lambda _: None)


def write(file: Path, usage) -> Path:
    """Write a vendor's invoice as its file would be."""
    lines = [
        f"{row.day:%d/%m/%Y},residential_proxies,{(row.bytes or 0) / 10**9:.6f} GB,${row.cost:.2f}"
        for row in usage.rows
    ]
    file.write_text("\n".join(["Date,Zone,Traffic,Cost", *lines, ""]))
    return file


def run(*arguments: str) -> int:
    return command.main(["--vendor", "vendor-a", "--month", "2026-11", *arguments], NOW)


def test_right_invoice(tmp_path, capsys):
    file = write(tmp_path / "a.csv", invoice(BOOK, priced_by=CONTRACTS))
    assert run("--file", str(file)) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Pay USD ")
    assert "GB overhead, so that" in out
    assert len(out.splitlines()) == 2
    assert err == ""


def test_padded_day(tmp_path, capsys):
    """One day has 5 % more than crawlers used: it is named, with what it costs."""
    out = tmp_path / "out"
    usage = invoice(BOOK, change=on(DAY, times(1.05)), priced_by=CONTRACTS)
    assert run("--file", str(write(tmp_path / "a.csv", usage)), "--out", str(out)) == 1
    said, errors = capsys.readouterr()
    assert said.startswith("Do not pay USD ")
    assert errors.startswith(f"vendor-a: {DAY} of residential is billed ")
    assert len(errors.splitlines()) == 1
    report = json.loads((out / "reconcile-vendor-a.json").read_text())
    assert (report["status"], report["month"], report["pay"]) == (1, "2026-11", False)
    assert [one["days"] for one in report["differences"]] == [[str(DAY)]]
    assert report["sentence"] in said
    rows = list(csv.DictReader((out / "reconcile-vendor-a.csv").open()))
    assert len(rows) == 30
    assert [row["day"] for row in rows if row["remark"]] == [str(DAY)]
    page = (out / "reconcile-vendor-a.html").read_text()
    assert "Do not pay USD" in page
    assert "<script" not in page
    focus = list(csv.DictReader((out / "reconcile-vendor-a-focus.csv").open()))
    assert sum(float(row["BilledCost"]) for row in focus) == pytest.approx(float(report["cost"]))
    assert not list(out.glob("*.tmp"))


def test_a_run_that_fails_leaves_no_earlier_verdict(tmp_path):
    """Whoever opens the page next would pay by the last month's, or file's, verdict."""
    file = write(tmp_path / "a.csv", invoice(BOOK, priced_by=CONTRACTS))
    out = tmp_path / "out"
    assert run("--file", str(file), "--out", str(out)) == 0
    file.write_text("<html>log in</html>")
    assert run("--file", str(file), "--out", str(out)) == 2
    assert [one.name for one in out.iterdir()] == ["reconcile-vendor-a.json"]


def test_usage_api(capsys, monkeypatch):
    """The API has bytes alone; the verdict says what they cost by the contract."""
    figures = {str(row.day): int(row.bytes) for row in invoice(BOOK).rows}

    def decodo(asked):
        listed = days(asked.json["startDate"][:10], asked.json["endDate"][:10])
        rows = [{"grouping_key": day, "rx_tx_bytes": figures[day]} for day in listed]
        return {"metadata": {"total_rx_tx": sum(figures.values())}, "data": rows}

    monkeypatch.setenv("USAGE_TOKEN", SECRET)
    with serving_usage(decodo) as server:
        monkeypatch.setenv("USAGE_URL", server.url)
        assert run("--api") == 0
    out, err = capsys.readouterr()
    assert "by the contract USD " in out
    assert SECRET not in out + err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--vendor", "vendor-a"], "FILE, API: give one of them"),
        (["--file", "a.csv", "--api"], "FILE, API: give one of them"),
        (["--api", "--vendor", ""], "VENDOR: is not set; name one of vendor-a, vendor-b"),
        (["--api", "--vendor", "vendor-x"], "VENDOR: 'vendor-x' is unknown"),
        (["--api", "--vendor", "vendor-b"], "API: usage.api of vendor-b is not in the stack"),
        (["--file", "a", "--vendor", "vendor-b"], "FILE: usage.csv of vendor-b is not in the"),
        (["--file", "none.csv"], "cannot be read: "),
        (["--api"], "USAGE_TOKEN: is not set"),
        (["--api", "--month", "2026-13"], "MONTH: '2026-13' is no month"),
        (["--api", "--month", "2027-02"], "MONTH: 2027-02 has not begun"),
        (["--api", "--stack", "none"], "none"),
    ],
)
def test_what_could_not_run_is_named(arguments, said, capsys, tmp_path, monkeypatch):
    if "none" in arguments:
        monkeypatch.delenv("STACK_FILE")
    assert run(*arguments, "--out", str(tmp_path / "out")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


def test_month_of_which_the_ledger_knows_nothing(tmp_path, capsys):
    file = write(tmp_path / "a.csv", invoice(BOOK, priced_by=CONTRACTS))
    file.write_text(file.read_text().replace("/11/", "/09/"))
    assert run("--file", str(file), "--month", "2026-09") == 2
    assert "data of 0 of 30 days" in capsys.readouterr().err


def test_ledger_that_is_away(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LEDGER_URL", "http://127.0.0.1:9")
    file = write(tmp_path / "a.csv", invoice(BOOK, priced_by=CONTRACTS))
    assert run("--file", str(file)) == 2
    assert "LEDGER_URL" in capsys.readouterr().err
