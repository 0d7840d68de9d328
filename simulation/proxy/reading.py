"""From JSON to a plan, or to one vendor's behaviour; every finding is named."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from simulation.plans import PlanError, encodable, finding, read, under
from simulation.proxy.plan import Behaviour, Plan


def read_behaviour(
    raw: object, path: str, findings: list[str], environment: Mapping[str, str]
) -> Behaviour:
    """Check what a plan or the control endpoint says of one vendor; add to `findings`."""
    try:
        behaviour = read(Behaviour, raw)
    except PlanError as error:
        findings += [under(path, line) if path else line for line in error.findings]
        return Behaviour()
    passwords = {}
    for user, variable in behaviour.credentials.items():
        passwords[user] = environment.get(variable, "")
        if not passwords[user]:
            reason = f'gives {user} "{variable}", no set variable: export it to the vendor'
        elif not encodable(passwords[user]):
            reason = f"gives {user} {variable}, which is no UTF-8: set it anew"
        else:
            continue
        findings.append(finding(f"{path}.credentials".lstrip("."), behaviour.credentials, reason))
    assert isinstance(raw, dict)
    return dataclasses.replace(behaviour, passwords=passwords, raw=raw)


def read_plan(raw: object, environment: Mapping[str, str] = os.environ) -> Plan:
    """Check a parsed plan; `environment` holds the variables that `credentials` name.

    Raises:
        PlanError: with every finding of single keys or, where these are good, of keys together.
    """
    findings: list[str] = []
    try:
        plan = read(Plan, raw)
    except PlanError as error:
        raise PlanError(
            [under("plan", line) if line.startswith(":") else line for line in error.findings]
        ) from None
    places = [(item.address, item.port) for item in plan.listen]
    for index, (address, port) in enumerate(places):
        if (address, port) in places[:index]:
            reason = f"repeats {address}: give each address once"
            findings.append(finding(f"listen[{index}].port", port, reason))
    for name in sorted(plan.vendors.keys() - {item.vendor for item in plan.listen}):
        findings.append(f"vendors.{name}: is no vendor of listen: give it a place there")
    behaviours = {
        name: read_behaviour(entry, f"vendors.{name}", findings, environment)
        for name, entry in plan.vendors.items()
    }
    if (plan.certificate is None) != (plan.key is None):
        reason = "stands alone: give certificate and key, or none"
        findings.append(finding("certificate", plan.certificate, reason))
    if findings:
        raise PlanError(sorted(findings))
    return dataclasses.replace(plan, vendors=behaviours)
