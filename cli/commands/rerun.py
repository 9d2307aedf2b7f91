"""``knudge rerun``: a run like an earlier one, from its manifest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from cli.commands import options
from cli.errors import CannotRun
from cli.text import plain

if TYPE_CHECKING:
    from cli.api import Api

_MAX_MANIFEST_BYTES = 32 * 1024 * 1024
_VERSION = 1
_RUN_ID = re.compile(r"[A-Za-z0-9_-]+")


@click.command("rerun", short_help="Start a run like an earlier one.")
@click.argument("manifest_or_run_id")
@click.option(
    "--base-url", default=options.base_url("tasks", path="/v1"), metavar="URL", help="Evals API. [default: the local one]"
)
@options.api_key
@click.option("--name", metavar="NAME", help="Of the new run. [default: as the first one's]")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as one JSON object.")
@options.timeout
def command(
    manifest_or_run_id: str, *, base_url: str, api_key: str | None, name: str | None, as_json: bool, request_timeout: float
) -> None:
    """Start a run with the graders, data and parameters of an earlier one, and print its id.

    MANIFEST_OR_RUN_ID is a file with a manifest, or the id of a run that the server has. The data is found by its content:
    where it is gone, the command says so and starts nothing. What is different from when the manifest was made (code, prices,
    prompts, models) is told on stderr.

    Exit codes: 0 started, 2 could not.
    """
    from cli.api import Api, Patience

    with Api(base_url, key=api_key, patience=Patience(timeout_s=request_timeout, attempts=3)) as api:
        body = {"manifest": _manifest(api, manifest_or_run_id), **({"name": name} if name else {})}
        answer = api.post("/reruns", body)
    if not isinstance(answer, dict) or not isinstance(run := answer.get("run"), dict) or "id" not in run:
        raise CannotRun("the server's answer names no run")
    _tell(answer.get("differences"))
    if as_json:
        import orjson

        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
    else:
        click.echo(plain(run["id"]))


def _manifest(api: Api, given: str) -> dict[str, Any]:
    import orjson

    path = Path(given)
    if not path.is_file():
        if not _RUN_ID.fullmatch(given):
            raise CannotRun(f"{plain(given)}: neither a file nor the id of a run")
        found = api.get(f"/manifests/{quote(given, safe='')}")
    else:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise CannotRun(f"{given}: too large for a manifest")
        try:
            found = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise CannotRun(f"{given}: not JSON ({error.msg} at line {error.lineno})") from error
    if not isinstance(found, dict) or found.get("manifest_version") != _VERSION:
        raise CannotRun(f"{plain(given)}: no manifest of version {_VERSION}")
    return found


def _tell(differences: object) -> None:
    if differences is None:
        click.echo("knudge: the manifest does not tell what its installation was like", err=True)
    for each in differences if isinstance(differences, list) else []:
        then, now = (plain(each.get(when) or "none", limit=80) for when in ("then", "now"))
        click.echo(f"knudge: different now: {plain(each.get('what'), limit=120)}: {then} -> {now}", err=True)
