"""The exporter of costs and budgets as Kubernetes would receive it."""

from __future__ import annotations

import json
import os
import sys

import pytest

from components.prometheus.config import MONEY_METRICS, MONEY_PORT
from components.repository_files import BOOKS_MODULES, EXPORTER_MODULES, USAGE_MODULES
from money.as_json import read
from render.program import MOCK_PASSWORD
from tests.program.conftest import OPERATOR, config_map, container_of, named, pod_spec, scrape_jobs
from tests.program.pod_security import violations
from tests.programs import run_to_end

WHOLE_FOLDERS = ("money.exporter", "money.forecast")
NAME = "money-exporter"
TLS = {"issuer": {"name": "monitoring-ca", "kind": "ClusterIssuer"}}
STORE = {"url": "https://mimir.example.com/prometheus", "loginSecret": "mimir-login"}
VENDORS = [
    {
        "name": "vendor-a",
        "cidrs": ["10.1.0.0/16"],
        "billing": {"currency": "USD", "perGB": {"price": 8.4, "unit": "GB"}},
    }
]
BUDGETS = [{"name": "all", "limit": {"gb": 300}}]


def command(run):
    return container_of(run.only("Deployment", NAME))["command"]


def sources(run):
    """Return the Secret that each volume of the pod has, by its mount."""
    spec = pod_spec(run, "Deployment", NAME)
    (container,) = spec["containers"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    secrets = (one for one in spec["volumes"] if "secret" in one)
    return {mounts[one["name"]]: one["secret"]["secretName"] for one in secrets}


@pytest.fixture
def priced(variant):
    """Run prod with one vendor that has a price."""
    given = {"vendors": VENDORS, "budgets": BUDGETS, "simulatedVendors": None}
    given["loadGenerator"] = None
    return lambda stack="prod", **more: variant(stack, **{**given, **more})


def test_it_reads_the_stacks_own_ledger(priced):
    run = priced()
    assert command(run) == [
        *("python", "-m", "money.exporter", "--ledger=http://ledger.monitoring.svc:9090"),
        *("--login=/login", "--contracts=/contracts/contracts.json", f"--port={MONEY_PORT}"),
    ]
    assert sources(run)["/login"].startswith("prometheus-auth"), "the ledger's is Prometheus' own"
    contracts, budgets = read(config_map(run, "money-contracts")["contracts.json"])
    assert [contract.vendor for contract in contracts] == ["vendor-a"]
    assert [budget.name for budget in budgets] == ["all"]


def test_it_is_scraped_and_its_rules_are_evaluated(priced):
    run = priced()
    job = scrape_jobs(run)["money"]
    assert set(job["metric_relabel_configs"][0]["regex"].strip("()").split("|")) == {*MONEY_METRICS}
    assert {"money_records.yml", "money_alerts.yml"} <= set(
        run.only("ConfigMap", "prometheus-rules")["data"]
    )


def test_it_asks_the_vendors_whose_credentials_it_has(priced):
    """They are files of Secrets that the user makes; what is asked holds none of them."""
    usage = {"api": "bright-data", "products": [{"name": "zone_1"}]}
    vendors = [{**VENDORS[0], "usage": usage}]
    run = priced(vendors=vendors, moneyExporter={"usageSecrets": {"vendor-a": "vendor-a-usage"}})
    assert {"--accounts=/contracts/accounts.json", "--credentials=/credentials"} <= {*command(run)}
    assert sources(run)["/credentials/vendor-a"] == "vendor-a-usage"
    (account,) = json.loads(config_map(run, "money-contracts")["accounts.json"])
    assert account["vendor"] == "vendor-a"
    assert account["products"] == {"zone_1": ""}


def test_without_a_ledger_there_is_nothing_of_it(variant):
    """PriceMissing and MoneyExporterDown would fire for ever where nobody asked for prices."""
    run = variant("prod", ledger={"enabled": False})
    assert NAME not in named(run, "Deployment")
    assert "money" not in scrape_jobs(run)
    rules = run.only("ConfigMap", "prometheus-rules")["data"]
    assert not any(name.startswith("money") for name in rules)


def test_it_reads_a_store_of_the_users(priced):
    """Which may hold the hours of other clusters, has its own login, and a public certificate."""
    run = priced(ledger=STORE, monitoring={"tls": TLS})
    said = command(run)
    assert f"--ledger={STORE['url']}" in said
    assert "--cluster=prod" in said
    assert not any(word.startswith("--ca") for word in said)
    assert sources(run) == {"/login": "mimir-login"}


def test_it_reads_a_store_without_a_login(priced):
    run = priced(ledger={"url": STORE["url"]})
    assert not any(word.startswith("--login") for word in command(run))
    assert sources(run) == {}


def test_it_checks_the_certificate_of_the_stacks_own_ledger(priced):
    run = priced(monitoring={"tls": TLS})
    said = command(run)
    assert "--ledger=https://ledger.monitoring.svc:9090" in said
    assert "--ca=/tls/ca.crt" in said
    assert sources(run)["/tls"] == "prometheus-tls"


def test_the_operators_prometheus_scrapes_it_too(priced):
    run = priced("dev", prometheus=OPERATOR, ledger=STORE, alertmanager=None)
    assert NAME in named(run, "Deployment")
    (monitor,) = (one for one in run.of_kind("PodMonitor") if "proxy_unit_price" in str(one.inputs))
    assert monitor.namespace == "monitoring"


def test_the_pod_is_admitted_and_two_never_run_at_once(priced):
    run = priced()
    assert list(violations(pod_spec(run, "Deployment", NAME))) == []
    assert run.only("Deployment", NAME)["spec"]["strategy"] == {"type": "Recreate"}
    assert "serviceAccountName" not in pod_spec(run, "Deployment", NAME)


def test_no_login_is_in_what_kubernetes_shows(priced):
    run = priced()
    shown = json.dumps([one.inputs for one in run.resources if one.kind != "Secret"])
    assert MOCK_PASSWORD not in shown


def test_the_program_runs_from_its_config_map_alone(priced, tmp_path):
    """It has every module that it imports, and none that it does not."""
    run = priced()
    data = config_map(run, "money-program")
    (volume,) = (
        one for one in pod_spec(run, "Deployment", NAME)["volumes"] if one["name"] == "program"
    )
    for item in volume["configMap"]["items"]:
        path = tmp_path / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data[item["key"]])
    script = "import sys, money.exporter.__main__; print(*sys.modules)"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # -S: without installed packages, as in the image.
    done = run_to_end(sys.executable, "-S", "-c", script, cwd=tmp_path, env=environment)
    imported = {
        name
        for name in done.stdout.split()
        if name.split(".")[0] in ("money", "books") and not name.startswith(WHOLE_FOLDERS)
    }
    files = (
        ("money", EXPORTER_MODULES),
        ("money.usage", USAGE_MODULES),
        ("books", BOOKS_MODULES),
    )
    shipped = {f"{package}.{name}" for package, names in files for name in names}
    assert imported == {name.removesuffix(".__init__") for name in shipped}
