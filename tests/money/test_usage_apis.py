"""Importers of vendors' usage APIs, against servers that answer as documented."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from money.usage import asking
from money.usage.account import Account, Credentials
from money.usage.apis import APIS, usage_of
from money.usage.figures import UsageError
from tests.money.usage_servers import ANSWERS, Asked, Page, serving

END = datetime.now(UTC).date()
START = END - timedelta(days=10)
"""Of the last days: Oxylabs and Webshare keep no others."""

SECRET = "s3cret-K3y"
CREDENTIALS = Credentials(token=SECRET, username="main-user", password=SECRET)


def account(api: str, url: str, **more: Any) -> Account:
    products = {
        "bright-data": {"resi": "residential"},
        "decodo": {"residential_proxies": "residential"},
        "oxylabs": {"4711": "residential"},
    }
    return Account(
        **{
            "vendor": "vendor-a",
            "api": api,
            "url": url,
            "organization": "7",
            "unit": "GB",
            "products": products.get(api, {}),
            **more,
        }
    )


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(asking.time, "sleep", lambda _: None)


@contextlib.contextmanager
def changed(api: str, change: Callable[[Asked, Any], Any]) -> Iterator[Page]:
    """Serve what is documented, but for a change."""
    with serving(lambda asked: change(asked, ANSWERS[api](asked))) as server:
        yield server


def refusal(api: str, change: Callable[[Asked, Any], Any], **more: Any) -> str:
    with changed(api, change) as server, pytest.raises(UsageError) as error:
        usage_of(account(api, server.url, **more), CREDENTIALS, START, END)
    text = str(error.value)
    assert "\n" not in text
    assert SECRET not in text
    return text


def is_figures(asked: Asked) -> bool:
    """Whether this request is for the days, and not a login or the cost."""
    return asked.path not in ("/v2/login", "/zone/cost") and "client-stats" not in asked.path


EXPECTED = {
    # Bytes of the first day, of the second, requests and cost of the first.
    "bright-data": (10**9, 2 * 10**9, 10, None),
    "decodo": (1000, 2000, None, None),
    "oxylabs": (START.day * 10**9 / 4, (START + timedelta(days=1)).day * 10**9 / 4, 10, None),
    "oxylabs-unblocker": (1900, 2900, None, None),
    "webshare": (7000, 14000, 9, None),
    "zyte": (7, 14, 40, Decimal("0.052")),
}


@pytest.mark.parametrize("api", APIS)
def test_documented_answer_is_read(api):
    """A vendor answers as its pages say, and each day has its figures in the stack's words."""
    with serving(ANSWERS[api]) as server:
        found = usage_of(account(api, server.url), CREDENTIALS, START, END)
    assert [row.day for row in found.rows] == [START + timedelta(days=n) for n in range(10)]
    first, second = found.rows[:2]
    assert (first.bytes, second.bytes, first.requests, first.cost) == EXPECTED[api]
    assert found.time_zone == "UTC"


@pytest.mark.parametrize("api", APIS)
def test_credentials_are_in_the_header_alone(api):
    with serving(ANSWERS[api]) as server:
        usage_of(account(api, server.url), CREDENTIALS, START, END)
    for asked in server.asked:
        assert asked.login
        assert SECRET not in json.dumps([asked.path, asked.query, asked.json])
    assert SECRET not in repr(CREDENTIALS)


@pytest.mark.parametrize("api", APIS)
def test_daily_bytes_are_numbers_by_day(api):
    with serving(ANSWERS[api]) as server:
        found = usage_of(account(api, server.url), CREDENTIALS, START, END).daily_bytes()
    assert list(found) == [START + timedelta(days=n) for n in range(10)]
    assert found[START] == float(EXPECTED[api][0])


def figures_of(answer: Any, api: str) -> tuple[Any, Any]:
    """Return the container of an answer's last figure of bytes, and its key."""
    return {
        "bright-data": lambda: (answer["c_1"]["data"]["resi"]["bw_sum"], -1),
        "decodo": lambda: (answer["data"][-1], "rx_tx_bytes"),
        "oxylabs": lambda: (answer, "traffic"),
        "oxylabs-unblocker": lambda: (answer["data"]["sources"][-1], "response_traffic"),
        "webshare": lambda: (answer[-2], "bandwidth_total"),
        "zyte": lambda: (answer["results"][-1], "billed_traffic_bytes"),
    }[api]()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1,5", "is text|is no number"),  # a locale's comma
        ("1.5 GB", "is text|is no number"),  # a unit that the answer brings along
        (-1, "is negative"),
        (None, "is no number"),
        (True, "is no number"),
        (float("nan"), "no JSON"),
        (10**30, "more than any"),
    ],
)
@pytest.mark.parametrize("api", APIS)
def test_figure_that_is_no_number_is_refused(api, value, said):
    def change(asked, answer):
        if is_figures(asked):
            container, key = figures_of(answer, api)
            container[key] = value
        return answer

    text = refusal(api, change)
    assert any(one in text for one in said.split("|")), text


@pytest.mark.parametrize("api", APIS)
def test_other_unit_is_refused(api):
    """GB in place of bytes have fractions; bytes in place of GB are too much for their requests."""

    def change(asked, answer):
        if is_figures(asked):
            container, key = figures_of(answer, api)
            container[key] = {"oxylabs": 10**9 * 20, "oxylabs-unblocker": "1.5"}.get(api, 1.5)
        return answer

    assert "unit" in refusal(api, change) or "in bytes" in refusal(api, change)


@pytest.mark.parametrize("api", APIS)
def test_missing_day_is_refused(api):
    """Nothing is half-imported: a day that is not there is not taken for one without traffic."""

    def change(asked, answer):
        match api:
            case "bright-data" if is_figures(asked):
                answer["c_1"]["data"]["resi"]["bw_sum"].pop()
            case "decodo":
                answer["data"].pop(3)
            case "oxylabs" if "date" in asked.query and asked.query["date"] > str(START):
                return 404, b'{"message": "No stats"}'
            case "oxylabs-unblocker":
                answer["data"]["sources"].pop(3)
            case "webshare":
                del answer[3]["timestamp"]
            case "zyte" if asked.query["page"] == "2":
                answer["results"].pop()
        return answer if not (api == "zyte" and asked.query["page"] == "3") else {
            **answer, "results": []
        }  # fmt: skip

    text = refusal(api, change)
    assert any(one in text for one in ("days", "day", "adds up", "404", "lacks", "rows")), text


@pytest.mark.parametrize("api", APIS)
def test_other_time_zone_is_refused(api):
    """Days of another time zone, or of none that is said, are not taken for days of UTC."""

    def change(asked, answer):
        if not is_figures(asked):
            return answer
        match api:
            case "bright-data":
                answer["c_1"]["from"] = f"{START}T00:00:00.000-08:00"
            case "decodo":
                answer["data"][0]["grouping_key"] = f"{START}T00:00:00-08:00"
            case "oxylabs":
                return {"message": "time_zone is not valid"}
            case "oxylabs-unblocker":
                answer["data"]["sources"][0]["date"] = f"{START}T00:00:00+02:00"
            case "webshare":
                answer[0]["timestamp"] = f"{START}T01:00:00"
            case "zyte":
                answer["results"][0]["day"] = f"{START}T00:00:00+02:00"
        return answer

    text = refusal(api, change)
    assert any(one in text for one in ("time zone", "midnight", "lacks", "span")), text


@pytest.mark.parametrize("api", APIS)
def test_truncated_answer_is_refused(api):
    def change(_, answer):
        return json.dumps(answer).encode()[:-9]

    assert "half of one" in refusal(api, change)


@pytest.mark.parametrize("api", APIS)
def test_page_of_html_is_refused(api):
    def change(_, __):
        return b"\n<!DOCTYPE html><title>Sign in</title>"

    assert "HTML" in refusal(api, change)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "credentials are wrong"), (429, "too often"), (500, "500"), (302, "redirects")],
)
def test_refused_request_is_explained(api, status, said):
    """What the vendor says of it is not repeated: it may quote the credentials."""
    assert said in refusal(api, lambda *_: (status, SECRET.encode()))


@pytest.mark.parametrize("api", APIS)
def test_missing_credentials_are_named(api):
    with pytest.raises(UsageError, match=r"USAGE_(TOKEN|USERNAME): is not set"):
        usage_of(account(api, "http://127.0.0.1:9"), Credentials(), START, END)


def test_credential_that_no_header_can_hold_is_not_shown():
    """The HTTP library would quote it in its error."""
    with pytest.raises(UsageError) as error:
        usage_of(
            account("decodo", "http://127.0.0.1:9"), Credentials(token="two\nlines"), START, END
        )
    assert "two" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["http://vendor.example", "https://user:s3cret-K3y@vendor.example", "ftp://x", "nonsense"],
)
def test_address_without_tls_or_with_credentials_is_refused(url):
    with pytest.raises(UsageError, match="USAGE_URL") as error:
        usage_of(account("decodo", url), CREDENTIALS, START, END)
    assert SECRET not in str(error.value)


def test_answer_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(asking, "MOST_BYTES", 1000)
    assert "more than" in refusal("decodo", lambda *_: b"1" * 2000)


def test_server_that_is_away_is_named():
    with pytest.raises(UsageError, match="cannot be reached"):
        usage_of(account("decodo", "http://127.0.0.1:9"), CREDENTIALS, START, END)


def test_bright_data_asks_for_the_day_after_the_last():
    """`to` is exclusive: with the month's last day, that day would be missing."""
    with serving(ANSWERS["bright-data"]) as server:
        found = usage_of(account("bright-data", server.url), CREDENTIALS, START, END)
    assert [asked.query["to"][:10] for asked in server.asked] == [str(END), str(END)]
    assert found.costs == {"residential": Decimal("8.4")}
    assert found.currency == "USD"


def test_bright_data_refuses_a_cost_of_other_bytes():
    def change(asked, answer):
        if asked.path == "/zone/cost":
            answer["c_1"]["custom"]["bw"] *= 2
        return answer

    assert "add up to" in refusal("bright-data", change)


def test_decodo_total_stands_in_two_places():
    """Some answers have it in `metadata`, some in its `totals`."""

    def change(_, answer):
        answer["metadata"] = answer["metadata"]["totals"]
        return answer

    with changed("decodo", change) as server:
        found = usage_of(account("decodo", server.url), CREDENTIALS, START, END)
    assert sum(found.daily_bytes().values()) == 55_000


def test_zyte_decimals_are_text_or_numbers():
    def change(_, answer):
        for row in answer["results"]:
            row["cost_microusd_total"] = 52000.5
        return answer

    with changed("zyte", change) as server:
        found = usage_of(account("zyte", server.url), CREDENTIALS, START, END)
    assert found.rows[0].cost == Decimal("0.0520005")


def test_zyte_days_without_requests_are_zero():
    """No row means no request, as Zyte's schema has none of 0."""

    def change(_, answer):
        return {**answer, "results": answer["results"][:1], "total_result_count": 1}

    with changed("zyte", change) as server:
        found = usage_of(account("zyte", server.url), CREDENTIALS, START, END)
    assert [row.requests for row in found.rows] == [40, *[0] * 9]


def test_webshare_projections_are_left_out():
    """Future hours come as if they had been used."""
    with serving(ANSWERS["webshare"]) as server:
        found = usage_of(account("webshare", server.url), CREDENTIALS, START, END)
    assert sum(found.daily_bytes().values()) == 7000 * 55


def test_oxylabs_needs_its_gigabyte():
    """No page says whether it is 10^9 or 2^30 bytes; 7 % of the invoice depend on it."""
    with pytest.raises(UsageError, match=r"usage\.unit"):
        usage_of(account("oxylabs", "", unit=""), CREDENTIALS, START, END)
    with serving(ANSWERS["oxylabs"]) as server:
        found = usage_of(account("oxylabs", server.url, unit="GiB"), CREDENTIALS, START, END)
    assert found.rows[0].bytes == START.day * 2**30 / Decimal(4)


def test_oxylabs_refuses_days_it_has_dropped():
    with pytest.raises(UsageError, match="keeps 30 days"):
        usage_of(account("oxylabs", ""), CREDENTIALS, date(2026, 1, 1), date(2026, 2, 1))


def test_oxylabs_says_what_other_sub_users_used():
    first = END.replace(day=1)
    if first == END:
        first = (first - timedelta(days=1)).replace(day=1)

    def change(asked, answer):
        return {**answer, "traffic": 1000.0} if "client-stats" in asked.path else answer

    with changed("oxylabs", change) as server:
        found = usage_of(account("oxylabs", server.url), CREDENTIALS, first, END)
    is_this_month = first.month == END.month
    assert bool(found.notes) is is_this_month


def test_unknown_api_lists_the_known():
    with pytest.raises(UsageError, match="bright-data, decodo"):
        usage_of(account("netnut", ""), CREDENTIALS, START, END)


def test_name_that_would_change_the_path_is_refused():
    with pytest.raises(UsageError, match=r"usage\.products"):
        usage_of(account("oxylabs", "", products={"../1": "x"}), CREDENTIALS, START, END)


@pytest.mark.parametrize(
    "number", ["1e9999999999999999999", "1e-9999999999999999999", "1e-999999999"]
)
def test_a_number_that_no_arithmetic_can_hold_is_refused(number):
    """As a fraction, the last has a billion digits."""

    def change(asked: Asked, answer: Any) -> Any:
        if asked.path != "/zone/cost":
            return answer
        answer["c_1"]["custom"]["cost"] = "?"
        return json.dumps(answer).replace('"?"', number).encode()

    assert "vendor-a" not in refusal("bright-data", change)


@pytest.mark.parametrize("ending", ["\r\nX: y", "\u20ac", "\ud800"])
def test_a_token_of_the_vendors_that_cannot_be_sent_is_not_shown(ending):
    """The HTTP library's own error quotes it, and nobody had caught that."""

    def change(asked: Asked, answer: Any) -> Any:
        return {**answer, "token": SECRET + ending} if asked.path == "/v2/login" else answer

    with changed("oxylabs", change) as server, pytest.raises(UsageError) as error:
        usage_of(account("oxylabs", server.url), CREDENTIALS, START, END)
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None
    assert "holds a character" in str(error.value)


@pytest.mark.parametrize(
    "url", ["https://[::1", "https://x\u2100.example", "https://..", "https://x/\u00e9"]
)
def test_an_address_that_makes_no_sense_is_refused(url):
    with pytest.raises(UsageError, match="USAGE_URL"):
        usage_of(account("decodo", url), CREDENTIALS, START, END)


@pytest.mark.parametrize("wrong", ["main\nuser", "main\udcff"])
def test_a_login_that_cannot_be_sent_is_refused(wrong):
    credentials = Credentials(username=wrong, password=SECRET)
    with pytest.raises(UsageError, match=r"^USAGE_USERNAME: holds a character"):
        usage_of(account("oxylabs", "http://127.0.0.1:1"), credentials, START, END)
