"""Is there a fresh backup?"""

from __future__ import annotations

from backups.report import METRIC
from books.prometheus import Prometheus
from components.prometheus.rules import read_rules, rules_of
from verify.check import Check

NEWEST = f'time() - max(max_over_time({METRIC}{{job="backup"}}[7d]))'
ALERT = "PrometheusBackupStale"


def backups_check(prometheus: Prometheus) -> Check:
    """Ask for the newest backup, and by the alert's own expression whether it is too old.

    Raises:
        PrometheusError: it does not answer.
    """
    newest = prometheus.query(NEWEST)
    said = "none yet"
    if newest:
        said = f"the newest is {float(newest[0]['value'][1]) / 3600:.1f} hours old"
    (alert,) = rules_of(read_rules()["backup_alerts.yml"])
    stale = prometheus.query(alert["expr"])
    finding = f"backups: {said}; see docs/runbooks/{ALERT}.md"
    return Check(name="backups", said=said, findings=[finding] if stale else [])
