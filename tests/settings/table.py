"""Reads wrong_values.txt: what is changed in a good stack, and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from settings.loading import SettingsError, parse_settings

TABLE = Path(__file__).parent / "wrong_values.txt"
LEFT_OUT = "(left out)"

COMPLETE = """
cluster: dev
vendors:
  - name: vendor-a
    cidrs: [10.1.0.0/16, {range: 10.1.8.0/24, pool: residential}]
    ports: [3128, 8000-8100]
    httpPorts: [3128]
    outcomes: [{status: 407, header: x-error, contains: traffic, outcome: quota_exhausted}]
    alerts: {objective: 99%}
  - {name: vendor-b, cidrs: [10.2.0.0/16]}
targets: [{name: shops, hosts: [shop.example]}]
crawlers: {namespaces: [crawlers], selector: {app: crawler}, egressHosts: [data/*]}
istio: {sidecar: {requests: {cpu: 100m, memory: 200M}, limits: {cpu: 500m, memory: 512M}}}
telemetry: {buckets: [50, 100, 10000]}
prometheus:
  federateFrom: [{cluster: eu, url: "https://prometheus.eu.example.com", stack: prod-eu}]
  resources: {requests: {cpu: "2", memory: 4G}, limits: {cpu: "3", memory: 6G}}
alerts: {ruleFiles: [my-rules/shops.yml]}
alertmanager:
  receivers:
    - {name: oncall, kind: pagerduty}
    - {name: team, kind: slack, channel: "#proxies"}
    - name: mail
      kind: email
      to: a@example.com
      sender: b@example.com
      smarthost: smtp.example.com:587
  critical: [oncall, mail]
  warning: [team]
  heartbeat: [mail]
  resources: {requests: {cpu: 50m, memory: 64M}, limits: {cpu: 250m, memory: 256M}}
alertmanagerSecrets: {oncall: {secure: x}, team: {secure: x}, mail: {secure: x}}
grafana:
  resources: {requests: {cpu: 500m, memory: 512M}, limits: {cpu: 750m, memory: 1G}}
loadGenerator:
  enabled: true
  maxGBPerDay: 1
  endpoints:
    vendor-a: {address: "10.1.0.10:3128", credentialsSecret: {name: login, key: login}}
    vendor-b: 10.2.0.10:3128
  mix: {http: 0.3, tunnel: 0.7}
  resources: {requests: {cpu: 100m, memory: 100M}, limits: {cpu: 500m, memory: 256M}}
simulatedVendors:
  vendors: {vendor-b: {endpoint: "10.2.0.10:3128", behaviour: {latency_seconds: 0.2}}}
  resources: {requests: {cpu: 100m, memory: 100M}, limits: {cpu: "1", memory: 256M}}
network: {podCidrs: [10.244.0.0/16], serviceCidrs: [10.96.0.0/12]}
"""

SMALL = """
cluster: dev
vendors: [{name: vendor-a, cidrs: [10.1.0.0/16]}, {name: vendor-b, cidrs: [10.2.0.0/16]}]
"""

OPERATOR = """
prometheus:
  mode: operator
  url: http://prometheus.observability.svc:9090
  operatorLabels: {release: stack}
  loginSecret: prometheus-login
"""

BASES: dict[str, dict[str, Any]] = {
    "complete": yaml.safe_load(COMPLETE),
    "operator": yaml.safe_load(COMPLETE) | yaml.safe_load(OPERATOR),
    "small": yaml.safe_load(SMALL),
}


class Row(NamedTuple):
    base: str
    changes: dict[str, Any]
    said: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.base}: {yaml.safe_dump(self.changes, default_flow_style=True, width=10000)}"


def rows() -> list[Row]:
    found = []
    _, *sections = re.split(r"^== (\w+):.*\n", TABLE.read_text(), flags=re.MULTILINE)
    for base, blocks in zip(sections[::2], sections[1::2], strict=True):
        for block in blocks.strip().split("\n\n"):
            change, *said = re.split(r"^→ ", block, flags=re.MULTILINE)
            found.append(Row(base, yaml.safe_load(change), tuple(line.strip() for line in said)))
    return found


def changed(base: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stack with values put at paths such as `vendors[0].name`."""
    stack = deepcopy(BASES[base])
    for path, value in changes.items():
        parts = re.findall(r"'[^']*'|[^.\[\]']+", path)
        *way, last = (int(part) if part.isdecimal() else part.strip("'") for part in parts)
        holder: Any = stack
        for part in way:
            holder = holder[part]
        if value == LEFT_OUT:
            del holder[last]
        else:
            holder[last] = value
    return stack


def findings_of(base: str, changes: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        parse_settings(changed(base, changes))
    except SettingsError as error:
        return error.findings
    return ()
