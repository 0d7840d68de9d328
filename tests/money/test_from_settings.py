"""A stack's prices arrive in the arithmetic as they are written."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
import yaml

from money.as_json import read, written
from money.contract import Rule, Tier
from money.from_settings import budgets_of, contracts_of
from settings.loading import PROJECT, parse_settings, settings_of_config
from settings.presets import preset, preset_names
from tests.money.books import FIVE_CONTRACTS
from tests.settings.table import COMPLETE


def contracts(*vendors):
    return contracts_of(parse_settings({"cluster": "dev", "vendors": list(vendors)}))


def test_every_key_of_a_billing_reaches_the_contract():
    """A key that is lost would change an invoice in silence."""
    stack = parse_settings(yaml.safe_load(COMPLETE))
    own, first, second = contracts_of(stack)
    assert (own.vendor, own.product, own.currency) == ("vendor-a", "", "USD")
    assert own.valid_from == date(2026, 11, 1)
    assert (own.commitment, own.included) == (500, 60)
    by_bytes, by_success, by_address = own.rules
    assert by_bytes == Rule(
        kind="perGB",
        tiers=(
            Tier(up_to=Decimal(100), price=Decimal("8.4")),
            Tier(up_to=None, price=Decimal(7)),
        ),
        unit="GB",
        counts="target",
        overhead_bytes_per_tunnel=250,
        overhead_bytes_per_request=60,
        free_results=frozenset({"failed"}),
    )
    assert (by_success.tiers[0].price, by_success.successes) == (Decimal("0.003"), {"success"})
    assert (by_address.tiers[0].price, by_address.addresses) == (Decimal("1.2"), 100)
    assert [(one.product, one.valid_from) for one in (first, second)] == [
        ("mobile", None),
        ("mobile", date(2026, 12, 1)),
    ]
    assert [(budget.name, budget.limit, budget.currency) for budget in budgets_of(stack)] == [
        ("all", 500, "USD"),
        ("mobile", 300, ""),
    ]


@pytest.mark.parametrize("written_as", ["8.4", "'8.4'", "8.40", "0.1", "0.00001", "12"])
def test_a_price_is_the_digits_that_are_written(written_as):
    """8.4 as a float is 8.4000000000000003553."""
    price = yaml.safe_load(written_as)
    (one,) = contracts(vendor({"currency": "USD", "perGB": {"price": price, "unit": "GB"}}))
    assert one.rules[0].tiers[0].price == Decimal(written_as.strip("'"))


@pytest.mark.parametrize("day", ["2026-11-01", "2026-11-01 00:00:00 +0000 UTC"])
def test_a_day_survives_pulumis_engine(day):
    """The engine hands a date over as Go prints a time (pulumi/pulumi, config/object.go)."""
    billing = {"currency": "USD", "validFrom": day, "perRequest": {"per1000": 1}}
    values = {f"{PROJECT}:cluster": "dev", f"{PROJECT}:vendors": [vendor(billing)]}
    (one,) = contracts_of(settings_of_config(values, ()))
    assert one.valid_from == date(2026, 11, 1)


def vendor(billing, **more):
    return {"name": "vendor-a", "cidrs": ["10.1.0.0/16"], "billing": billing, **more}


def test_a_preset_completes_a_price_with_what_its_vendor_documents():
    """The stack writes the price alone; a key that it writes is its own."""
    bright = {"name": "bright", "preset": "bright-data"}
    (one,) = contracts({**bright, "billing": {"perGB": {"price": 8.4}}})
    rule = one.rules[0]
    assert (one.currency, rule.unit, rule.counts, rule.free_results) == (
        *("USD", "GB", "target"),
        frozenset({"failed"}),
    )
    own = {"currency": "EUR", "perGB": {"price": 8.4, "counts": "wire"}, "free": []}
    (one,) = contracts({**bright, "billing": [own]})
    assert (one.currency, one.rules[0].counts, one.rules[0].free_results) == (
        *("EUR", "wire"),
        frozenset(),
    )


def test_a_preset_completes_the_prices_of_products():
    """A zone of its own price is counted as the vendor counts."""
    products = [{"user": "*-zone-resi*", "name": "residential", "billing": {"perGB": {"price": 8}}}]
    (one,) = contracts({"name": "bright", "preset": "bright-data", "products": products})
    assert (one.product, one.rules[0].unit, one.rules[0].counts) == ("residential", "GB", "target")


def test_a_preset_brings_no_kind_that_the_stack_has_no_price_for():
    """Datacenter addresses are rented: what is said of bytes does not apply."""
    billing = {"perAddressMonth": {"price": 1, "addresses": 10}}
    (one,) = contracts({"name": "bright", "preset": "bright-data", "billing": billing})
    assert [rule.kind for rule in one.rules] == ["perAddressMonth"]


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_has_no_price(name):
    """A vendor without the stack's own price has none: alert PriceMissing."""
    assert contracts({"name": "a", "preset": name}) == ()
    assert preset(name).example().billing is None


def test_contracts_and_budgets_survive_json():
    """The exporter has no settings: it reads what the stack's program wrote."""
    stack = parse_settings(yaml.safe_load(COMPLETE))
    both = (*contracts_of(stack), *FIVE_CONTRACTS), budgets_of(stack)
    text = written(*both)
    assert read(text) == both
    assert written(*read(text)) == text


@pytest.mark.parametrize("text", ["{}", "[]", '{"contracts": [{}], "budgets": []}', "<html>"])
def test_other_json_is_refused(text):
    """A ConfigMap that is cut off is an error, and no stack without prices."""
    with pytest.raises(ValueError):
        read(text)
