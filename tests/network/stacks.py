"""Stacks, and every connection that each needs, as "SOURCE | PORTS | DESTINATIONS" lines.

Written from what the programs do, not from the program's own table. What is in no line must be
denied. Words in capitals are machines (cluster.py) and these:
"""

from __future__ import annotations

from dataclasses import dataclass

NAMES = {
    "DNS": "DNS-SERVICE METADATA NODE-DNS",
    # Whom no policy of this program guards.
    "OUTSIDE": "DNS-SERVICE INTERNET METADATA NODE NODE-DNS RANGE RESULTS"
    " dns openshift-dns others-prometheus web",
    "CRAWLERS": "crawler load-generator",
}
LOOK_UP = "53/UDP 53"
POD_LOOK_UP = "53/UDP 53 8053/UDP 8053"
"""CoreDNS nearly everywhere, and on Gardener; Services in front have 53."""
API_SERVER = "443 6443 8443 16443"

ISTIO = """
# Sidecars may be in every namespace, and the API server, which calls the webhook, has any address.
OUTSIDE istiod istio-cni | 15017 | istiod
dns openshift-dns web others-prometheus istiod istio-cni | 15012 | istiod
# Istio's own policies allow it as well: the API server's port differs among clusters.
istiod istio-cni | any | OUTSIDE
"""
SERVER = f"""
alertmanager grafana prometheus | {LOOK_UP} | DNS
alertmanager grafana prometheus | {POD_LOOK_UP} | dns
grafana | 9090 | prometheus
prometheus | 9093 | alertmanager
prometheus | 3000 | grafana
prometheus | 9090 | prometheus
prometheus | {API_SERVER} 10250 | OUTSIDE
"""
VENDORS = """
proxy-observability:cluster: tested
proxy-observability:vendors:
  - {name: by-range, cidrs: [203.0.113.0/26], ports: [3128], httpPorts: [3128]}
  - {name: by-name, hosts: [{name: gw.vendor.example, ports: [7777]}]}
  - {name: simulated, cidrs: [10.1.0.0/16]}
proxy-observability:destinations: [{name: results, cidrs: [192.0.2.0/28]}]
"""
SIMULATION = """
proxy-observability:simulatedVendors:
  enabled: true
  vendors: {simulated: {endpoint: "10.1.0.10:3128"}}
proxy-observability:loadGenerator:
  enabled: true
  endpoints: {simulated: "10.1.0.10:3128"}
"""
SCRAPED = """
prometheus | 15014 | istiod
prometheus | 15090 | CRAWLERS
prometheus | 9464 | load-generator
prometheus | 9465 | simulated
"""


@dataclass(frozen=True, kw_only=True)
class Stack:
    config: str
    """What the stack file says, as YAML."""
    needed: str


STACKS = {
    "egress: any": Stack(
        config=f"""{VENDORS}{SIMULATION}
proxy-observability:network: {{podCidrs: [10.244.0.0/16], serviceCidrs: [10.96.0.0/12]}}
""",
        needed=f"""{ISTIO}{SERVER}{SCRAPED}
CRAWLERS | any | OUTSIDE CRAWLERS
CRAWLERS | 15012 15017 | istiod
CRAWLERS | 3128 | simulated
""",
    ),
    "egress: vendorsOnly": Stack(
        config=f"""{VENDORS}{SIMULATION}
proxy-observability:crawlers: {{egressHosts: ["shop/*"]}}
proxy-observability:network:
  {{egress: vendorsOnly, podCidrs: [10.244.0.0/16], serviceCidrs: [10.96.0.0/12]}}
""",
        needed=f"""{ISTIO}{SERVER}{SCRAPED}
CRAWLERS | {LOOK_UP} | DNS
CRAWLERS | {POD_LOOK_UP} | dns
CRAWLERS | 15012 | istiod
CRAWLERS | 3128 | simulated RANGE
# Of the name gw.vendor.example, which the sidecar alone tells from others.
CRAWLERS | 7777 | INTERNET NODE RANGE RESULTS
CRAWLERS | any | RESULTS CRAWLERS web
""",
    ),
    # Its DNS has another namespace and port.
    "OpenShift": Stack(
        config="""
proxy-observability:cluster: tested
proxy-observability:vendors: [{name: by-range, cidrs: [203.0.113.0/26], ports: [3128]}]
proxy-observability:istio: {platform: openshift}
proxy-observability:network: {egress: vendorsOnly, serviceCidrs: [10.96.0.0/12]}
""",
        needed=f"""{ISTIO}
alertmanager grafana prometheus crawler | {LOOK_UP} | DNS
alertmanager grafana prometheus crawler | 5353/UDP 5353 | openshift-dns
grafana | 9090 | prometheus
prometheus | 9093 | alertmanager
prometheus | 3000 | grafana
prometheus | 9090 | prometheus
prometheus | {API_SERVER} 10250 | OUTSIDE
prometheus | 15014 | istiod
prometheus | 15090 | crawler
crawler | 15012 | istiod
crawler | 3128 | RANGE
crawler | any | crawler
""",
    ),
    # The same, where some pods are no crawlers, and their namespace was there before.
    "crawlers beside others": Stack(
        config=f"""{VENDORS}{SIMULATION}
proxy-observability:crawlers: {{createNamespaces: false, selector: {{app: crawler}}}}
proxy-observability:network:
  {{egress: vendorsOnly, podCidrs: [10.244.0.0/16], serviceCidrs: [10.96.0.0/12]}}
""",
        needed=f"""{ISTIO}{SERVER}{SCRAPED}
CRAWLERS | {LOOK_UP} | DNS
CRAWLERS | {POD_LOOK_UP} | dns
CRAWLERS | 15012 | istiod
CRAWLERS | 3128 | simulated RANGE
CRAWLERS | 7777 | INTERNET NODE RANGE RESULTS
CRAWLERS | any | RESULTS CRAWLERS
# Nobody loses a flow to pods that were there.
OUTSIDE istiod istio-cni | any | CRAWLERS
prometheus | {API_SERVER} 10250 | CRAWLERS
""",
    ),
    "shards, replicas, receivers": Stack(
        config="""
proxy-observability:cluster: tested
proxy-observability:vendors:
  - {name: by-range, cidrs: [203.0.113.0/26], usage: {api: webshare}}
proxy-observability:network: {serviceCidrs: [10.96.0.0/12]}
proxy-observability:ledger: {enabled: true}
proxy-observability:moneyExporter: {usageSecrets: {by-range: by-range-usage}}
proxy-observability:prometheus:
  replicas: 2
  shards: 2
  nodeMetrics: false
  backup: {}
  federateFrom: [{cluster: eu, url: "http://prometheus.eu.example.com", stack: prod-eu}]
proxy-observability:grafana:
  replicas: 2
  url: https://grafana.example.com/
  database: {host: "db.example.com:5432", passwordSecret: grafana-database}
  oidc:
    clientId: grafana
    clientSecret: grafana-oidc
    authUrl: https://login.example.com/authorize
    tokenUrl: https://login.example.com:8443/token
    userinfoUrl: https://login.example.com/userinfo
    roleAttributePath: role
proxy-observability:alertmanager:
  replicas: 2
  receivers:
    - {name: hook, kind: webhook}
    - {name: mail, kind: email, to: a@x.example, sender: b@x.example, smarthost: "mx.example:587"}
  warning: [hook, mail]
proxy-observability:alertmanagerSecrets: {hook: {secure: "v1:a:b"}, mail: {secure: "v1:a:b"}}
""",
        needed=f"""{ISTIO}
alertmanager grafana ledger money-exporter prometheus | {LOOK_UP} | DNS
alertmanager grafana ledger money-exporter prometheus | {POD_LOOK_UP} | dns
ledger | 9090 | prometheus-shard-0 prometheus-shard-1
grafana money-exporter prometheus | 9090 | ledger
prometheus | 9467 | money-exporter
# The vendors' own APIs.
money-exporter | 443 | OUTSIDE
alertmanager | 443 587 | OUTSIDE
alertmanager | 9094 9094/UDP | alertmanager
crawler | any | OUTSIDE crawler
crawler | 15012 15017 | istiod
grafana | 9090 | prometheus
grafana | 443 5432 8443 | OUTSIDE
prometheus | 15014 | istiod
prometheus | 3000 | grafana
prometheus | 9090 | prometheus prometheus-shard-0 prometheus-shard-1
prometheus | 9093 | alertmanager
prometheus | 9466 | prometheus-backup
prometheus-backup | {API_SERVER} | OUTSIDE
prometheus | 80 {API_SERVER} | OUTSIDE
prometheus-shard-0 prometheus-shard-1 | 15090 | crawler
prometheus-shard-0 prometheus-shard-1 | {API_SERVER} | OUTSIDE
""",
    ),
    "hours in the user's own store": Stack(
        config="""
proxy-observability:cluster: tested
proxy-observability:vendors: [{name: by-range, cidrs: [203.0.113.0/26]}]
proxy-observability:network: {serviceCidrs: [10.96.0.0/12]}
proxy-observability:ledger:
  {url: "http://store.example:8080/prometheus", writeUrl: "https://store.example:7777/push"}
""",
        needed=f"""{ISTIO}{SERVER}
crawler | any | OUTSIDE crawler
crawler | 15012 15017 | istiod
grafana money-exporter | 8080 | OUTSIDE
money-exporter | {LOOK_UP} | DNS
money-exporter | {POD_LOOK_UP} | dns
prometheus | 9467 | money-exporter
prometheus | 7777 | OUTSIDE
prometheus | 15014 | istiod
prometheus | 15090 | crawler
""",
    ),
    "backups in an object store": Stack(
        config="""
proxy-observability:cluster: tested
proxy-observability:vendors: [{name: by-range, cidrs: [203.0.113.0/26]}]
proxy-observability:network: {serviceCidrs: [10.96.0.0/12]}
proxy-observability:prometheus:
  backup: {objectStorage: {path: backups/tested, secret: backup-storage}}
""",
        needed=f"""{ISTIO}{SERVER}
crawler | any | OUTSIDE crawler
crawler | 15012 15017 | istiod
prometheus | 15014 | istiod
prometheus | 15090 | crawler
prometheus | 9466 | prometheus-backup
# The store is where the user's rclone.conf says.
prometheus-backup | any | OUTSIDE
prometheus-backup | 9090 | prometheus
prometheus-backup | 15012 15017 | istiod
""",
    ),
    # Istio and Prometheus are other teams'. Their pods, in whichever namespace, lose nothing.
    "another team's Prometheus": Stack(
        config="""
proxy-observability:cluster: tested
proxy-observability:vendors: [{name: by-range, cidrs: [203.0.113.0/26]}]
proxy-observability:istio: {install: false, cni: true}
proxy-observability:prometheus:
  mode: operator
  namespace: observability
  url: http://prometheus.observability.svc:9090
  operatorLabels: {}
proxy-observability:alertmanager:
  receivers: [{name: oncall, kind: pagerduty}]
  critical: [oncall]
proxy-observability:alertmanagerSecrets: {oncall: {secure: "v1:a:b"}}
""",
        needed=f"""
OUTSIDE istiod istio-cni | any | istiod istio-cni
istiod istio-cni | any | OUTSIDE
alertmanager grafana | {LOOK_UP} | NODE-DNS METADATA
alertmanager grafana | {POD_LOOK_UP} | dns
alertmanager | 443 | OUTSIDE istiod istio-cni
crawler | any | OUTSIDE crawler istiod istio-cni
grafana | 9090 | OUTSIDE istiod istio-cni
grafana | any | others-prometheus
others-prometheus | 15090 | crawler
others-prometheus | 3000 | grafana
others-prometheus | 9093 | alertmanager
""",
    ),
}
