"""``knudge logs``: what the functions of this machine logged about a run, or about one of its items."""

from __future__ import annotations

from pathlib import Path

import click

from cli.errors import COULD_NOT_RUN, PASSED


def _folder() -> Path:
    from common.settings import Settings

    return Settings.from_env().data_dir / "logs"


@click.command("logs", short_help="Show what was logged about a run or an item.")
@click.argument("run_id")
@click.argument("item", type=click.IntRange(min=0), required=False)
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=_folder, help="[default: logs in KNUDGE_DATA_DIR]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they were written.")
def command(run_id: str, item: int | None, *, folder: Path, as_json: bool) -> int:
    """Show what all functions logged about the run RUN_ID, or about its item ITEM (its index), in order of time.

    It reads the files that bin/serve writes. Exit codes: 0 something was logged, 2 nothing was.
    """
    from cli.logfiles import Wanted, found_in, in_words
    from cli.text import plain

    found = found_in(folder, Wanted(run_id, item))
    for line in found:
        if as_json:
            import orjson

            click.echo(orjson.dumps(line))
        else:
            click.echo(plain(in_words(line, item=item), limit=1000))
    if not found:
        click.echo(f"knudge: nothing in {folder} about that", err=True)
    return PASSED if found else COULD_NOT_RUN
