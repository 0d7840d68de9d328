"""`python -m backups`: back up Prometheus' data, or restore it.

Exit codes: 0 done, 1 failed, with one line that says why.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from backups import objects, volumes
from backups.names import BackupError
from backups.objects import Store
from backups.report import serve_until_scraped

READY_SECONDS = 3600.0  # a first snapshot copies the whole volume in some clouds
SCRAPED_SECONDS = 1800.0  # a Prometheus that starts replays its log for a quarter of an hour


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.action == "volumes":
            snapshots = volumes.Snapshots(options.namespace, options.account)
            volumes.back_up(
                snapshots,
                options.claim,
                snapshot_class=options.snapshot_class,
                keep=options.keep,
                seconds=options.ready_seconds,
                say=say,
            )
        elif options.action == "objects":
            objects.back_up(
                _store(options),
                prometheus=options.prometheus,
                login=options.login,
                ca=options.ca,
                data=options.data,
                keep=options.keep,
                say=say,
            )
        else:
            objects.restore(_store(options), options.backup, options.data, say)
            return 0
    except (BackupError, OSError) as error:  # OSError: a full disk, a folder of another user
        print(error, file=sys.stderr, flush=True)
        return 1
    if not serve_until_scraped(options.port, options.scrapers, options.scraped_seconds):
        say(
            f"port {options.port}: Prometheus did not scrape it, and PrometheusBackupStale may fire"
        )
    return 0


def say(line: str) -> None:
    print(line, flush=True)


def _store(options: argparse.Namespace) -> Store:
    rclone = (options.rclone, f"--config={options.rclone_config}")
    return Store(rclone=rclone, remote=options.remote)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="backups", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)

    backing_up = argparse.ArgumentParser(add_help=False)
    backing_up.add_argument("--keep", type=int, required=True)
    backing_up.add_argument("--port", type=int, required=True, help="where Prometheus scrapes")
    backing_up.add_argument("--scrapers", type=int, required=True, help="how many Prometheus")
    backing_up.add_argument("--scraped-seconds", type=float, default=SCRAPED_SECONDS)

    storing = argparse.ArgumentParser(add_help=False)
    storing.add_argument("--rclone", required=True)
    storing.add_argument("--rclone-config", required=True)
    storing.add_argument("--remote", required=True)
    storing.add_argument("--data", type=Path, required=True, help="Prometheus' folder")

    snapshots = actions.add_parser("volumes", parents=[backing_up])
    snapshots.add_argument("--namespace", required=True)
    snapshots.add_argument("--account", type=Path, required=True)
    snapshots.add_argument("--claim", action="append", required=True)
    snapshots.add_argument("--class", dest="snapshot_class", default="")
    snapshots.add_argument("--ready-seconds", type=float, default=READY_SECONDS)

    copies = actions.add_parser("objects", parents=[backing_up, storing])
    copies.add_argument("--prometheus", required=True)
    copies.add_argument("--login", type=Path, required=True)
    copies.add_argument("--ca", type=Path)

    actions.add_parser("restore", parents=[storing]).add_argument("--backup", required=True)
    return parser


if __name__ == "__main__":
    # The kernel gives a container's first process no default: without it, the pod would run on
    # until it is killed, and its snapshot would stay on Prometheus' volume until the next backup.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    sys.exit(main())
