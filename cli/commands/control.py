"""``knudge pause``, ``resume`` and ``cancel``; and what all commands about one run under way share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from cli.commands import options
from cli.errors import CannotRun
from cli.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cli.api import Api

base_url = click.option(
    "--base-url", default=options.base_url("tasks", path="/v1"), metavar="URL", help="Evals API. [default: the local one]"
)


@contextmanager
def run_at(base_url: str, run_id: str, *, key: str | None, timeout_s: float) -> Iterator[tuple[Api, str]]:
    """The server, and the path of the run there. One request: who knows a run need not know its eval."""
    from cli.api import Api, Patience

    with Api(base_url, key=key, patience=Patience(timeout_s=timeout_s, attempts=3)) as api:
        run = quote(run_id, safe="")
        manifest = api.get(f"/manifests/{run}")
        try:
            eval_id = str(manifest["eval"]["eval_id"])
        except (KeyError, TypeError) as error:
            raise CannotRun("the server's answer names no eval") from error
        yield api, f"/evals/{quote(eval_id, safe='')}/runs/{run}"


def tell(run: Any) -> None:
    """One line about a run, on stderr."""
    if not isinstance(run, dict) or not isinstance(notes := run.get("knudge"), dict):
        raise CannotRun("the server's answer is no run")
    counts = run.get("result_counts") or {}
    status = "paused" if notes.get("paused") else run.get("status")
    done = f"{counts.get('total', 0)} of {notes.get('items', 0)} items done, {counts.get('errored', 0)} unscored"
    click.echo(f"{plain(run.get('id'))}: {plain(status)}, {done}, {notes.get('outstanding', 0)} under way", err=True)


def _command(name: str, what: str, about: str) -> click.Command:
    """A command that does one thing to a run, as often as one likes."""

    def act(run_id: str, *, base_url: str, api_key: str | None, request_timeout: float) -> None:
        with run_at(base_url, run_id, key=api_key, timeout_s=request_timeout) as (api, path):
            tell(api.post(f"{path}/{name}", {}, repeatable=True))

    decorated: Callable[..., None] = act
    for decorate in (options.timeout, options.api_key, base_url, click.argument("run_id")):
        decorated = decorate(decorated)
    ends = "Exit codes: 0 done, 2 could not: no such run, or it has ended."
    return click.command(name, short_help=what, help=f"{about}\n\n{ends}")(decorated)


pause = _command(
    "pause",
    "Start no more model calls of a run for now.",
    "Pause the run RUN_ID. Within a second no model call of it starts; results under way are still counted.",
)
resume = _command(
    "resume", "Let a paused run go on.", "Let the run RUN_ID go on that was paused. Nothing is lost or paid twice."
)
cancel = _command(
    "cancel",
    "End a run.",
    "End the run RUN_ID. Within a second no model call of it starts; results under way are still counted. `knudge retry` "
    "goes on with it after all.",
)
