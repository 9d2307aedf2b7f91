"""``knudge deadletters``: events that the broker gave up on."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cli.commands import control, options
from cli.errors import CannotRun
from cli.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN_ITEMS = 5


@click.group("deadletters", short_help="Show events that could not be delivered, and try them again.")
def command() -> None:
    """Show events that the broker gave up on, and try them again."""


@command.command("list")
@click.argument("run_id", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, metavar="N", help="The newest N.")
@click.option("--json", "as_json", is_flag=True, help="Print them as one JSON array.")
@control.base_url
@options.api_key
@options.timeout
def show(run_id: str | None, *, limit: int, as_json: bool, base_url: str, api_key: str | None, request_timeout: float) -> None:
    """Print the dead letters of the run RUN_ID, newest first.

    Without RUN_ID those that belong to no known run. They are nobody's: that works on the store itself, and KNUDGE_REDIS_URL
    says where it is.
    """
    if run_id is None:
        letters = _of_no_run(limit)
    else:
        with control.run_at(base_url, run_id, key=api_key, timeout_s=request_timeout) as (api, path):
            letters = api.get(f"{path}/dead_letters", limit=limit).get("data") or []
    if as_json:
        import orjson

        click.echo(orjson.dumps(letters, option=orjson.OPT_INDENT_2))
    else:
        _print(letters)


@command.command("redrive")
@click.argument("run_id")
@click.option("--id", "ids", multiple=True, metavar="EVENT_ID", help="Only this event; may be repeated. [default: all]")
@control.base_url
@options.api_key
@options.timeout
def redrive(run_id: str, *, ids: tuple[str, ...], base_url: str, api_key: str | None, request_timeout: float) -> None:
    """Try again what could not be delivered of the run RUN_ID, with all attempts.

    Exit codes: 0 done, 2 could not: no such run or letter, or the run has ended.
    """
    with control.run_at(base_url, run_id, key=api_key, timeout_s=request_timeout) as (api, path):
        done = api.post(f"{path}/dead_letters/redrive", {"ids": list(ids)} if ids else {}, repeatable=True)
    if not isinstance(done, dict):
        raise CannotRun("the server's answer is no account of what it did")
    click.echo(f"{done.get('letters', 0)} letters taken up, {done.get('items', 0)} items on their way again", err=True)


def _of_no_run(limit: int) -> list[dict[str, Any]]:
    from common.settings import Settings
    from common.store.connect import sync_client
    from common.store.deadletters import DeadLetterStore

    client = sync_client(Settings.from_env())
    try:
        return DeadLetterStore(client).list(limit=limit)
    finally:
        client.close()


def _print(letters: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from cli.tables import console_on

    table = Table("received", "event", "type", "items", "code", "said", "redriven")
    for letter in letters:
        items = letter.get("items") or []
        shown = ", ".join(map(str, items[:_SHOWN_ITEMS])) + (", …" if len(items) > _SHOWN_ITEMS else "")
        cells = (
            _moment(letter.get("received_at")),
            letter.get("event_id"),
            str(letter.get("event_type", "")).removeprefix("dev.knudge."),
            shown or "-",
            letter.get("code") or "-",
            letter.get("detail") or "-",
            _moment(letter.get("redriven_at")),
        )
        table.add_row(*(Text(plain(cell, limit=200)) for cell in cells))
    console_on(sys.stdout).print(table)


def _moment(unix_s: object) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S") if isinstance(unix_s, int) else "-"
