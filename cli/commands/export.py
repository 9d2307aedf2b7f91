"""``knudge export``: a run as files, whole."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from cli.commands import options
from cli.errors import CannotRun


@click.command("export", short_help="Write a run with all its results to files.")
@click.argument("run_id")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE.tar.gz|DIR", help="Where to.")
@click.option(
    "--base-url", default=options.base_url("tasks", path="/v1"), metavar="URL", help="Evals API. [default: the local one]"
)
@options.api_key
@options.timeout
def command(run_id: str, *, output: Path, base_url: str, api_key: str | None, request_timeout: float) -> None:
    """Write the run RUN_ID, which must have ended, to a .tar.gz or into a new or empty folder.

    In it are the run's manifest, eval, summary, data, and every sample and verdict as they are stored, with their sums.
    `knudge import run` brings it into another installation.
    """
    from cli.api import Api, Patience
    from cli.moving.fetch import fetch
    from cli.moving.package import pack

    packed = output.name.endswith((".tar.gz", ".tgz"))
    if not packed:
        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()):
            raise CannotRun(f"{output} is not empty")
    with Api(base_url, key=api_key, patience=Patience(timeout_s=request_timeout, attempts=3)) as api:
        if not packed:
            fetch(api, run_id, output)
            return
        with tempfile.TemporaryDirectory(prefix=".knudge-export-", dir=output.resolve().parent) as folder:
            fetch(api, run_id, Path(folder))
            pack(Path(folder), output)
