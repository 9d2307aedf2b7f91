"""``knudge watch``: how a run gets on, until it has ended."""

from __future__ import annotations

import sys
import time

import click

from cli.commands import options
from cli.errors import COULD_NOT_RUN, PASSED


@click.command("watch", short_help="Follow a run until it has ended.")
@click.argument("run_id")
@click.option("--base-url", default=options.base_url("aggregate"), metavar="URL", help="Aggregate. [default: the local one]")
@options.api_key
@click.option("--once", is_flag=True, help="Say how it stands and leave.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=86_400.0, show_default=True, metavar="SECONDS")
@options.timeout
def command(run_id: str, *, base_url: str, api_key: str | None, once: bool, timeout_s: float, request_timeout: float) -> int:
    """Follow the run RUN_ID: how many items are done, how fast, until when, at what cost, and what it waits for.

    Exit codes: 0 the run has completed (with --once: it is there), 2 it failed, was canceled, or goes on after --timeout.
    """
    from cli.api import Api, Patience
    from cli.progress import Lines, shown_on
    from cli.tables import console_on, print_run
    from cli.watch import StartedRun, Watcher, ended_as, follow

    with Api(base_url, key=api_key, patience=Patience(timeout_s=request_timeout)) as api:
        watcher = Watcher(api, aggregate_url=base_url)
        try:
            seen = watcher.look(StartedRun(run_id, "", "", 0, ""))
            run = StartedRun(run_id, seen.summary.eval_id, seen.summary.name, seen.summary.total, "")
            if once:
                Lines(sys.stdout, time.monotonic).update(seen)
                return PASSED
            with shown_on(sys.stderr, [run], wanted=True, clock=time.monotonic) as shown:
                [last] = follow([run], watcher.look, shown=shown, clock=time.monotonic, sleep=time.sleep, timeout_s=timeout_s)
        finally:
            watcher.close()
    print_run(console_on(sys.stdout), last.summary)
    if last.summary.status == "completed":
        return PASSED
    click.echo(f"knudge: {ended_as(last.summary.status)}", err=True)
    return COULD_NOT_RUN
