"""The finance report adds up, harms nobody, and is made from a real ledger."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.ledger_blocks import fill
from money.charges import Month, month_charges
from money.contract import Budget, Contract
from money.exact import cents
from money.forecast.budgets import Standing
from money.quantities import Book, Part, Quantities
from money.report import __main__ as command
from money.report.costs_csv import costs_csv
from money.report.figures import CENT, in_cents
from money.report.page import MonthOf, Report, page
from money.report.scorecard import scorecard
from money.traffic import coverage
from money.what_if.__main__ import main as what_if
from tests.money.books import contract, per_address, per_gb, per_request, per_success
from tests.money.fleet import Behaviour, seeded_book
from tests.money.ledger_server import serving

BEHAVIOURS = {
    ("vendor-a", "shops"): Behaviour(success=0.72, page=210e3),
    ("vendor-b", "shops"): Behaviour(success=0.94, page=230e3),
    ("vendor-c", "news"): Behaviour(success=0.97, page=60e3),
}
SHARES = {"shops": {"vendor-a": 900, "vendor-b": 300}, "news": {"vendor-c": 210}}
CONTRACTS = (
    contract("vendor-a", per_gb(("40", "8.4"), (None, "7"))),
    contract("vendor-b", per_success("0.0021"), monthly="300"),
    contract("vendor-c", per_address("1.2", 50), per_request("0.0009"), currency="EUR"),
)
END = datetime(2026, 12, 1, tzinfo=UTC)
TABLES = {"By vendor", "By product", "By team", "By target group", "What the money is for"}


def report(
    book: Book, contracts: tuple[Contract, ...] = CONTRACTS, **more: object
) -> tuple[Report, Month]:
    month = month_charges(book, contracts, 2026, 11)
    made = Report(
        stack="prod",
        this=MonthOf(
            book=book, month=month, contracts=contracts, recorded=coverage(book, 2026, 11, END)
        ),
        earlier=(),
        scores=scorecard(book, month),
        p95=None,
        budgets=(),
        reconciliations=(),
        until=END,
        made=END,
    )
    return replace(made, **more), month


class Tables(HTMLParser):
    """Reads a page's tables, by the heading above each."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[tuple[str, list[list[str]]]] = []
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self._heading, self._tag = "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._tag = tag
        if tag in ("h2", "h3"):
            self._heading = ""
        elif tag == "table":
            self.tables.append((self._heading, []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][1][-1].append("")

    def handle_data(self, data: str) -> None:
        if self._tag in ("h2", "h3"):
            self._heading += data
        elif self._tag in ("td", "th"):
            self.tables[-1][1][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""


def read(text: str) -> Tables:
    found = Tables()
    found.feed(text)
    return found


@given(st.lists(st.decimals(min_value=0, max_value=10**6, places=12), min_size=1, max_size=30))
def test_cents_add_up(amounts: list[Decimal]) -> None:
    """No table is a cent off its total, and no line a cent off the truth."""
    exact = dict(enumerate(amounts))
    shown = in_cents(exact)
    assert sum(shown.values()) == sum(amounts).quantize(CENT, rounding="ROUND_HALF_UP")
    assert all(abs(shown[key] - amount) < CENT for key, amount in exact.items())


def test_every_table_of_a_currency_has_the_same_total() -> None:
    """A reader who adds up a column with a pencil gets the number at its foot, in each view."""
    made, month = report(seeded_book(3, BEHAVIOURS, SHARES))
    totals = []
    for heading, rows in read(page(made)).tables:
        if heading in TABLES:
            column = rows[0].index("Cost")
            *lines, last = ([Decimal(row[column].replace(",", ""))] for row in rows[1:])
            assert sum(line[0] for line in lines) == last[0], heading
            totals.append(last[0])
    of = {
        currency: sum(one.cost for one in month.charges if one.currency == currency)
        for currency in ("EUR", "USD")
    }
    expected = [of["EUR"].quantize(CENT)] * len(TABLES) + [of["USD"].quantize(CENT)] * len(TABLES)
    assert totals == expected


def test_the_page_loads_nothing() -> None:
    """The page can be mailed and archived: it has no script, and asks no server for anything."""
    budget = Standing(
        budget=Budget(name="all", limit=Decimal(10), currency="USD"),
        used=Decimal(4),
        forecast={"low": Decimal(8), "expected": Decimal(9), "high": Decimal(11)},
        runs_out=END - timedelta(days=3),
    )
    book = seeded_book(3, BEHAVIOURS, SHARES, days=2)
    text = page(report(book, budgets=(budget,), until=END - timedelta(days=9))[0])
    assert not re.search(r"https?:|url\(|@import|//", text.replace("http-equiv", ""))
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in read(text).tags}
    assert "28 Nov" in text


def test_no_label_becomes_markup() -> None:
    """A vendor, product, team or site of any name is text on the page, in pictures as well."""
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    part = Part(evil, evil, evil, evil)
    other = part._replace(vendor="vendor-z")
    book = seeded_book(3, BEHAVIOURS, SHARES, days=1)
    hours = {
        hour: dict.fromkeys((part, other), next(iter(parts.values())))
        for hour, parts in book.hours.items()
    }
    made, _ = report(
        replace(book, hours=hours),
        (contract(evil, per_request("0.01"), currency="<i>"),),
        reconciliations=({"vendor": evil, "status": 1, "sentence": evil},),
        p95={evil: 1.0},
        stack=evil,
    )
    found = read(page(made))
    assert not {"script", "img", "i"} & {tag for tag, _ in found.tags}
    assert not [attrs for _, attrs in found.tags if any(name.startswith("on") for name in attrs)]
    assert any(evil in row for _, rows in found.tables for row in rows)


def test_traffic_without_a_price_is_named() -> None:
    """A sum that leaves traffic out says so at the top, and how much that is."""
    text = page(report(seeded_book(3, BEHAVIOURS, SHARES, days=2), CONTRACTS[:2])[0])
    assert re.search(r"No price for vendor-c, residential: [\d,]+ requests", text)


def test_missing_hours_are_named() -> None:
    """A month that was recorded for two days is not shown as a whole one."""
    text = page(report(seeded_book(3, BEHAVIOURS, SHARES, days=2))[0])
    assert "Only 6.7% of the hours were recorded" in text


def test_the_csv_adds_up_to_the_month() -> None:
    """Whoever sums up the table in a spreadsheet gets the month, whatever they group by."""
    book = seeded_book(3, BEHAVIOURS, SHARES)
    month = month_charges(book, CONTRACTS, 2026, 11)
    rows = list(csv.DictReader(io.StringIO(costs_csv(book, month))))
    assert sum(Decimal(row["cost"]) for row in rows) == sum(one.cost for one in month.charges)
    for row in rows:
        kinds = (Decimal(row[name]) for name in ("usage", "commitment", "addresses"))
        assert sum(kinds) == Decimal(row["cost"])
    requests = sum(
        sum(one.requests.values()) for parts in book.hours.values() for one in parts.values()
    )
    assert sum(float(row["requests"]) for row in rows) == pytest.approx(requests)


STACK = """
config:
  proxy-observability:cluster: test
  proxy-observability:vendors:
    - name: vendor-a
      cidrs: [10.1.0.0/16]
      billing:
        currency: USD
        perGB: {tiers: [{upTo: 40, price: 8.4}, {price: 7}], unit: GB, counts: wire}
    - name: vendor-b
      cidrs: [10.2.0.0/16]
      billing:
        currency: USD
        perSuccess: {per1000: 2.1, outcomes: [success]}
        commit: {monthly: 300}
  proxy-observability:budgets:
    - {name: the-a, vendor: vendor-a, limit: {money: 650, currency: USD}}
"""


def november_traffic() -> Book:
    return seeded_book(3, BEHAVIOURS, {"shops": SHARES["shops"]})


def october_traffic() -> Book:
    """Return a month of which the first 12 days were not recorded."""
    later = seeded_book(4, BEHAVIOURS, {"shops": SHARES["shops"]}, days=19)
    hours = {hour - timedelta(days=19): parts for hour, parts in later.hours.items()}
    return Book(hours=hours, wire={}, coverage=dict.fromkeys(hours, 1.0))


@pytest.fixture(scope="module")
def ledger_url(tmp_path_factory: pytest.TempPathFactory):
    """Run a Prometheus that has the traffic of October and November."""
    folder = tmp_path_factory.mktemp("ledger")
    november, before = november_traffic(), october_traffic()
    outside = Part("outside", "", "team-shops", "")
    november.hours[min(november.hours)][outside] = Quantities(bytes_sent={"": 5e9})
    hours = {**before.hours, **november.hours}
    whole = Book(hours=hours, wire={}, coverage=dict.fromkeys(hours, 1.0))
    fill(folder / "data", whole, days=True)
    with serving(folder / "data") as server:
        yield server.url


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    file = tmp_path / "Pulumi.test.yaml"
    file.write_text(STACK)
    monkeypatch.setenv("STACK_FILE", str(file))
    monkeypatch.setenv("LEDGER_URL", ledger_url)
    monkeypatch.delenv("PROMETHEUS_URL", raising=False)


@pytest.mark.usefixtures("stack")
def test_make_report_writes_what_the_ledger_says(tmp_path: Path) -> None:
    """From a real Prometheus to the page: the sum is that of the traffic that was written."""
    out = tmp_path / "out"
    assert command.main(["--month", "2026-11", "--out", str(out)], END) == 0
    found = json.loads((out / "report.json").read_text())
    expected = month_charges(november_traffic(), CONTRACTS[:2], 2026, 11)
    assert found["costs"]["USD"]["cost"] == str(cents(sum(one.cost for one in expected.charges)))
    before = month_charges(october_traffic(), CONTRACTS[:2], 2026, 10, through=date(2026, 10, 31))
    tables = read((out / "report.html").read_text()).tables
    (trend,) = (rows for heading, rows in tables if heading == "By month")
    assert [(month, cost) for month, cost, *_ in trend[1:]] == [
        (month, f"{cents(sum(one.cost for one in charges)):,}")
        for month, charges in (
            ("2026-10 (61% recorded)", before.charges),
            ("2026-11", expected.charges),
        )
    ]
    assert found["coverage"] == 1
    assert [one["verdict"] for one in found["scorecard"]] == ["best", "dearer"]
    low, value, high = found["scorecard"][0]["costPerSuccess"]
    assert low < value < high
    assert "outside" not in (out / "costs.csv").read_text()
    for name in ("report.html", "costs.csv", "focus.csv"):
        assert (out / name).stat().st_size > 1000
    assert not list(out.glob("*.tmp"))


@pytest.mark.usefixtures("stack")
def test_a_running_month_shows_where_a_budget_will_end(tmp_path: Path) -> None:
    """On the 20th, the page has the month to date, and when the money will have run out."""
    now = datetime(2026, 11, 20, 0, 30, tzinfo=UTC)
    assert command.main(["--month", "2026-11", "--out", str(tmp_path)], now) == 0
    text = (tmp_path / "report.html").read_text()
    assert "The month is not over: figures are up to 2026-11-" in text
    (budget,) = (rows[1] for heading, rows in read(text).tables if rows[0][0] == "Budget")
    name, _, limit, _, forecast, reached = budget
    assert (name, limit) == ("the-a", "650.00 USD")
    assert re.fullmatch(r"[\d,.]+ \([\d,.]+ to [\d,.]+\)", forecast)
    assert reached.endswith(" Nov")
    assert int(reached.split()[0]) > 20


@pytest.mark.usefixtures("stack")
def test_make_what_if_asks_the_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says what changes, with its interval, and writes it."""
    arguments = ["--move", "vendor-a:vendor-b:30%", "--target", "shops", "--month", "2026-11"]
    assert what_if([*arguments, "--out", str(tmp_path)], END) == 0
    found = json.loads((tmp_path / "what-if.json").read_text())
    assert found["successes"]["then"] > found["successes"]["now"]
    assert found["money"]["USD"]["error"] > 0
    said = capsys.readouterr().out
    assert "cost, USD" in said
    assert re.search(r"1,000 successes more cost \d+\.\d{4} USD", said)


@pytest.mark.usefixtures("stack")
def test_a_vendor_of_a_move_must_be_the_stacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in a name is called one, and not a month without traffic."""
    arguments = ["--move", "vendor-z:vendor-b:30%", "--month", "2026-11", "--out", str(tmp_path)]
    assert what_if(arguments, END) == 2
    assert "MOVE: vendor-z is no vendor; name two of vendor-a" in capsys.readouterr().err


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--month", "2026-13"], "MONTH: '2026-13' is no month"),
        (["--month", "2099-01"], "has not begun"),
        (["--month", "2026-02"], "the ledger has nothing of 2026-02"),
    ],
)
def test_a_month_that_cannot_be_had_is_named(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No page is written for a month that there is nothing of, and exit code 2 says so."""
    assert command.main([*arguments, "--out", str(tmp_path)], END) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_a_ledger_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the variable that is wrong, and shows no password."""
    (tmp_path / "Pulumi.test.yaml").write_text(STACK)
    monkeypatch.setenv("STACK_FILE", str(tmp_path / "Pulumi.test.yaml"))
    monkeypatch.setenv("LEDGER_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("LEDGER_USERNAME", "someone")
    monkeypatch.setenv("LEDGER_PASSWORD", "hunter2")
    assert command.main(["--month", "2026-11", "--out", str(tmp_path)], END) == 2
    said = capsys.readouterr().err
    assert "is LEDGER_URL right?" in said
    assert "hunter2" not in said
