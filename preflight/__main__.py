"""`make preflight`: what in a cluster stands in the way of a stack's `pulumi up`?

It reads the cluster and changes nothing. Exit codes: 0 nothing stands in the way, 1 something
does, 2 could not ask.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from discover.kubectl import KubectlError
from preflight.checks import Result, results
from preflight.objects import read
from preflight.rights import denied, wanted
from preflight.stack import Stack, made_by
from render.program import run_program
from settings.loading import MissingStackFileError, SettingsError, load_stack, stack_file
from tools.reports import add_cluster, add_out, could_not_run, finish, print_result


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    try:
        file = load_stack(stack_file(options.stack))
        run = run_program(options.stack)
        stack = Stack(settings=run.settings, plan=run.plan, made=made_by(run))
        context = options.context or file.context
        found = read(context, stack.namespaces, stack.root, stack.settings.prometheus.namespace)
        checks = results(stack, found, denied(context, wanted(stack)))
    except MissingStackFileError as error:
        return could_not_run("preflight", options.out, *error.findings)
    except SettingsError as error:
        return finish("preflight", options.out, {"status": 1, "findings": [*error.findings]})
    except KubectlError as error:
        return could_not_run("preflight", options.out, str(error))
    except KeyboardInterrupt:
        return could_not_run("preflight", options.out, "stopped")
    status = print_result(_text(checks, context))
    refused = any(one.level == "refuse" for check in checks for one in check.findings)
    report = {
        "status": max(status, int(refused)),
        "findings": [one.line() for check in checks for one in check.findings],
        "context": context,
        "checks": [one.as_json() for one in checks],
    }
    return finish("preflight", options.out, report)


def _text(checks: Sequence[Result], context: str) -> str:
    where = context or "kubectl's current context"
    unasked = dict.fromkeys(one for check in checks for one in check.unasked)
    return "\n".join(
        [
            f"cluster: {where}",
            *(check.line() for check in checks),
            *(f"not checked: no right to list {one}" for one in unasked),
        ]
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make preflight", description=__doc__)
    add_cluster(parser)
    add_out(parser, "preflight.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
