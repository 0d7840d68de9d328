"""Whether the lab's Envoy holds istio.stats, which counts in every sidecar of Istio.

Istio's own Envoy does, and so do upstream's `envoy-contrib` releases from 1.40 on (their
contrib/istio). Other Envoys get the stand-in of `components/attribution/standalone.py`.

    python -m lab.istio_stats

prints which of the two this machine's Envoy has. Exit codes: 0 istio.stats, 1 the stand-in,
2 no Envoy runs here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from components.attribution.discovery import STATS_TYPE
from lab.envoy import stand_ins
from lab.processes import LabError
from tools.find import NotFoundError, find

NATIVE = "this Envoy's own; nothing stands in for it"
STANDS_IN = "Envoy's stats access logger stands in; this Envoy has no istio.stats"

ASK_SECONDS = 60.0

# A listener that counts by istio.stats and does nothing else. Envoy knows the filter by its type.
_ASKS_FOR_IT = {
    "static_resources": {
        "listeners": [
            {
                "name": "asks",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "filter_chains": [
                    {"filters": [{"name": "istio.stats", "typed_config": {"@type": STATS_TYPE}}]}
                ],
            }
        ]
    }
}


@cache
def holds_istio_stats(envoy: Path) -> bool:
    """Ask an Envoy, once, whether it knows istio.stats.

    Raises:
        LabError: it does not run, or refuses for another reason.
    """
    command = [str(envoy), "--mode", "validate", "--config-yaml", json.dumps(_ASKS_FOR_IT)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{envoy}: does not run ({type(error).__name__})") from None
    if done.returncode == 0:
        return True
    # "could not find @type 'type.googleapis.com/stats.PluginConfig'"
    if "could not find @type" in done.stderr:
        return False
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    raise LabError(f"{envoy}: says nothing about istio.stats: {last[0]}")


def lab_has_istio_stats() -> bool:
    """Whether the Envoy that the lab runs counts as a sidecar of Istio does.

    Raises:
        LabError: there is no Envoy, or it does not run.
    """
    try:
        return holds_istio_stats(find("envoy"))
    except NotFoundError as error:
        raise LabError(str(error)) from None


def lab_stand_ins() -> tuple[str, ...]:
    """Return what the lab replaces on this machine; everything, if no Envoy runs here."""
    try:
        return stand_ins(native_stats=lab_has_istio_stats())
    except LabError:
        return stand_ins(native_stats=False)


def main() -> int:
    try:
        native = lab_has_istio_stats()
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"istio.stats  {NATIVE if native else STANDS_IN}", flush=True)
    return 0 if native else 1


if __name__ == "__main__":
    sys.exit(main())
