"""A copy of the project, and the `pulumi` CLI run in it as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from settings.loading import PROJECT, ROOT
from tests.programs import run_to_end

Json = dict[str, Any]

CONTEXT_KEY = "kubernetes:context"
UP_SECONDS = 400.0
LEFT_OUT = (".*", "__pycache__", "node_modules", "target", "docs", "tests", "lab", "rendered")
"""What the program does not read."""

NEEDED = ("crawlers", "istio-system", "monitoring", "proxy-vendors")
"""Namespaces that these tests create and delete."""


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    text: str
    """Everything it printed."""

    @property
    def counts(self) -> dict[str, int]:
        """How many resources were created, updated, … or would be, and left unchanged."""
        summary = self.text.rpartition("\nResources:")[2]
        found = re.findall(r"^ +(?:[-+~<>=]+ )?(\d+) (?:to )?(\w+)", summary, re.MULTILINE)
        return {word.removesuffix("d").removesuffix("e"): int(count) for count, word in found}

    @property
    def changes(self) -> dict[str, int]:
        return {word: n for word, n in self.counts.items() if word != "unchang"}


@dataclass
class Engine:
    """One stack, in a folder with a backend of its own."""

    folder: Path
    stack: str
    kubeconfig: Path
    later: dict[str, str] = field(default_factory=dict)
    """Variables of every later command, as the page says of a stack that was repaired."""

    @property
    def file(self) -> Path:
        return self.folder / "project" / f"Pulumi.{self.stack}.yaml"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PULUMI_", "KUBE"))}
        own = {
            "KUBECONFIG": os.fspath(self.kubeconfig),
            "PULUMI_BACKEND_URL": f"file://{self.folder}/backend",
            "PULUMI_HOME": f"{self.folder}/home",
            "PULUMI_CONFIG_PASSPHRASE": "engine",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        return {**kept, **own, **self.later, **more}

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive", "--color=never"],
            cwd=self.folder / "project",
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def pulumi(self, *arguments: str, **environment: str) -> Done:
        """Run the CLI; whether it succeeded is for the caller to see."""
        process = self.start(*arguments, **environment)
        try:
            text, _ = process.communicate(timeout=UP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            text, _ = process.communicate()
            raise AssertionError(f"pulumi {arguments[0]} did not end:\n{text[-3000:]}") from None
        return Done(process.returncode, text)

    def ok(self, *arguments: str, **environment: str) -> Done:
        done = self.pulumi(*arguments, **environment)
        assert done.code == 0, f"pulumi {' '.join(arguments)}:\n{done.text[-6000:]}"
        return done

    def preview(self, *more: str) -> Done:
        return self.ok("preview", "--suppress-outputs", "--suppress-progress", *more)

    def make_preview(self) -> str:
        """Return what `make preview` prints."""
        command = (ROOT / ".venv/bin/python", "-m", "render.preview", "--stack", self.stack)
        folder, environment = self.folder / "project", self.environment()
        return run_to_end(*command, seconds=UP_SECONDS, cwd=folder, env=environment).stdout

    def up(self, *more: str, **environment: str) -> Done:
        """Run `up`, as it is documented but for what it asks."""
        arguments = ("up", "--yes", "--skip-preview", "--suppress-outputs", *more)
        return self.ok(*arguments, **environment)

    def interrupted(
        self, arguments: Sequence[str], seen: str, number: signal.Signals, **environment: str
    ) -> Done:
        """Run the CLI, and send it a signal once a line matches."""
        process = self.start(*arguments, **environment)
        lines = []
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if re.search(seen, line):
                break
        else:
            raise AssertionError(f"up ended before {seen!r}:\n{''.join(lines)[-3000:]}")
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        lines += process.stdout.readlines()
        process.wait(60)
        return Done(process.returncode, "".join(lines))

    def edit(self, change: Callable[[Json], None]) -> None:
        """Change the stack file's own keys, without their prefix."""
        document = yaml.safe_load(self.file.read_text())
        own = {k.partition(":")[2]: v for k, v in document["config"].items() if PROJECT in k}
        change(own)
        others = {k: v for k, v in document["config"].items() if PROJECT not in k}
        document["config"] = others | {f"{PROJECT}:{k}": v for k, v in own.items()}
        self.file.write_text(yaml.safe_dump(document, sort_keys=False))

    def ids(self) -> dict[str, str]:
        """Return the id of each resource in the state; a replaced one may have another."""
        exported = json.loads(self.ok("stack", "export").text)
        resources = exported["deployment"].get("resources", ())
        return {each["urn"]: each.get("id", "") for each in resources}

    def kubectl(self, *arguments: str) -> str:
        return run_to_end("kubectl", *arguments, env=self.environment()).stdout

    def objects(self, kind: str, *arguments: str) -> list[str]:
        """Return the names of a kind's objects."""
        return self.kubectl("get", kind, "-o", "name", *arguments).split()

    def filters(self, namespace: str = "crawlers") -> set[str]:
        """Return the names of the EnvoyFilters."""
        names = self.objects("envoyfilters.networking.istio.io", "-n", namespace)
        return {name.partition("/")[2] for name in names}

    def namespaces(self) -> set[str]:
        names = {name.partition("/")[2] for name in self.objects("namespaces")}
        return names & set(NEEDED)


def new_engine(folder: Path, stack: str, kubeconfig: Path, charts: str, *, waits: bool) -> Engine:
    """Copy the project, and make one of its stacks in a new backend."""
    engine = Engine(folder, stack, kubeconfig)
    project = folder / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (project / ".venv").symlink_to(ROOT / ".venv")
    for name in ("backend", "home"):
        (folder / name).mkdir()
    if not waits:
        prefix = (Path(__file__).parent / "no_waits.py").read_text()
        program = (project / "__main__.py").read_text().replace("from __future__", "#", 1)
        (project / "__main__.py").write_text(prefix + program)
    if charts:
        engine.edit(lambda keys: keys.setdefault("istio", {}).update(chartSource=charts))
    engine.ok("stack", "init", stack)
    context = engine.kubectl("config", "current-context").strip()
    engine.ok("config", "set", CONTEXT_KEY, context)
    return engine
