"""Grafana as Kubernetes would receive it: alone, with database and single sign-on, or none."""

from __future__ import annotations

import json

import pytest
import yaml

from components.grafana.boards import FOUND_BY
from components.grafana.provisioning import datasource, datasources
from dashboards.frame import shown
from dashboards.look import look_of
from settings.loading import SettingsError
from tests.program.conftest import container_of, scrape_jobs

DATABASE = {"host": "db.example.com:5432", "passwordSecret": "grafana-database"}
OIDC = {
    "clientId": "grafana",
    "clientSecret": "grafana-oidc",
    "authUrl": "https://login.example.com/authorize",
    "tokenUrl": "https://login.example.com/token",
    "userinfoUrl": "https://login.example.com/userinfo",
    "roleAttributePath": "contains(groups[*], 'sre') && 'Editor' || 'Viewer'",
    "scopes": ["openid", "groups"],
}
WHOLE = {
    "replicas": 3,
    "url": "https://grafana.example.com/",
    "database": {**DATABASE, "sslMode": "verify-full", "caSecret": "database-ca"},
    "oidc": OIDC,
}


def environment(run):
    container = container_of(run.only("Deployment", "grafana"))
    return {one["name"]: one.get("value") or one["valueFrom"] for one in container["env"]}


def from_secret(value):
    reference = value["secretKeyRef"]
    return reference["name"], reference["key"]


def test_grafana_has_its_own_secret_key(run_program):
    """Grafana's default stands in its repository, and encrypts the password of the data source."""
    name, key = from_secret(environment(run_program("prod"))["GF_SECURITY_SECRET_KEY"])
    assert name.startswith("grafana-admin-")
    assert key == "secretKey"


def test_replicas_share_a_database(variant):
    """Users and sessions survive each pod, and one pod at a time leaves its node."""
    run = variant("prod", grafana=WHOLE)
    found = environment(run)
    assert {
        key.removeprefix("GF_DATABASE_"): value
        for key, value in found.items()
        if key.startswith("GF_DATABASE_") and not key.endswith("PASSWORD")
    } == {
        "TYPE": "postgres",
        "HOST": "db.example.com:5432",
        "NAME": "grafana",
        "USER": "grafana",
        "SSL_MODE": "verify-full",
        "CA_CERT_PATH": "/etc/grafana/database/ca.crt",
    }
    assert from_secret(found["GF_DATABASE_PASSWORD"]) == ("grafana-database", "password")
    deployment = run.only("Deployment", "grafana")
    assert deployment["spec"]["replicas"] == 3
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/api/health"
    # A database that is away takes the pods out of the Service, and restarts none of them.
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    budget = run.only("PodDisruptionBudget", "grafana")["spec"]
    assert budget["maxUnavailable"] == 1
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    secrets = [volume["secret"] for volume in volumes if "secret" in volume]
    assert secrets == [
        {"secretName": "database-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    ]


def test_single_sign_on_gives_roles(variant):
    """Whoever has no role there is not let in; the client's secret is in no ConfigMap."""
    found = environment(variant("prod", grafana=WHOLE))
    prefix = "GF_AUTH_GENERIC_OAUTH_"
    assert {key.removeprefix(prefix): v for key, v in found.items() if key.startswith(prefix)} == {
        "ENABLED": "true",
        "NAME": "Single sign-on",
        "CLIENT_ID": "grafana",
        "CLIENT_SECRET": {"secretKeyRef": {"name": "grafana-oidc", "key": "clientSecret"}},
        "AUTH_URL": OIDC["authUrl"],
        "TOKEN_URL": OIDC["tokenUrl"],
        "API_URL": OIDC["userinfoUrl"],
        "SCOPES": "openid groups",
        "USE_PKCE": "true",
        "ALLOW_SIGN_UP": "true",
        "ROLE_ATTRIBUTE_PATH": OIDC["roleAttributePath"],
        "ROLE_ATTRIBUTE_STRICT": "true",
    }
    assert found["GF_SERVER_ROOT_URL"] == "https://grafana.example.com/"
    assert found["GF_SECURITY_COOKIE_SECURE"] == "true"


def test_without_a_database_there_is_one_pod(run_program):
    """As many as have a database of their own, which is one."""
    run = run_program("prod")
    assert run.only("Deployment", "grafana")["spec"]["replicas"] == 1
    found = environment(run)
    assert not [key for key in found if key.startswith(("GF_DATABASE", "GF_AUTH_GENERIC"))]


def test_an_existing_grafana_gets_boards_and_no_pod(variant):
    """Labelled as the sidecar of Grafana's chart looks for them; nothing watches our Grafana."""
    run = variant("prod", grafana={"mode": "existing"})
    assert [one for one in run.of_kind("Deployment") if "grafana" in one.name] == []
    found = {
        one.inputs["metadata"]["name"]: one.inputs
        for one in run.of_kind("ConfigMap")
        if FOUND_BY.items() <= one.inputs["metadata"]["labels"].items()
    }
    uids = shown(look_of(run.settings))
    assert set(found) == {f"grafana-{uid}" for uid in uids}
    for uid in uids:
        board = found[f"grafana-{uid}"]
        assert json.loads(board["data"][f"{uid}.json"])["uid"] == uid
        assert board["metadata"]["annotations"] == {"grafana_folder": "Proxy vendors"}
        # The sidecar deletes the file of a replaced ConfigMap after it wrote the new one's.
        assert "immutable" not in board
    assert "grafanaUrl" not in run.outputs
    assert "grafana" not in scrape_jobs(run)
    rules = run.only("ConfigMap", "prometheus-rules")["data"]
    assert "grafana_alerts.yml" not in rules
    policies = [one.inputs["metadata"]["name"] for one in run.of_kind("NetworkPolicy")]
    assert "grafana" not in policies


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a board into the project's root, as seen by the program."""
    monkeypatch.setattr("deployment.ROOT", tmp_path)

    def write(name, content):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return {"file": name}

    return write


BOARD = {"uid": "shops", "title": "Shops", "panels": [{"datasource": "${source}"}]}
VARIABLE = {"templating": {"list": [{"type": "datasource", "name": "source"}]}}


def test_boards_of_the_users_own_are_in_their_folders(variant, own):
    """A team's boards stand in its folder, beside this program's."""
    mine = own("shops.json", {**BOARD, **VARIABLE})
    other = own("news.json", {**BOARD, **VARIABLE, "uid": "News_1"})
    run = variant("prod", grafana={"dashboards": [{**mine, "folder": "Team A"}, other]})
    ((_, text),) = [
        item
        for one in run.of_kind("ConfigMap")
        if one.name == "grafana-dashboards"
        for item in one.inputs["data"].items()
    ]
    providers = yaml.safe_load(text)["providers"]
    assert [one["folder"] for one in providers] == ["Proxy vendors", "Team A"]
    container = container_of(run.only("Deployment", "grafana"))
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert [mounts[one["options"]["path"]] for one in providers] == ["boards-0", "boards-1"]
    names = {one.name for one in run.of_kind("ConfigMap")}
    assert {"grafana-shops", "grafana-news-1"} <= names


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON; export the board from Grafana once more"),
        ({"dashboard": BOARD}, "is no board: it has no panels at its top; write what is under"),
        ({**BOARD, **VARIABLE, "title": " "}, "has no title; write one"),
        ({**BOARD, **VARIABLE, "uid": None}, "has no uid of up to 40 letters"),
        (
            {**BOARD, **VARIABLE, "uid": "proxy-fleet"},
            "has uid 'proxy-fleet', which a board of this program's has; give it another",
        ),
        (BOARD, "reads data source '${source}', which this Grafana has not; write prometheus"),
        (
            {**BOARD, "panels": [{"panels": [{"datasource": {"uid": "P8E80F9AEF21F6940"}}]}]},
            "reads data source 'P8E80F9AEF21F6940', which this Grafana has not; write prometheus",
        ),
    ],
)
def test_a_board_that_grafana_would_drop_is_refused(variant, own, content, said):
    """Grafana would log it and go on: a board would be missing, and nothing would say so."""
    mine = own("mine.json", content)
    with pytest.raises(SettingsError) as refused:
        variant("prod", grafana={"dashboards": [mine]})
    (finding,) = refused.value.findings
    assert finding.startswith(f"grafana.dashboards[0].file: mine.json {said}")


def test_a_uid_twice_and_a_missing_file_are_named(variant, own):
    """Of two boards with one uid Grafana would show either."""
    one = own("one.json", {**BOARD, **VARIABLE})
    two = own("two.json", {**BOARD, **VARIABLE, "uid": "SHOPS"})
    with pytest.raises(SettingsError) as refused:
        variant("prod", grafana={"dashboards": [one, two, {"file": "none.json"}]})
    assert refused.value.findings == (
        "grafana.dashboards[1].file: two.json has uid 'SHOPS', which one.json has; give it another",
        "grafana.dashboards[2].file: none.json is no file; write the path from the project's root",
    )


def test_an_existing_grafana_may_have_other_data_sources(variant, own):
    """Which it has is its owner's affair."""
    mine = own("mine.json", {**BOARD, "panels": [{"datasource": {"uid": "loki"}}]})
    run = variant("prod", grafana={"mode": "existing", "dashboards": [mine]})
    assert "grafana-shops" in {one.inputs["metadata"]["name"] for one in run.of_kind("ConfigMap")}


def test_a_ledger_that_the_stack_no_longer_has_leaves_grafana():
    """A database outlives the provisioning file, and nobody may edit what that has written."""
    ledger = datasource("Ledger", "ledger", "http://ledger", 60, None, None)
    first = datasources("http://prometheus", 10, with_login=True, ledger=ledger)
    assert "deleteDatasources" not in first
    later = datasources("http://prometheus", 10, with_login=True)
    assert later["deleteDatasources"] == [{"name": first["datasources"][1]["name"], "orgId": 1}]
