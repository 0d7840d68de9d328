"""`make render FORMAT=manifests`: what Argo CD or Flux syncs, and what others must bring."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from render.__main__ import main
from render.gitops import FOLDER, SECRETS, gitops_files
from render.program import MOCK_PASSWORD, REDACTED
from settings.loading import SettingsError
from tests.program.conftest import OPERATOR, SHAPES
from tests.programs import stand_in

ALL_BUT_SECRETS = ("Secret", "NamespacePatch")


def synced(files):
    """Return the objects below the folder that is synced."""
    texts = [text for path, text in files.items() if path.startswith(f"{FOLDER}/")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def secrets_of(files):
    return [each for each in yaml.safe_load_all(files[SECRETS]) if each]


@pytest.mark.parametrize("shape", SHAPES)
def test_everything_but_secrets_is_synced(run_program, shape):
    run = run_program(shape)
    files = gitops_files(run, None)
    wanted = {
        (one.kind, one.namespace, one.inputs["metadata"]["name"])
        for one in run.resources
        if one.kind and one.kind not in ALL_BUT_SECRETS
    }
    found = {
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
        for one in synced(files)
    }
    assert found == wanted
    for text in files.values():
        assert REDACTED not in text
        assert MOCK_PASSWORD not in text


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pod_reads_secrets_that_are_listed(run_program, shape):
    """A name with Pulumi's random end would be made by nobody."""
    files = gitops_files(run_program(shape), None)
    assert {one["metadata"]["name"] for one in secrets_of(files)} >= {"grafana-admin"}
    for text in files.values():
        assert not re.search(r"(-auth|-admin|-logins|-customers|-credentials)-[0-9a-f]{8}\b", text)
    manifests = json.dumps(synced(files))
    for secret in secrets_of(files):
        assert secret["stringData"]
        assert "immutable" not in secret
        name = secret["metadata"]["name"]
        assert f'"{name}"' in manifests or name == "alertmanager-login"  # the operator's


def test_pods_go_on_reading_the_clusters_secrets(run_program):
    """Then nothing differs from what `pulumi up` made, and nobody makes a Secret again."""
    run = run_program("dev")
    named = (
        "NAMESPACE    NAME                       TYPE     DATA   AGE\n"
        "monitoring   prometheus-auth-0a1b2c3d   Opaque   3      2d\n"
        "monitoring   own-grafana-admin-11112222 Opaque   2      2d\n"
        "another      grafana-admin-33334444     Opaque   2      2d\n"
    )
    files = gitops_files(run, None, named)
    manifests = json.dumps(synced(files))
    assert '"prometheus-auth-0a1b2c3d"' in manifests
    assert '"grafana-admin"' in manifests, "another's name ends like ours, or is in its namespace"
    left = {one["metadata"]["name"] for one in secrets_of(files)}
    assert left == {one["metadata"]["name"] for one in secrets_of(gitops_files(run, None))} - {
        "prometheus-auth"
    }
    assert "prometheus-auth" not in files[SECRETS]


def test_two_secrets_of_a_name_are_refused(run_program):
    """An update that was interrupted may leave the old one."""
    named = "monitoring prometheus-auth-00000000\nmonitoring prometheus-auth-11111111"
    with pytest.raises(SettingsError, match=r"SECRETS: has .*00000000 and .*11111111; leave"):
        gitops_files(run_program("dev"), None, named)


@pytest.mark.parametrize("named", ["", "secret/prometheus-auth-00000000\n"])
def test_a_list_without_secrets_is_refused(run_program, named):
    """kubectl failed, or named no namespaces: pods would restart and find no Secret."""
    with pytest.raises(SettingsError, match="SECRETS: names no Secret"):
        gitops_files(run_program("dev"), None, named)


@pytest.mark.parametrize(
    "named", ["a grafana-0123abcd\r\n\0$(x) ../prometheus-auth-zz", "NAMESPACE NAME"]
)
def test_a_list_of_another_clusters_secrets_is_refused(named, run_program):
    """Pods would read Secrets that nobody made, and none of monitoring would start."""
    with pytest.raises(SettingsError) as refused:
        gitops_files(run_program("dev"), None, named)
    (line,) = refused.value.findings
    assert line.startswith("SECRETS: names no Secret of this stack, like ")


def test_a_list_of_secrets_for_a_review_is_refused(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("monitoring prometheus-auth-0a1b2c3d")
    with pytest.raises(SystemExit):
        main(["--stack", "prod", "--secrets", str(tmp_path / "names.txt"), "--out", str(tmp_path)])
    assert capsys.readouterr().err.endswith("set FORMAT=manifests\n")


def test_a_file_of_secrets_that_is_not_there_is_one_line(tmp_path, capsys):
    arguments = ["--stack", "prod", "--out", str(tmp_path / "out"), "--secrets", "no/such.txt"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--format", "manifests"])
    assert ended.value.code == 2
    assert "cannot be read" in capsys.readouterr().err.splitlines()[-1]


def test_the_list_says_what_each_key_holds(run_program):
    """Whoever makes a Secret fills in passwords, and needs to know no file's format."""
    files = gitops_files(run_program("dev"), None)
    (auth,) = [one for one in secrets_of(files) if one["metadata"]["name"] == "prometheus-auth"]
    assert auth["stringData"]["username"] == "prometheus"
    assert auth["stringData"]["password"] == "${prometheus-password}"
    web = yaml.safe_load(auth["stringData"]["web.yml"])
    assert web == {"basic_auth_users": {"prometheus": "${bcrypt of prometheus-password}"}}


def test_credentials_of_the_stack_file_are_marks_too(run_program):
    files = gitops_files(run_program("operator-slack"), None)
    secrets = {one["metadata"]["name"]: one["stringData"] for one in secrets_of(files)}
    assert secrets["alertmanager-credentials"] == {"oncall": "${oncall}"}
    assert "secure" not in files[SECRETS]


def test_secrets_of_others_are_named(variant):
    run = variant("dev", images={"pullSecrets": ["registry"]})
    assert "# monitoring/registry\n" in gitops_files(run, None)[SECRETS]


def test_a_namespace_of_others_is_theirs_to_label(variant):
    """Two applications that sync one namespace would undo each other's labels."""
    run = variant("dev", crawlers={"createNamespaces": False}, prometheus=OPERATOR)
    files = gitops_files(run, None)
    assert "crawlers" not in {
        one["metadata"]["name"] for one in synced(files) if one["kind"] == "Namespace"
    }
    (namespace,) = yaml.safe_load_all(files["required/namespaces.yaml"])
    assert namespace["kind"] == "Namespace"
    assert namespace["metadata"]["labels"]["istio-injection"] == "enabled"


def test_namespaces_with_pods_of_others_are_never_pruned(run_program):
    """Else a namespace that leaves the list goes with its crawlers."""
    for one in synced(gitops_files(run_program("prod"), None)):
        if one["kind"] == "Namespace" and one["metadata"]["name"] != "istio-system":
            annotations = one["metadata"]["annotations"]
            assert annotations["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
            assert annotations["kustomize.toolkit.fluxcd.io/prune"] == "disabled"


@pytest.mark.parametrize("shape", SHAPES)
def test_only_config_maps_have_what_flux_would_replace(run_program, shape):
    """The Kustomization of docs/gitops.md keeps `postBuild` away from these alone."""
    for one in synced(gitops_files(run_program(shape), None)):
        replaced = re.search(r"\$[{$]", json.dumps(one))
        assert not replaced or one["kind"] == "ConfigMap", one["metadata"]


def test_without_helm_charts_are_named(run_program):
    """For an Application or a HelmRelease, which render charts themselves."""
    files = gitops_files(run_program("prod"), None)
    chart = yaml.safe_load(files["helm/istiod.yaml"])
    assert {"chart", "version", "values", "repositoryOpts"} <= chart.keys()
    assert not [path for path in files if path.startswith(f"{FOLDER}/helm")]


def test_the_command_writes_them(tmp_path, monkeypatch):
    monkeypatch.delenv("STACK_FILE", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    arguments = ["--stack", "prod", "--out", str(tmp_path), "--format"]
    assert main([*arguments, "manifests"]) == 0
    assert (tmp_path / SECRETS).exists()
    assert {path.suffix for path in (tmp_path / FOLDER).rglob("*.*")} == {".yaml"}
    assert main([*arguments, "review"]) == 0
    assert not (tmp_path / FOLDER).exists()


def test_a_chart_that_helm_cannot_render_is_one_line(tmp_path, monkeypatch, capsys):
    helm = stand_in(tmp_path / "helm", "echo 'Error: no such\nhost' >&2; exit 1")
    monkeypatch.delenv("STACK_FILE", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: str(helm))
    out = tmp_path / "out"
    assert main(["--stack", "prod", "--out", str(out), "--format", "manifests"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        "istio.chartSource: helm cannot render istio-base: Error: no such host; correct the source,"
        " or render without helm on PATH"
    )
    assert not Path(out / FOLDER).exists()
