"""What runs the exporter of costs and budgets: its program, contracts and command; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.prometheus.config import MONEY_PORT
from components.repository_files import ProgramFiles, exporter_files
from components.tls import CA_KEY
from money.as_json import written
from money.from_settings import budgets_of, contracts_of
from money.usage.account import Account
from money.usage.from_settings import account_of
from money.usage.scheduled import accounts_json
from settings.money_exporter import MoneyExporter
from settings.stack import StackSettings

PROGRAM = "/program"
CONTRACTS = "/contracts"
CONTRACTS_FILE = "contracts.json"
ACCOUNTS_FILE = "accounts.json"
CREDENTIALS = "/credentials"
LOGIN = "/login"
TLS = "/tls"


@dataclass(frozen=True, kw_only=True)
class ExporterPlan:
    """The settings, the program, and what the program is told."""

    section: MoneyExporter
    program: ProgramFiles
    contracts: str
    """JSON of the stack's contracts and budgets."""
    accounts: str
    """JSON of the vendors whose usage is asked for."""
    secrets: Mapping[str, str]
    """The Secret of each of these."""
    cluster: str | None
    """Whose hours it reads of a store that others may use too; None for the stack's own ledger."""


def exporter_plan(settings: StackSettings) -> ExporterPlan | None:
    """Return what exports a stack's money; None where no hours are kept."""
    if not settings.records_hours:
        return None
    return ExporterPlan(
        section=settings.money_exporter,
        program=exporter_files(),
        contracts=written(contracts_of(settings), budgets_of(settings)),
        accounts=accounts_json(accounts_of(settings)),
        secrets=settings.money_exporter.usage_secrets,
        cluster=None if settings.runs_ledger else settings.cluster,
    )


def accounts_of(settings: StackSettings) -> list[Account]:
    """Return whose usage is asked for: the vendors with a Secret."""
    named = (one for one in settings.vendors if one.name in settings.money_exporter.usage_secrets)
    return [account for vendor in named if (account := account_of(vendor))]


def exporter_command(
    plan: ExporterPlan, ledger_url: str, *, with_login: bool, with_tls: bool
) -> list[str]:
    """Return the container's command.

    Args:
        with_login: whether the ledger asks for one.
        with_tls: whether the ledger's certificate is of the stack's own CA.
    """
    return [
        *("python", "-m", "money.exporter"),
        f"--ledger={ledger_url}",
        *([f"--login={LOGIN}"] if with_login else ()),
        *([f"--ca={TLS}/{CA_KEY}"] if with_tls else ()),
        *([f"--cluster={plan.cluster}"] if plan.cluster else ()),
        f"--contracts={CONTRACTS}/{CONTRACTS_FILE}",
        *(
            (f"--accounts={CONTRACTS}/{ACCOUNTS_FILE}", f"--credentials={CREDENTIALS}")
            if plan.secrets
            else ()
        ),
        f"--port={MONEY_PORT}",
    ]
