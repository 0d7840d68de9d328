"""Contracts and budgets as JSON, for a program that has no settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any

from money.contract import Budget, Contract, Rule, Tier


def written(contracts: Sequence[Contract], budgets: Sequence[Budget] = ()) -> str:
    """Write a stack's contracts and budgets; equal ones give equal text."""
    content = {
        "contracts": [contract_as_json(one) for one in contracts],
        "budgets": [{**asdict(one), "limit": str(one.limit)} for one in budgets],
    }
    return json.dumps(content, indent=1) + "\n"


def read(text: str) -> tuple[tuple[Contract, ...], tuple[Budget, ...]]:
    """Read what `written` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        content = json.loads(text)
        return (
            tuple(contract_of_json(one) for one in content["contracts"]),
            tuple(Budget(**{**one, "limit": Decimal(one["limit"])}) for one in content["budgets"]),
        )
    except (KeyError, TypeError, ArithmeticError) as error:
        raise ValueError(f"holds no contracts ({type(error).__name__} {error})") from None


def contract_as_json(contract: Contract) -> dict[str, Any]:
    return {
        "vendor": contract.vendor,
        "product": contract.product,
        "currency": contract.currency,
        "validFrom": contract.valid_from and contract.valid_from.isoformat(),
        "rules": [rule_as_json(rule) for rule in contract.rules],
        "commitment": str(contract.commitment),
        "included": str(contract.included),
    }


def contract_of_json(said: dict[str, Any]) -> Contract:
    return Contract(
        vendor=said["vendor"],
        product=said["product"],
        currency=said["currency"],
        valid_from=said["validFrom"] and date.fromisoformat(said["validFrom"]),
        rules=tuple(rule_of_json(rule) for rule in said["rules"]),
        commitment=Decimal(said["commitment"]),
        included=Decimal(said["included"]),
    )


def rule_as_json(rule: Rule) -> dict[str, Any]:
    return {
        "kind": rule.kind,
        "tiers": [[each.up_to and str(each.up_to), str(each.price)] for each in rule.tiers],
        "unit": rule.unit,
        "counts": rule.counts,
        "overhead": [rule.overhead_bytes_per_tunnel, rule.overhead_bytes_per_request],
        "free": sorted(rule.free_results),
        "successes": sorted(rule.successes),
        "addresses": rule.addresses,
    }


def rule_of_json(said: dict[str, Any]) -> Rule:
    tunnel, request = said["overhead"]
    return Rule(
        kind=said["kind"],
        tiers=tuple(
            Tier(up_to=up_to and Decimal(up_to), price=Decimal(price))
            for up_to, price in said["tiers"]
        ),
        unit=said["unit"],
        counts=said["counts"],
        overhead_bytes_per_tunnel=tunnel,
        overhead_bytes_per_request=request,
        free_results=frozenset(said["free"]),
        successes=frozenset(said["successes"]),
        addresses=said["addresses"],
    )
