"""`make verify`: is what is deployed right, and does it count?

Exit codes: 0 good, 1 a defect is named, 2 could not ask.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from books.prometheus import URL, Prometheus, PrometheusError
from components.prometheus.config import LEDGER_APP
from dashboards.boards import boards
from deployment import StackPlan, stack_plan
from discover.kubectl import KubectlError
from settings.catalogue import OUTSIDE
from settings.loading import MissingStackFileError, SettingsError, load_stack, stack_file
from settings.prometheus import OperatorPrometheusSettings
from settings.stack import StackSettings
from tools.reports import add_cluster, add_out, could_not_run, finish, print_result
from verify.backups import backups_check
from verify.check import Check
from verify.cluster import Cluster
from verify.contract import contract_check, outside_by_workload
from verify.crawlers import crawler_checks
from verify.ledger import ledger_check
from verify.prometheus import Server, boards_check, rules_check, servers_of, targets_check
from verify.reach import others_server, own_server
from verify.recorded import recorded_uid

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack's file, and what is rendered from it."""

    name: str
    settings: StackSettings
    plan: StackPlan
    context: str


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    try:
        stack = _stack(options.stack, options.context)
        report = _of_prometheus(stack) if os.environ.get(URL) else _of_cluster(stack)
    except MissingStackFileError as error:
        return could_not_run("verify", options.out, *error.findings)
    except SettingsError as error:
        return finish("verify", options.out, {"status": 1, "findings": [*error.findings]})
    except (KubectlError, PrometheusError) as error:
        return could_not_run("verify", options.out, str(error))
    except KeyboardInterrupt:
        return could_not_run("verify", options.out, "stopped")
    status = print_result("\n".join(report.pop("lines")))
    return finish("verify", options.out, {**report, "status": max(status, report["status"])})


def _of_cluster(stack: Stack) -> Json:
    """Ask the cluster, then its Prometheus."""
    cluster = Cluster(stack.context)
    uid = cluster.uid()
    more = {"context": stack.context, "clusterUid": uid}
    checks = [_right_cluster(stack, uid)]
    if checks[0].findings:  # all else would be said of another cluster
        return _report(checks, {}, "", more)
    if stack.plan.crawlers:
        pods = _crawlers(cluster, stack.settings)
        checks += crawler_checks(cluster, stack.settings, stack.plan, pods)
    trouble = ""
    outside: Counter[str] = Counter()
    try:
        servers = servers_of(stack.settings, stack.plan)
        for server in servers:
            with _prometheus_of(cluster, stack.settings, server) as prometheus:
                checks += _asked(prometheus, stack, server, is_queried=server is servers[0])
                outside.update(_outside(prometheus, server))
        if stack.plan.ledger:
            with own_server(cluster, stack.settings, LEDGER_APP, LEDGER_APP) as ledger:
                checks.append(ledger_check(ledger))
    except (KubectlError, PrometheusError) as error:
        trouble = str(error)  # what was found before is told all the same
    return _report(checks, outside, trouble, more)


def _right_cluster(stack: Stack, uid: str) -> Check:
    name = stack.context or "kubectl's current context"
    recorded = recorded_uid(stack.name)
    said, findings = f"{name}, kube-system has UID {uid}", []
    if recorded is None:
        said += " (not compared: no Pulumi CLI here, no login, or no `up` yet)"
    elif recorded != uid:
        findings = [
            f"cluster: {name} leads to the cluster with UID {uid}, and stack {stack.name} belongs "
            f"to {recorded}; name the right context with CONTEXT="
        ]
    return Check(name="cluster", said=said, findings=findings)


def _of_prometheus(stack: Stack) -> Json:
    """Ask one Prometheus by its address, and no cluster."""
    prometheus = Prometheus(os.environ[URL], os.environ)
    server = servers_of(stack.settings, stack.plan)[0]
    checks = _asked(prometheus, stack, server, is_queried=True)
    return _report(checks, _outside(prometheus, server), "", {})


def _asked(
    prometheus: Prometheus, stack: Stack, server: Server, *, is_queried: bool
) -> list[Check]:
    """Ask one server; boards and people query the first alone."""
    checks = [targets_check(prometheus, server), rules_check(prometheus, server)]
    if server.has_sidecars:
        checks.append(contract_check(prometheus, stack.settings))
    if is_queried:
        checks.append(boards_check(prometheus, boards(stack.settings)))
        if stack.plan.backup:
            checks.append(backups_check(prometheus))
    return checks


def _report(checks: Sequence[Check], outside: Json, trouble: str, more: Json) -> Json:
    findings = [finding for check in checks for finding in check.findings]
    lines = [check.line() for check in checks]
    if outside:
        most = sorted(outside.items(), key=lambda item: -item[1])
        text = ", ".join(f"{workload} {number:.0f}" for workload, number in most[:10])
        lines.append(
            f"note  {OUTSIDE}: connections of the last hour to nobody's addresses, which "
            f"network.egress: vendorsOnly would cut: {text}; `make discover` names where to"
        )
    return {
        "status": 2 if trouble else 1 if findings else 0,
        "findings": [*findings, *([trouble] if trouble else [])],
        "checks": [one.as_json() for one in checks],
        "outside": {**outside},
        "lines": lines,
        **more,
    }


def _outside(prometheus: Prometheus, server: Server) -> dict[str, int]:
    """Return how many connections of each workload `vendorsOnly` would cut."""
    return outside_by_workload(prometheus) if server.has_sidecars else {}


def _prometheus_of(
    cluster: Cluster, settings: StackSettings, server: Server
) -> AbstractContextManager[Prometheus]:
    own = settings.prometheus
    if isinstance(own, OperatorPrometheusSettings):
        return others_server(cluster, str(own.url), own.login_secret)
    return own_server(cluster, settings, server.service)


def _crawlers(cluster: Cluster, settings: StackSettings) -> list[Json]:
    crawlers = settings.crawlers
    return [pod for one in crawlers.namespaces for pod in cluster.pods(one, crawlers.selector)]


def _stack(name: str, context: str) -> Stack:
    file = load_stack(stack_file(name))
    return Stack(
        name=name,
        settings=file.settings,
        plan=stack_plan(file.settings),
        context=context or file.context,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make verify", description=__doc__)
    add_cluster(parser)
    add_out(parser, "verify.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
