"""`make preview`: what `pulumi preview --json` says, and what a person reads of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from render.preview import STREAMS, UNKNOWN, main, text

Json = dict[str, Any]

URN = "urn:pulumi:prod::proxy-observability::proxyobs:some:Component$"


def config_map(**files: str) -> Json:
    inputs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rules", "namespace": "monitoring"},
        "data": files,
    }
    return {"inputs": inputs}


def secret(data: Any) -> Json:
    metadata = {"name": "login", "namespace": "monitoring"}
    return {"inputs": {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}}


def step(op: str, kind: str, name: str, **states: Any) -> Json:
    return {"op": op, "urn": f"{URN}{kind}::{name}", **states}


REFUSED = "error: vendors[0].cidrs[0]: is no range; write one"
CHANGES = "error: no changes were expected but changes were proposed"
NO_STACK = "error: no stack named 'prod' found"

PREVIEW = {
    "steps": [
        step("same", "pulumi:pulumi:Stack", "proxy-observability-prod"),
        step(
            "update",
            "kubernetes:core/v1:ConfigMap",
            "prometheus-rules",
            oldState=config_map(**{"a.yml": "kept: 1\nlimit: 5\n", "b.yml": "x: 1\ny: 2\n"}),
            newState=config_map(**{"a.yml": "kept: 1\nlimit: 7\n", "b.yml": "x: 1\ny: 2\n"}),
        ),
        step(
            "replace",
            "kubernetes:core/v1:Secret",
            "login",
            oldState=secret({"password": "aHVudGVyMg=="}),
            newState=secret("[secret]"),
            replaceReasons=["metadata.name"],
        ),
        step("create-replacement", "kubernetes:core/v1:Secret", "login", newState=secret({})),
        step(
            "create",
            "random:index/randomPassword:RandomPassword",
            "grafana",
            newState={"inputs": {"length": 32}},
        ),
        step(
            "delete",
            "kubernetes:helm.sh/v3:Release",
            "istiod",
            oldState={"inputs": {"name": "istiod", "chart": "istiod", "checksum": "x"}},
        ),
    ],
    "diagnostics": [
        {"severity": "warning", "message": "warning: using pulumi-resource-kubernetes from $PATH"},
        {"severity": "warning", "message": "warning: alertmanager.receivers: there are none\n"},
        {"severity": "warning", "message": "warning: alertmanager.receivers: there are none\n"},
        {"severity": "error", "message": f"{REFUSED}\n"},
    ],
    "changeSummary": {"same": 74, "update": 1},
}

SHOWN = """\
warning: alertmanager.receivers: there are none
4 to change, 74 unchanged
  delete  helm/istiod.yaml
  update  monitoring/ConfigMap-rules.yaml
  replace monitoring/Secret-login.yaml because of metadata.name
  create  random:index/randomPassword:RandomPassword grafana

--- helm/istiod.yaml
+++ helm/istiod.yaml
@@ -1,2 +0,0 @@
-chart: istiod
-name: istiod

--- monitoring/ConfigMap-rules.yaml
+++ monitoring/ConfigMap-rules.yaml
@@ -2,7 +2,7 @@
 data:
   a.yml: |
     kept: 1
-    limit: 5
+    limit: 7
   b.yml: |
     x: 1
     y: 2

--- monitoring/Secret-login.yaml
+++ monitoring/Secret-login.yaml
@@ -1,6 +1,5 @@
 apiVersion: v1
-data:
-  password: REDACTED
+data: REDACTED
 kind: Secret
 metadata:
   name: login"""


def test_a_file_is_compared_by_line_and_a_secret_s_content_is_not_shown() -> None:
    """What stays is not repeated, a replacement is one entry and says what caused it."""
    assert text(PREVIEW) == SHOWN
    assert text({"steps": [], "changeSummary": {"same": 82}}) == "0 to change, 82 unchanged"


def test_of_a_new_stack_only_the_list_is_shown() -> None:
    """It would be 15,000 lines, with the list out of sight."""
    steps = [step("create", "kubernetes:core/v1:ConfigMap", "x", newState=config_map(a="b"))]
    assert text({"steps": steps, "changeSummary": {"create": 1}}) == (
        "1 to change, 0 unchanged\n  create  monitoring/ConfigMap-rules.yaml\n"
        "All is new: `make render` writes the manifests."
    )


@pytest.mark.parametrize(
    ("one", "listed"),
    [
        (
            step(
                "delete",
                "kubernetes:core/v1:ConfigMap",
                "x",
                oldState={**config_map(a="b"), "retainOnDelete": True},
            ),
            "delete[retain] monitoring/ConfigMap-rules.yaml",
        ),
        (
            step(
                "update",
                "kubernetes:core/v1:Secret",
                "login",
                oldState=secret({"password": "aHVudGVyMg=="}),
                newState=secret({"password": "[secret]"}),
                detailedDiff={"data.password": {"kind": "update", "inputDiff": True}},
            ),
            "update  monitoring/Secret-login.yaml because of data.password",
        ),
    ],
)
def test_what_has_no_diff_says_why(one: Json, listed: str) -> None:
    """What stays in the cluster has no line that goes; a Secret's content is in no line."""
    assert text({"steps": [one], "changeSummary": {}}) == f"1 to change, 0 unchanged\n  {listed}"


def test_a_line_ends_only_where_the_file_s_does() -> None:
    """`str.splitlines` makes two of a text with another separator of Unicode in it."""
    states = {"oldState": config_map(a="x\u2028y"), "newState": config_map(a="x\u2028z")}
    one = step("update", "kubernetes:core/v1:ConfigMap", "x", **states)
    assert sum(line[:1] == "-" for line in text({"steps": [one]}).split("\n")) == 2


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `pulumi` that writes down how it was called, and prints what a file beside it holds."""
    program = tmp_path / "pulumi"
    program.write_text(
        f'#!/bin/sh\necho "$*" ${STREAMS} >{tmp_path}/called\ncat {tmp_path}/said\n'
        f"cat {tmp_path}/errors >&2\nexit $(cat {tmp_path}/code)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv(STREAMS, "set-by-the-user")
    monkeypatch.delenv("STACK_FILE", raising=False)
    for name, value in (("code", "0"), ("said", "{}"), ("errors", "")):
        (tmp_path / name).write_text(value)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "said", "errors", "out", "err"),
    [
        (0, json.dumps(PREVIEW), "", SHOWN, ""),
        (255, json.dumps(PREVIEW), "", "", REFUSED),
        (1, "", NO_STACK, "", NO_STACK),
        # PULUMI_OPTION_EXPECT_NO_CHANGES: the preview is whole.
        (7, '{"steps": []}', CHANGES, "0 to change, 0 unchanged", CHANGES),
    ],
)
def test_the_engine_s_own_words_are_said_when_it_fails(
    pulumi: Path,
    capsys: pytest.CaptureFixture[str],
    code: int,
    said: str,
    errors: str,
    out: str,
    err: str,
) -> None:
    for name, value in (("code", code), ("said", said), ("errors", errors)):
        (pulumi / name).write_text(str(value))
    assert main(["--stack", "prod"]) == code
    assert [one.strip() for one in capsys.readouterr()] == [out, err]
    called = (pulumi / "called").read_text()
    assert called == "preview --json --non-interactive --stack=prod\n"  # it shows no secrets


def test_what_only_up_will_know_is_said(pulumi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states = {"oldState": config_map(a="b"), "newState": config_map(a=UNKNOWN)}
    one = step("update", "kubernetes:core/v1:ConfigMap", "x", **states)
    (pulumi / "said").write_text(json.dumps({"steps": [one]}))
    assert main(["--stack", "prod"]) == 0
    assert "\n+  a: '(known after up)'\n" in capsys.readouterr().out


def test_a_stack_file_elsewhere_is_what_the_engine_reads(
    pulumi: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The CLI writes the file that it is told to read, if there is none."""
    file = pulumi / "mine.yaml"
    monkeypatch.setenv("STACK_FILE", str(file))
    assert main(["--stack", "prod"]) == 2
    assert capsys.readouterr().err == f"STACK_FILE: {file} is no file; name the stack's\n"
    file.touch()
    assert main(["--stack", "prod"]) == 0
    assert (pulumi / "called").read_text().endswith(f" --stack=prod --config-file={file}\n")


def test_without_the_cli_its_absence_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--stack", "prod"]) == 2
    assert capsys.readouterr().err == "pulumi: is not on PATH; install it (README.md)\n"
