"""``knudge import``: bring evals over from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from cli.commands import options
from cli.errors import COULD_NOT_RUN, PASSED, CannotRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.api import Api, Patience
    from cli.importing.archive import Archive

_OPENAI_HOST = "api.openai.com"


@click.group("import", short_help="Bring evals over from another server.")
def command() -> None:
    """Bring evals, runs and results over from elsewhere, before they are gone there."""


@command.command("run")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--base-url", default=options.base_url("tasks", path="/v1"), metavar="URL", help="Where to. [default: the local one]"
)
@options.api_key
@click.option("--request-timeout", type=click.FloatRange(min=1), default=120.0, show_default=True, metavar="SECONDS")
def run(file: Path, *, base_url: str, api_key: str | None, request_timeout: float) -> None:
    """Bring a run in that `knudge export` has written: FILE is its archive or folder.

    The run arrives with its eval, its data and every sample and verdict, and nothing is judged. The command may be repeated
    at any point: the run arrives once. Prints its id. Exit codes: 0 it is there, 2 it is not, or not whole.
    """
    from cli.api import Api
    from cli.moving.deliver import deliver
    from cli.moving.package import opened

    with opened(file) as package, Api(base_url, key=api_key, patience=_patience(request_timeout)) as api:
        click.echo(deliver(api, package))


@command.command("openai")
@click.option(
    "--from", "source", metavar="URL", help="Evals API to read, e.g. https://api.openai.com/v1. Left out: read only DIR."
)
@click.option(
    "--from-key-env", metavar="NAME", help="Variable with its key. [default: OPENAI_API_KEY, for OpenAI's own host only]"
)
@click.option(
    "--to", "target", metavar="URL", help="Knudge to write to, e.g. http://127.0.0.1:8084/v1. Left out: fill only DIR."
)
@click.option("--to-key-env", default="KNUDGE_API_KEY", show_default=True, metavar="NAME", help="Variable with its key.")
@click.option("--eval", "only", multiple=True, metavar="ID", help="Only this eval of the source; may be repeated.")
@click.option(
    "--archive", type=click.Path(path_type=Path, file_okay=False), default="evals-archive", show_default=True, metavar="DIR"
)
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="[default: DIR/state.sqlite]")
@click.option(
    "--page-size", type=click.IntRange(1, 100), default=100, show_default=True, metavar="N", help="Objects a request."
)
@click.option("--request-timeout", type=click.FloatRange(min=1), default=120.0, show_default=True, metavar="SECONDS")
def openai(
    *,
    source: str | None,
    from_key_env: str | None,
    target: str | None,
    to_key_env: str,
    only: tuple[str, ...],
    archive: Path,
    state: Path | None,
    page_size: int,
    request_timeout: float,
) -> int:
    """Copy evals, their runs and every result out of a server that speaks OpenAI's Evals API.

    First everything is read into the archive DIR, as NDJSON just as the server told it; then what is in the archive is
    written to the target. Nothing is judged again. The command may be interrupted, killed and repeated at any point: it goes
    on where it was, and nothing arrives twice. Runs that have not ended are left for a later call.

    Exit codes: 0 all there is was copied, 2 something could not be.
    """
    from cli.importing.archive import Archive

    if source is None and target is None:
        raise CannotRun("nothing to do: give --from, --to or both")
    if source is None and not (state or archive / "state.sqlite").exists():
        raise CannotRun(f"{archive} is no archive yet; give --from to fill it")
    patience = _patience(request_timeout)
    with Archive(archive, state=state) as store:
        failed = 0
        if source is not None:
            failed += _download(_api(source, from_key_env, patience), store, only, page_size=page_size)
        if target is not None:
            failed += _deliver(_api(target, to_key_env, patience), store, only)
    return COULD_NOT_RUN if failed else PASSED


def _patience(request_timeout_s: float) -> Patience:
    from cli.api import Patience

    return Patience(timeout_s=request_timeout_s, attempts=8, cap_s=60.0, longest_wait_s=600.0)


def _api(url: str, key_env: str | None, patience: Patience) -> Api:
    from cli.api import Api
    from common.settings import Settings

    # A key is sent nowhere by default but to the host it is for.
    name = key_env or ("OPENAI_API_KEY" if urlsplit(url).hostname == _OPENAI_HOST else None)
    return Api(url, key=Settings.from_env().environ.get(name) if name else None, patience=patience)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _download(api: Api, archive: Archive, only: Sequence[str], *, page_size: int) -> int:
    from cli.importing.download import Downloader

    archive.claim_for(api.base_url)
    downloader = Downloader(api, archive, _say, page_size=page_size)
    with api:
        downloader.everything(only)
    click.echo(f"archived in {archive.folder}; {downloader.failed:,} runs could not be read")
    return downloader.failed


def _deliver(api: Api, archive: Archive, only: Sequence[str]) -> int:
    from cli.importing.deliver import Deliverer

    source = archive.source
    if source is None:
        raise CannotRun(f"{archive.folder} is an empty archive; give --from to fill it")
    deliverer = Deliverer(api, archive, source, _say)
    with api:
        deliverer.everything(only)
    click.echo(
        f"{deliverer.delivered:,} runs are at {api.base_url}; {deliverer.failed:,} could not be imported, "
        f"{deliverer.waiting:,} had not ended or are not in the archive yet"
    )
    return deliverer.failed
