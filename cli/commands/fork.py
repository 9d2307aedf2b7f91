"""``knudge fork``: the same data under other graders, without judging twice what is unchanged."""

from __future__ import annotations

import secrets
from typing import Any

import click

from cli.commands import control, options
from cli.errors import CannotRun
from cli.text import plain


@click.command("fork", short_help="Start a run over the same data with another judge.")
@click.argument("run_id")
@click.option("--judge", metavar="MODEL", help="The judge of every grader that has one.")
@click.option("--graders", metavar="JSON", help='Changed fields by grader: {"quality": {"pass_threshold": 5}}')
@click.option("--name", metavar="NAME", help="Of the new run. [default: as the first one's]")
@click.option("--metadata", "metadata", multiple=True, metavar="NAME=VALUE", help="Put over the first one's; may be repeated.")
@control.base_url
@options.api_key
@options.timeout
def command(
    run_id: str,
    *,
    judge: str | None,
    graders: str | None,
    name: str | None,
    metadata: tuple[str, ...],
    base_url: str,
    api_key: str | None,
    request_timeout: float,
) -> None:
    """Start a run over the data of the run RUN_ID, which has ended, with changed graders, and print its id.

    Samples, and verdicts of graders that do not change, are taken over at no cost.

    Exit codes: 0 started, 2 could not.
    """
    body: dict[str, Any] = {"judge": judge, "graders": _graders(graders), "name": name, "metadata": _metadata(metadata)}
    body = {field: value for field, value in body.items() if value is not None}
    with control.run_at(base_url, run_id, key=api_key, timeout_s=request_timeout) as (api, path):
        made = api.post(f"{path}/fork", body, once=secrets.token_hex(16))
    control.tell(made)
    click.echo(plain(made.get("id")))


def _graders(text: str | None) -> dict[str, Any] | None:
    import orjson

    if text is None:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CannotRun(f"--graders: not JSON ({error.msg})") from error
    if not isinstance(found, dict):
        raise CannotRun("--graders: expected an object, with the changed fields of each grader under its name")
    return found


def _metadata(pairs: tuple[str, ...]) -> dict[str, str] | None:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CannotRun(f"--metadata: expected NAME=VALUE, got {pair!r}")
        found[name] = value
    return found or None
