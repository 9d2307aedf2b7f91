"""``knudge project``: whole projects."""

from __future__ import annotations

import click

from cli.text import plain


@click.group("project", short_help="Delete a project with all that is in it.")
def command() -> None:
    """Delete whole projects. Works on the store itself: KNUDGE_REDIS_URL says where that is."""


@command.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do it without asking.")
def delete(name: str, *, yes: bool) -> None:
    """Delete the project NAME for good: API keys, evals, runs, files, budgets. May be repeated after a failure.

    Keys are revoked first, and every pod has noticed within seconds. What is kept without a project's name (answers under
    idempotency keys, models' answers in the response cache) goes when its time is over.
    """
    from common.settings import Settings
    from common.store.connect import sync_client
    from common.store.evals import EvalStore
    from common.store.files import FileStore
    from common.store.runs import RunStore
    from functions.tasks.control.deletion import Deletion

    if not yes:
        click.confirm(f"Delete the project {plain(name)!r} and everything in it?", abort=True, err=True)
    client = sync_client(Settings.from_env())
    try:
        count = Deletion(client, EvalStore(client), FileStore(client), RunStore(client)).project(name)
    finally:
        client.close()
    click.echo(f"deleted {plain(name)}: {count} keys, evals and files", err=True)
