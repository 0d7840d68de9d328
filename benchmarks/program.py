"""Measure the CPU and memory of a run of the Pulumi program, and of its imports alone."""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.measure import Measure
from settings.loading import ROOT

ROUNDS = 5
SIZE = """
import resource
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
"""

PACKAGE = "import pulumi_kubernetes"
# The package itself imports nothing until a name in it is used.
MODULES = """
import pulumi, pulumi_random, pydantic, yaml
from pulumi_kubernetes import Provider, apiextensions
from pulumi_kubernetes import apps, batch, core, helm, meta, networking, policy, rbac
apps.v1.Deployment, batch.v1.CronJob, core.v1.Service, helm.v3.Release, meta.v1.ObjectMetaArgs
networking.v1.NetworkPolicy, policy.v1.PodDisruptionBudget, rbac.v1.Role
"""
PROGRAM = "from render.program import run_program; run_program('prod')"


def against_imports() -> list[Measure]:
    """Compare a run for the production stack, under mocks, with the imports that it needs."""
    found: dict[str, list[tuple[float, float]]] = {PACKAGE: [], MODULES: [], PROGRAM: []}
    for _ in range(ROUNDS):
        for code, rounds in found.items():
            rounds.append(_run(code))
    seconds = {code: statistics.median(cpu for cpu, _ in rounds) for code, rounds in found.items()}
    memory = {code: max(size for _, size in rounds) for code, rounds in found.items()}

    def ratio(code: str, goal: float | None, what: str) -> Measure:
        return Measure(
            name=f"program for prod / {what}: CPU",
            value=seconds[PROGRAM] / seconds[code],
            goal=goal,
            note=f"{seconds[PROGRAM]:.2f} s / {seconds[code]:.2f} s; {ROUNDS} rounds",
        )

    return [
        ratio(PACKAGE, 1.3, "import pulumi_kubernetes"),
        ratio(MODULES, None, "import of the modules it uses"),
        Measure(
            name="program for prod: resident memory",
            value=memory[PROGRAM] / 1e6,
            unit="MB",
            note=f"its imports {memory[MODULES] / 1e6:.0f} MB",
        ),
    ]


def _run(code: str) -> tuple[float, float]:
    """Return the CPU seconds and the most resident bytes of a process that runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{SIZE}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    cpu, size = done.stdout.split()[-2:]
    return float(cpu), float(size)
