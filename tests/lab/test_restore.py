"""The restore drill: load, back up, wipe, restore, and ask a real Prometheus 50 queries again.

Every program runs with the command that the stack renders for its container. The object store is a
WebDAV server of rclone's own; a volume snapshot is a copy of the folder while Prometheus is stopped
in the middle of its work, as a disk's snapshot is.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from backups.objects import MARK, RESTORING
from backups.report import METRIC
from books.prometheus import PASSWORD as AUDIT_PASSWORD
from books.prometheus import USER, Prometheus
from components.file_text import yaml_text
from components.prometheus.config import (
    BasicAuth,
    StaticTargets,
    prometheus_config,
    web_config,
)
from components.prometheus.rules import server_rules
from lab.processes import Children, children
from render.program import Run, run_program
from tests.backups.rendered import Container, containers, pod_of_job, pod_of_prometheus
from tests.lab.conftest import until
from tests.lab.sidecars import exposed, page
from tests.lab.test_federation import shortened
from tests.lab.test_password import HASH, PASSWORD
from tests.ports import free_ports
from tools.find import find
from verify.backups import backups_check

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not on PATH"),
]

SIDECARS = [f"127.21.1.{n}" for n in range(1, 9)]
VENDORS = ("vendor-a", "vendor-b", "vendor-c")
LOADED_SECONDS = 20
QUERIES = 50
SECONDS = 120.0
STORE = {"path": "backups/lab", "secret": "backup-storage"}
LOGIN = "Basic " + base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()


def stack(**prometheus: Any) -> dict[str, Any]:
    return {
        "cluster": "lab",
        "vendors": [
            {"name": name, "cidrs": [f"10.{n}.0.0/16"]} for n, name in enumerate(VENDORS, 1)
        ],
        "crawlers": {"expectedPods": len(SIDECARS)},
        "prometheus": {
            "scrapeInterval": "1s",
            "backup": {"keep": 2, "objectStorage": STORE},
            **prometheus,
        },
    }


def rendered(folder: Path, **prometheus: Any) -> Run:
    keys = {f"proxy-observability:{key}": value for key, value in stack(**prometheus).items()}
    path = folder / "Pulumi.lab.yaml"
    path.write_text(yaml.safe_dump({"config": keys}))
    return run_program("lab", path)


@dataclass
class Drill:
    """One Prometheus, its volume, and the object store."""

    folder: Path
    family: Children
    run: Run
    url: str
    backup_port: int
    store: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def containers(self, run: Run, pod: dict[str, Any]) -> dict[str, Container]:
        """Return a pod's containers, with the places of this machine."""
        places = {
            "/prometheus": str(self.data),
            "/etc/prometheus": str(self.folder),
            "/etc/rclone": str(self.folder),
            "/tools": str(self.folder),
            "/usr/local/bin/rclone": str(shutil.which("rclone")),
            "http://prometheus-0.prometheus-pods:9090": self.url,
            "9466": str(self.backup_port),
        }
        return containers(run, pod, folder=self.folder, places=places)

    def start(self) -> None:
        """Start Prometheus as its pod does, and wait until it answers."""
        arguments = self.containers(self.run, pod_of_prometheus(self.run))["prometheus"].command()
        address = self.url.removeprefix("http://")
        command = [str(find("prometheus")), *arguments, f"--web.listen-address={address}"]
        log = self.folder / "prometheus.log"
        self.family.start("prometheus", command, log=log, environment={"POD_NAME": "one"})
        until(lambda: self.ask("/-/ready") is not None, SECONDS)

    def stop(self) -> None:
        self.family.end("prometheus", signal.SIGTERM)

    def ask(self, path: str) -> bytes | None:
        request = urllib.request.Request(self.url + path, headers={"Authorization": LOGIN})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return bytes(answer.read())
        except OSError:
            return None

    def query(self, expression: str, start: int, end: int) -> Any:
        query = {"query": expression, "start": start, "end": end, "step": 1}
        answer = self.ask(f"/api/v1/query_range?{urllib.parse.urlencode(query)}")
        assert answer is not None, expression
        result = json.loads(answer)["data"]["result"]
        return sorted(result, key=lambda series: sorted(series["metric"].items()))

    def has_all_until(self, second: int) -> bool:
        """Return whether what is scraped or recorded from now on is later than this second.

        A scrape and a rule write their samples with the time at which they began.
        """
        targets, rules = (
            json.loads(self.ask(f"/api/v1/{page}") or b"{}").get("data", {})
            for page in ("targets", "rules")
        )
        times = [one["lastScrape"] for one in targets.get("activeTargets", ())]
        times += [one["lastEvaluation"] for one in rules.get("groups", ())]
        return bool(times) and all(seconds_of(time) > second for time in times)

    def names(self) -> list[str]:
        answer = self.ask("/api/v1/label/__name__/values")
        return list(json.loads(answer or b'{"data": []}')["data"])

    def back_up(self) -> subprocess.CompletedProcess[str]:
        pod = self.containers(self.run, pod_of_job(self.run))
        assert pod["rclone"].finish().returncode == 0
        return pod["backup"].finish()

    def restore(self, backup: str) -> subprocess.CompletedProcess[str]:
        run = rendered(self.folder, restoreFrom=backup)
        pod = self.containers(run, pod_of_prometheus(run))
        assert pod["rclone"].finish().returncode == 0
        return pod["restore"].finish()

    def wipe(self) -> None:
        shutil.rmtree(self.data)
        self.data.mkdir()


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    folder = tmp_path_factory.mktemp("restore")
    own, store_port, backup_port = free_ports(["127.0.0.1"] * 3)
    (sidecar_port,) = free_ports([SIDECARS[0]])
    run = rendered(folder)
    store = folder / "store"
    for name in ("data", "config", "rules", "auth", "store"):
        (folder / name).mkdir()
    (folder / "rclone.conf").write_text(
        f"[backup]\ntype = webdav\nurl = http://127.0.0.1:{store_port}\nvendor = other\n"
    )
    (folder / "auth" / "username").write_text("prometheus")
    (folder / "auth" / "password").write_text(PASSWORD)
    (folder / "auth" / "web.yml").write_text(yaml_text(web_config("prometheus", HASH)))
    targets = StaticTargets(
        sidecars=tuple(f"{address}:{sidecar_port}" for address in SIDECARS),
        prometheus=(f"127.0.0.1:{own}",),
        backup=(f"127.0.0.1:{backup_port}",),
    )
    config = prometheus_config(
        run.settings,
        targets=targets,
        rule_files=(str(folder / "rules" / "*.yml"),),
        prometheus_auth=BasicAuth(
            username="prometheus", password_file=str(folder / "auth" / "password")
        ),
    )
    (folder / "config" / "prometheus.yml").write_text(yaml_text(config))
    for name, text in server_rules(run.settings).items():
        (folder / "rules" / name).write_text(shortened(text))

    pages = {
        address: lambda seconds, number=number: page(number, seconds, VENDORS)
        for number, address in enumerate(SIDECARS)
    }
    with exposed(pages, sidecar_port), children() as family:
        serving = ["rclone", "serve", "webdav", f"--addr=127.0.0.1:{store_port}", str(store)]
        serving.append("--dir-cache-time=0s")  # else it would not see what tests put there
        family.start("store", serving, log=folder / "store.log")
        own_url = f"http://127.0.0.1:{own}"
        drill = Drill(folder, family, run, own_url, backup_port, store)
        drill.start()
        yield drill
        family.check()


def questions(drill: Drill) -> list[str]:
    """Return 50 queries: every record, the raw series of sidecars, and sums of rates."""
    names = drill.names()
    chosen = [name for name in names if ":" in name and "threshold" not in name]
    chosen += [f"sum by (proxy_vendor) (rate({n}[5s]))" for n in names if n.startswith("istio_")]
    chosen += [name for name in names if name.startswith(("istio_", "envoy_", "prometheus_"))]
    return chosen[:QUERIES]


def differing(drill: Drill, before: dict[str, Any], start: int, end: int) -> list[str]:
    return [text for text, answer in before.items() if drill.query(text, start, end) != answer]


@pytest.fixture(scope="module")
def loaded(drill: Drill) -> int:
    """Load until every query has data; return when the load began."""
    begun = int(time.time())
    until(lambda: len(questions(drill)) == QUERIES, SECONDS)
    time.sleep(max(0.0, begun + LOADED_SECONDS - time.time()))
    return begun


def seconds_of(time: str) -> float:
    """Return the seconds since the epoch of a time as Prometheus writes it: to the nanosecond."""
    return datetime.fromisoformat(re.sub(r"\.\d+", "", time)).timestamp()


def steady(drill: Drill, start: int) -> tuple[list[str], int]:
    """Return questions that all have answers up to a second of which nothing is written any more.

    Else a name that is new has no value yet, and a scrape that was under way adds one afterwards.
    """
    asked = questions(drill)
    until(lambda: all(drill.query(text, start, int(time.time())) for text in asked), SECONDS)
    taken = int(time.time())
    until(lambda: drill.has_all_until(taken), SECONDS)
    return asked, taken


def answers(drill: Drill, asked: list[str], start: int, end: int) -> dict[str, Any]:
    assert len(asked) == QUERIES
    found = {text: drill.query(text, start, end) for text in asked}
    assert [text for text, answer in found.items() if not answer] == []
    return found


def test_after_a_wipe_the_backup_answers_as_before(drill: Drill, loaded: int) -> None:
    """Load, snapshot, wipe, restore: not one of 50 queries differs up to the snapshot."""
    asked, taken = steady(drill, loaded)
    done = drill.back_up()
    assert done.returncode == 0, done.stderr
    (backup,) = re.findall(r"^backup (\S+): complete$", done.stdout, re.MULTILINE)
    assert (drill.store / "backups" / "lab" / backup / "complete.json").exists()
    assert [*(drill.data / "snapshots").iterdir()] == [], "its links would keep old blocks"
    before = answers(drill, asked, loaded, taken)

    drill.stop()
    drill.wipe()
    restored = drill.restore(backup)
    assert restored.returncode == 0, restored.stderr
    drill.start()

    differ = differing(drill, before, loaded, taken)
    print(f"\n{len(differ)} of {len(before)} queries differ up to the snapshot")
    assert differ == []


def test_nights_go_by(drill: Drill, loaded: int) -> None:
    """Two are kept; what a killed backup left goes, and what is somebody else's stays."""
    store = drill.store / "backups" / "lab"
    for name in ("20200101-030000", "20200102-030000", "somebody-elses"):
        (store / name).mkdir()
    (store / "20200102-030000" / MARK).write_text("{}")
    left_over, theirs = (drill.data / "snapshots" / name for name in ("killed", "made-by-hand"))
    for folder in (left_over, theirs):
        folder.mkdir(parents=True)
    (left_over / MARK).write_text("{}")
    os.utime(left_over / MARK, (0, 0))
    found = len([*store.iterdir()])

    assert drill.back_up().returncode == 0
    names = {path.name for path in store.iterdir()}
    assert "somebody-elses" in names
    assert names.isdisjoint({"20200101-030000", "20200102-030000"})
    assert len(names) == found - 1
    assert [*(drill.data / "snapshots").iterdir()] == [theirs]


def test_prometheus_has_seen_the_backups(drill: Drill, loaded: int) -> None:
    """The pod waits for its scrape; without the sample the alert would fire 26 hours later."""
    query = f'count_over_time({METRIC}{{job="backup"}}[1h])'

    def has_sample() -> bool:
        soon = int(time.time()) + 1  # whole seconds, and it may have been scraped in this one
        return bool(drill.query(query, soon, soon))

    until(has_sample, SECONDS)
    login = {USER: "prometheus", AUDIT_PASSWORD: PASSWORD}
    check = backups_check(Prometheus(drill.url, login))
    assert (check.said, check.findings) == ("the newest is 0.0 hours old", [])


def test_what_refuses_is_named_and_nothing_lost(drill: Drill, loaded: int) -> None:
    """One line in the pod's log."""
    before = sorted(drill.store.rglob("*"))
    password = drill.folder / "auth" / "password"
    password.write_text("wrong")
    done = drill.back_up()
    password.write_text(PASSWORD)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{drill.url}/api/v1/admin/tsdb/snapshot: 401 ")

    config = drill.folder / "rclone.conf"
    text = config.read_text()
    config.write_text(re.sub(r"(url = http://127.0.0.1:)\d+", r"\g<1>1", text))
    done = drill.back_up()
    config.write_text(text)
    assert done.returncode == 1
    assert done.stderr.startswith("rclone copy backup:backups/lab: ")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(drill.store.rglob("*")) == before


def test_a_snapshot_of_the_running_volume_answers_as_before(drill: Drill, loaded: int) -> None:
    """A volume snapshot stops nothing: Prometheus replays its log as after a power cut."""
    loaded = int(time.time()) - 5  # the test before has restarted it
    pid = next(child.process.pid for child in drill.family._running if child.name == "prometheus")
    asked, taken = steady(drill, loaded)
    os.kill(pid, signal.SIGSTOP)
    shutil.copytree(drill.data, drill.folder / "snapshot", ignore=shutil.ignore_patterns("lock"))
    os.kill(pid, signal.SIGCONT)
    before = answers(drill, asked, loaded, taken)

    drill.stop()
    shutil.rmtree(drill.data)
    (drill.folder / "snapshot").rename(drill.data)
    drill.start()

    differ = differing(drill, before, loaded, taken)
    print(f"\n{len(differ)} of {len(before)} queries differ up to the snapshot")
    assert differ == []


def folder_of(path: Path) -> set[str]:
    return {str(one.relative_to(path)) for one in path.rglob("*") if one.is_file()}


def test_a_volume_with_data_stays_as_it_is(drill: Drill, loaded: int) -> None:
    """`restoreFrom` may stand for ever: each start of the pod runs it."""
    drill.stop()
    (drill.data / "lost+found").mkdir()
    before = folder_of(drill.data)
    backup = max(path.parent.name for path in drill.store.rglob(MARK))
    done = drill.restore(backup)
    assert done.returncode == 0
    assert "has data, which stays" in done.stdout
    assert folder_of(drill.data) == before

    drill.wipe()
    (drill.data / "lost+found").mkdir()
    assert drill.restore(backup).returncode == 0
    whole = folder_of(drill.data)
    assert whole == folder_of(drill.store / "backups" / "lab" / backup) - {MARK}

    # Interrupted when one block had been moved.
    blocks = sorted(path for path in drill.data.iterdir() if path.name != "lost+found")
    for block in blocks[1:]:
        shutil.rmtree(block)
    (drill.data / RESTORING).mkdir()
    assert drill.restore(backup).returncode == 0
    assert folder_of(drill.data) == whole

    drill.wipe()
    done = drill.restore("20200101-000000")
    assert done.returncode == 1
    assert "is not there or not complete; there: " in done.stderr
    assert backup in done.stderr
    assert [*drill.data.iterdir()] == [], "the next start must not take it for filled"
    drill.start()
