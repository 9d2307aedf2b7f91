"""``knudge retry``: what has no score, once more."""

from __future__ import annotations

import click

from cli.commands import control, options


@click.command("retry", short_help="Judge the unscored items of a run again.")
@click.argument("run_id")
@click.option("--code", "codes", multiple=True, metavar="CODE", help="Only what is unscored for this reason; may be repeated.")
@control.base_url
@options.api_key
@options.timeout
def command(run_id: str, *, codes: tuple[str, ...], base_url: str, api_key: str | None, request_timeout: float) -> None:
    """Open the run RUN_ID again, which has ended, and judge what has no score. Verdicts with a score are kept.

    A run that was canceled, or failed, also goes on with what it had not come to.

    Exit codes: 0 it goes on, 2 it cannot: it has not ended, or there is nothing to retry.
    """
    with control.run_at(base_url, run_id, key=api_key, timeout_s=request_timeout) as (api, path):
        control.tell(api.post(f"{path}/retry", {"codes": list(codes)} if codes else {}))
