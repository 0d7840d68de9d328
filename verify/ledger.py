"""Does the ledger take in what each hour carried?"""

from __future__ import annotations

from books.prometheus import Prometheus
from money.ledger import COVERAGE
from verify.check import Check

AGE = f"time() - max(timestamp({COVERAGE}))"
MOST_SECONDS = 2400.0
"""As the alert LedgerStale."""


def ledger_check(ledger: Prometheus) -> Check:
    """Ask for its targets, and how old its newest hours are.

    Raises:
        PrometheusError: it does not answer.
    """
    targets = ledger.get("targets", state="active")["activeTargets"]
    down = [target for target in targets if target["health"] == "down"]
    age = ledger.query(AGE)
    said = f"it asked {float(age[0]['value'][1]) / 60:.0f} minutes ago" if age else "no hour yet"
    findings = [
        f"ledger: {target['scrapeUrl']} does not answer it ({target.get('lastError', '')[:160]}); "
        "see docs/runbooks/LedgerStale.md"
        for target in down
    ]
    if age and float(age[0]["value"][1]) > MOST_SECONDS:
        findings.append(f"ledger: {said}; see docs/runbooks/LedgerStale.md")
    return Check(name="ledger", said=said, findings=findings)
