"""`make preflight` from end to end, with a kubectl that answers from a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from preflight.objects import KINDS
from settings.loading import ROOT
from tests.preflight.clusters import ADOPTED, VENDORS, objects, one

KUBECTL = """#!{python}
import json, pathlib, sys

here = pathlib.Path(__file__).parent
words = [word for word in sys.argv[1:] if not word.startswith("--")]
named = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
with (here / "asked").open("a") as asked:
    print(" ".join(sys.argv[1:]), file=asked)
cluster = json.loads((here / "cluster.json").read_text())
if cluster.get("chatty"):
    print("Fetching a login for user x ...")
if cluster.get("down"):
    sys.exit("Unable to connect to the server: dial tcp 10.0.0.1:6443: i/o timeout")
if words[0] == "version":
    print(json.dumps({{"serverVersion": {{"gitVersion": "v1.34.1"}}}}))
elif words[0] == "create":
    for review in json.loads(pathlib.Path(named["filename"]).read_text())["items"]:
        resource = review["spec"]["resourceAttributes"]["resource"]
        print(json.dumps({{"status": {{"allowed": resource not in cluster["may_not"]}}}}))
else:
    found = cluster["kinds"].get(words[1])
    if found is None:
        sys.exit(f'error: the server doesn\\'t have a resource type "{{words[1]}}"')
    if found == "forbidden":
        sys.exit(f"Error from server (Forbidden): {{words[1]}} is forbidden: User x cannot list")
    where = named.get("namespace")
    items = [one for one in found if where in (None, one["metadata"].get("namespace"))]
    print(json.dumps({{"items": items}}))
"""


@pytest.fixture
def preflight(tmp_path):
    """Return what runs the target against a cluster, by its exit code, words and report."""
    stack = {f"proxy-observability:{key}": value for key, value in ADOPTED.items()}
    stack |= {"proxy-observability:cluster": "x", "proxy-observability:vendors": VENDORS}
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(yaml.safe_dump({"config": {"kubernetes:context": "theirs", **stack}}))
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL.format(python=sys.executable))
    program.chmod(0o755)

    def run(*more, forbidden=(), may_not=(), **cluster):
        found = objects(*more)
        kinds = {each.resource: list(found.of(each.name)) for each in KINDS}
        kinds |= dict.fromkeys(forbidden, "forbidden")
        cluster = {"kinds": kinds, "may_not": list(may_not), **cluster}
        (program.parent / "cluster.json").write_text(json.dumps(cluster))
        environment = {**os.environ, "STACK_FILE": str(file), "PATH": str(program.parent)}
        done = subprocess.run(
            [sys.executable, "-m", "preflight", "--stack=x", f"--out={tmp_path}"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        report = json.loads((tmp_path / "preflight.json").read_text())
        asked = (program.parent / "asked").read_text().splitlines()
        assert report["status"] == done.returncode
        return done, report, asked

    return run


def test_a_cluster_with_nothing_in_the_way(preflight):
    done, report, asked = preflight()
    assert (done.returncode, report["findings"]) == (0, []), done.stderr
    assert report["target"] == "preflight"
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"cluster:", "good"}
    # It reads, in the stack's own context. The one thing that is sent asks, and is stored nowhere.
    assert all(line.startswith("--context=theirs ") for line in asked)
    verbs = [line.split()[1] for line in asked]
    assert {*verbs} == {"version", "get", "create"}
    assert verbs.count("create") == 1
    assert not [line for line in asked if "secrets" in line]


def test_what_stands_in_the_way_fails_and_a_warning_does_not(preflight):
    service = one("Service", "s", "shops", spec={"ports": [{"port": 3128, "name": "http"}]})
    done, report, _ = preflight(service)
    assert done.returncode == 0
    (warned,) = report["findings"]
    assert warned.startswith("warn: Service shops/s: takes port 3128")
    assert warned in done.stderr
    ambient = one("Namespace", "crawlers", labels={"istio.io/dataplane-mode": "ambient"})
    done, report, _ = preflight(service, ambient, may_not=["clusterroles"])
    assert done.returncode == 1
    assert [line.split()[0] for line in report["findings"]] == ["refuse:", "warn:", "refuse:"]
    assert "rights: this user may not create clusterroles.rbac.authorization.k8s.io" in done.stderr
    levels = {one["name"]: [f["level"] for f in one["findings"]] for one in report["checks"]}
    assert levels["namespaces"] == levels["rights"] == ["refuse"]


def test_a_right_that_lacks_is_told_once(preflight):
    done, report, asked = preflight(forbidden=["services"])
    assert (done.returncode, report["findings"]) == (0, [])
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("not checked")]
    assert line == "not checked: no right to list services in all namespaces"
    # A team with its own namespaces alone is answered about these.
    for own in ("crawlers", "istio-system", "monitoring"):
        assert len([line for line in asked if f"get services --namespace={own}" in line]) == 1


def test_a_cluster_that_does_not_answer_was_not_asked(preflight):
    done, report, _ = preflight(down=True)
    assert done.returncode == 2
    (line,) = report["findings"]
    assert "could not ask for the version (Unable to connect to the server" in line
    assert "Traceback" not in done.stderr


def test_a_wrapper_that_prints_more_is_no_traceback(preflight):
    """Logins and wrappers of kubectl print to standard output (int128/kubelogin#121)."""
    done, report, _ = preflight(chatty=True)
    assert done.returncode == 2
    (line,) = report["findings"]
    assert line.startswith("kubectl: could not ask for the version: no JSON; put kubectl itself")
    assert "Traceback" not in done.stderr
