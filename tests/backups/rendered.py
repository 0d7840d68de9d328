"""A rendered container run as a process: its own command and files, at the places of a test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from render.program import Run

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of a pod; `places` has what the pod's paths and addresses are here."""

    run: Run
    pod: Json
    own: Json
    folder: Path
    places: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    enter: Sequence[str] = ()
    """What runs a command where the test's servers are."""

    def command(self) -> list[str]:
        """Return its command and arguments; whole paths and addresses are replaced, no parts."""
        known = {"python": sys.executable, **self.places}
        names = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
        pattern = re.compile(rf"(?<![\w/.-])(?:{names})(?=$|/)")
        words = [*self.own.get("command", ()), *self.own.get("args", ())]
        return [pattern.sub(lambda found: known[found[0]], word) for word in words]

    def popen(self, *more: str) -> subprocess.Popen[str]:
        """Start it in its working directory, whose files come from the rendered ConfigMap."""
        return subprocess.Popen(
            [*self.enter, *self.command(), *more],
            cwd=self._working_directory(),
            # Nothing of the tests' own environment, as PYTHONPATH.
            env={"PATH": os.environ["PATH"], **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *more: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run it to its end.

        Args:
            more: arguments that follow its own.
        """
        with self.popen(*more) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _working_directory(self) -> Path:
        if "workingDir" not in self.own:
            return self.folder
        (mount,) = [m for m in self.own["volumeMounts"] if m["mountPath"] == self.own["workingDir"]]
        (source,) = [v["configMap"] for v in self.pod["volumes"] if v["name"] == mount["name"]]
        data = self.run.only("ConfigMap", source["name"])["data"]
        for item in source["items"]:
            path = self.folder / "program" / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(data[item["key"]], encoding="utf-8")
        return self.folder / "program"


def containers(run: Run, pod: Json, **more: Any) -> dict[str, Container]:
    """Return a pod's containers by name, init containers first."""
    found: Sequence[Json] = [*pod.get("initContainers", ()), *pod["containers"]]
    return {own["name"]: Container(run=run, pod=pod, own=own, **more) for own in found}


def pod_of_job(run: Run) -> Json:
    """Return the pod of the CronJob that backs up."""
    job = run.only("CronJob", "prometheus-backup")["spec"]["jobTemplate"]["spec"]
    pod: Json = job["template"]["spec"]
    return pod


def pod_of_prometheus(run: Run) -> Json:
    pod: Json = run.only("StatefulSet", "prometheus")["spec"]["template"]["spec"]
    return pod
