from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from difflib import ndiff, unified_diff
from pathlib import Path

import pytest
import yaml

from components.attribution import guard
from components.prometheus.estimate import estimate
from render.__main__ import main
from render.manifests import manifests
from render.program import MOCK_PASSWORD, run_program
from settings.loading import ROOT, load_stack_file
from tests.programs import run_to_end

TWO_CHAINS = ["10.2.0.0/16", "10.2.128.0/17"]


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def render(out: Path, path: Path | str, monkeypatch, stack="prod") -> dict[str, str]:
    monkeypatch.setenv("STACK_FILE", str(path))
    assert main(["--stack", stack, "--out", str(out)]) == 0
    return tree(out)


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_one_process_renders(stack, tmp_path):
    """A reviewer waits for it, imports and all: the time is printed."""
    environment = {key: value for key, value in os.environ.items() if key != "STACK_FILE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = (sys.executable, "-m", "render", "--stack", stack, "--out", tmp_path)
    done = run_to_end(*command, cwd=ROOT, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"render {stack}: {seconds:.1f} s")
    assert done.stderr in (
        "",
        "alertmanager.receivers: there are none, so no alert reaches anybody\n",
    )
    report = json.loads((tmp_path / "render.json").read_text())
    settings = load_stack_file(ROOT / f"Pulumi.{stack}.yaml")
    assert report["status"] == 0
    assert report["stack"] == stack
    assert report["validatedByEnvoy"] is (guard.envoy_here() is not None)
    assert report["expected"] == estimate(settings).as_output()
    assert report["files"] == sorted(set(tree(tmp_path)) - {"render.json"})


def test_the_same_stack_is_the_same_bytes(tmp_path, monkeypatch):
    """Else a diff of two renderings would show changes that nobody made."""
    stack_file = ROOT / "Pulumi.dev.yaml"
    first = render(tmp_path / "one", stack_file, monkeypatch, "dev")
    assert first == render(tmp_path / "two", stack_file, monkeypatch, "dev")


def test_files_are_where_they_are_looked_for(tmp_path, monkeypatch):
    """A folder a namespace; one object a file, named by kind and name; releases apart."""
    files = render(tmp_path, ROOT / "Pulumi.prod.yaml", monkeypatch)
    assert "_cluster/Namespace-crawlers.yaml" in files
    assert "monitoring/StatefulSet-prometheus.yaml" in files
    assert "crawlers/EnvoyFilter-proxy-vendor-vendor-a.yaml" in files
    for name, text in files.items():
        folder, _, file = name.partition("/")
        if name == "render.json" or folder in ("prometheus", "required", "optional"):
            continue
        content = yaml.safe_load(text)
        if folder == "helm":
            assert {"chart", "values", "version"} <= content.keys()
        else:
            assert content["metadata"].get("namespace", "_cluster") == folder
            assert file == f"{content['kind']}-{content['metadata']['name']}.yaml"
        assert "&id001" not in text or content["kind"] == "EnvoyFilter"


def test_a_patch_is_not_taken_for_a_namespace(edited, tmp_path, monkeypatch):
    """Whoever reads the folder sees that the namespace is somebody else's."""
    path = edited("prod", lambda keys: keys.update(crawlers={"createNamespaces": False}))
    files = render(tmp_path, path, monkeypatch)
    assert "_cluster/Namespace-crawlers.yaml" not in files
    patch = yaml.safe_load(files["_cluster/NamespacePatch-crawlers.yaml"])
    assert patch["kind"] == "Namespace"  # as `kubectl apply --server-side` takes it


def test_the_script_reads_as_a_script(edited, tmp_path, monkeypatch):
    """Lua stands in the file line by line, so that a changed range is one line of a diff."""
    pools = [{"range": "10.2.0.0/16", "pool": "isp"}]
    path = edited("prod", lambda keys: keys["vendors"][1].update(cidrs=pools))
    files = render(tmp_path, path, monkeypatch)
    lines = files["crawlers/EnvoyFilter-proxy-vendor-vendor-b.yaml"].splitlines()
    assert any(line.strip().startswith("function envoy_on_request(") for line in lines)
    assert [line.strip() for line in lines if "10.2.0.0/16" in line] == ["10.2.0.0/16 vendor-b isp"]


def test_what_is_written_once_is_read_everywhere(edited):
    """A reader that loses a YAML alias would deploy a chain without its filter."""
    path = edited("prod", lambda keys: keys["vendors"][1].update(cidrs=TWO_CHAINS))
    for one in run_program("prod", path).of_kind("EnvoyFilter"):
        (text,) = manifests([one]).values()
        assert yaml.safe_load(text) == one.inputs
        if one.name.endswith("vendor-b"):
            assert text.count("http_connection_manager.v3") == 1
            assert text.count("- *id") > 3


def test_an_added_range_changes_its_chain_only(edited, tmp_path, monkeypatch):
    """What a reviewer reads is what ends connections: two lists of ranges."""
    ranges = [*TWO_CHAINS, "10.2.9.0/24"]  # in the chain of the first
    first = edited("prod", lambda keys: keys["vendors"][1].update(cidrs=ranges))
    before = render(tmp_path / "one", first, monkeypatch)
    more = [*ranges, "10.2.23.0/24"]
    second = edited("prod", lambda keys: keys["vendors"][1].update(cidrs=more))
    after = render(tmp_path / "two", second, monkeypatch)
    name = "crawlers/EnvoyFilter-proxy-vendor-vendor-b.yaml"
    assert [one for one in before if before[one] != after[one]] == [name]
    added = list(unified_diff(before[name].splitlines(), after[name].splitlines(), n=0))[2:]
    assert sorted(line.strip("+ ") for line in added if not line.startswith("@@")) == [
        "- {address_prefix: 10.2.23.0, prefix_len: 24}",
        "- {address_prefix: 10.2.23.0, prefix_len: 24}",
    ]


def test_a_stack_of_thousands_of_ranges_is_validated_too(edited, in_file, tmp_path, monkeypatch):
    """Envoy was not run: Linux starts no program with an environment variable of 128 KiB."""
    validations = []

    def validated(envoy, bootstrap):
        done = run_to_end(envoy, "--version")
        validations.append((len(bootstrap), done.returncode))
        return ""

    monkeypatch.setattr(guard, "_validated", validated)
    ranges = [f"11.{n // 200}.{n % 200}.1/32" for n in range(8_000)]
    path = edited("prod", in_file(ranges))
    render(tmp_path / "out", path, monkeypatch)
    ((size, code),) = validations
    assert size > 900_000
    assert code == 0


def test_a_changed_plan_rolls_the_pods_that_read_it(edited, tmp_path, monkeypatch):
    """The ConfigMap keeps its name, and the pods' template has a digest of what is in it."""

    def faster(keys):
        keys["loadGenerator"]["requestsPerSecond"] = 20

    before = render(tmp_path / "one", ROOT / "Pulumi.dev.yaml", monkeypatch, "dev")
    after = render(tmp_path / "two", edited("dev", faster), monkeypatch, "dev")
    assert after.keys() == before.keys()
    changed = {name for name in after if before[name] != after[name]}
    assert changed == {
        "crawlers/ConfigMap-load-generator-files.yaml",
        "crawlers/StatefulSet-load-generator.yaml",
    }
    lines = ndiff(
        *(text["crawlers/StatefulSet-load-generator.yaml"].splitlines() for text in (before, after))
    )
    (line,) = (line for line in lines if line.startswith("+ "))
    assert line.strip("+ ").startswith("proxy-observability/program: ")


def test_no_secret_is_written(tmp_path, monkeypatch):
    """Renderings are put into reviews: a Secret shows its keys and nothing else."""
    files = render(tmp_path, ROOT / "Pulumi.prod.yaml", monkeypatch)
    secrets = [yaml.safe_load(text) for name, text in files.items() if "/Secret-" in name]
    assert secrets
    for secret in secrets:
        assert set(secret["stringData"].values()) == {"REDACTED"}
    assert not any(MOCK_PASSWORD in text for text in files.values())


def test_what_is_no_longer_rendered_is_removed(edited, tmp_path, monkeypatch):
    """A vendor that left leaves no file behind; files of others stay."""
    out = tmp_path / "out"
    render(out, ROOT / "Pulumi.prod.yaml", monkeypatch)
    notes = out / "crawlers" / "notes.txt"
    notes.write_text("mine")
    (tmp_path / "beside.yaml").write_text("mine")
    report = json.loads((out / "render.json").read_text())
    report["files"] += ["../beside.yaml", "/etc/hostname", 3]
    (out / "render.json").write_text(json.dumps(report))

    files = render(out, edited("prod", lambda keys: keys["vendors"].pop()), monkeypatch)
    assert "crawlers/EnvoyFilter-proxy-vendor-vendor-c.yaml" not in files
    assert "crawlers/EnvoyFilter-proxy-vendor-vendor-b.yaml" in files
    assert notes.exists()
    assert (tmp_path / "beside.yaml").exists()


def test_a_bad_file_renders_nothing(edited, tmp_path, monkeypatch, capsys):
    """Exit code 1, every finding a line, and no manifest that somebody could apply."""
    out = tmp_path / "out"
    render(out, ROOT / "Pulumi.prod.yaml", monkeypatch)

    def spoil(keys):
        keys["vendors"][0]["cidrs"] = ["10.1.0.0/33"]
        keys["prometheus"]["replicas"] = 9

    monkeypatch.setenv("STACK_FILE", str(edited("prod", spoil)))
    capsys.readouterr()
    assert main(["--stack", "prod", "--out", str(out)]) == 1
    findings = capsys.readouterr().err.splitlines()
    assert len(findings) == 2
    assert any(finding.startswith("vendors[0].cidrs[0]: '10.1.0.0/33'") for finding in findings)
    assert tree(out).keys() == {"render.json"}
    assert json.loads((out / "render.json").read_text()) == {"status": 1, "findings": findings}


def test_what_the_program_refuses_renders_nothing(edited, own_rules, tmp_path, monkeypatch):
    """Not only settings: also what follows from them, here a rule file."""
    alerts = own_rules("groups: [")
    path = edited("prod", lambda keys: keys.update(alerts=alerts))
    monkeypatch.setenv("STACK_FILE", str(path))
    assert main(["--stack", "prod", "--out", str(tmp_path / "out")]) == 1
    assert tree(tmp_path / "out").keys() == {"render.json"}
    (finding,) = json.loads((tmp_path / "out" / "render.json").read_text())["findings"]
    assert finding.startswith("alerts.ruleFiles[0]: shops.yml: is not YAML in line 1 (")


def test_a_missing_file_leaves_an_earlier_render(tmp_path, monkeypatch, capsys):
    """A misspelt stack removes no manifests, and the next run still knows which were its own."""
    before = render(tmp_path, ROOT / "Pulumi.prod.yaml", monkeypatch)
    monkeypatch.setenv("STACK_FILE", str(tmp_path / "Pulumi.nowhere.yaml"))
    assert main(["--stack", "nowhere", "--out", str(tmp_path)]) == 2
    assert "there is no such file" in capsys.readouterr().err
    after = tree(tmp_path)
    report = json.loads(after.pop("render.json"))
    earlier = json.loads(before.pop("render.json"))
    assert (after, report["files"]) == (before, earlier["files"])


def test_standard_output_that_takes_nothing_is_one_line(tmp_path):
    """A full disk: exit code 2, and no traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "render", "--stack", "dev", "--out", str(tmp_path)],
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if key != "STACK_FILE"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("standard output: cannot be written: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("stack", ["..", "../../elsewhere"])
def test_a_stack_cannot_lead_out_of_the_folder(stack, tmp_path, monkeypatch, capsys):
    """A name with a path in it writes nothing anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STACK_FILE", raising=False)
    assert main(["--stack", stack]) == 2
    assert "is no stack's name" in capsys.readouterr().err
    assert list(tmp_path.rglob("*")) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys):
    """OUT names a file: could not run, and no traceback."""
    monkeypatch.delenv("STACK_FILE", raising=False)
    (tmp_path / "out").write_text("")
    assert main(["--stack", "dev", "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("OUT: cannot be written: ")
