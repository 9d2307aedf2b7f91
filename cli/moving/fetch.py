"""A run from a server into a folder, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cli.errors import CannotRun
from cli.moving.package import LINES, seal

if TYPE_CHECKING:
    from pathlib import Path

    from cli.api import Api


def fetch(api: Api, run_id: str, folder: Path) -> None:
    """Write the files of `cli.moving.package` about a run that has ended.

    Raises:
        CannotRun: there is no such run, it has not ended, or the server broke off.
    """
    name = quote(run_id, safe="")
    run = api.get(f"/export/runs/{name}")
    if not isinstance(run, dict) or not isinstance(run.get("plan"), dict):
        raise CannotRun("the server's answer is no exported run")
    manifest = api.get(f"/manifests/{name}")
    eval_path = f"/evals/{quote(str(run['plan'].get('eval_id')), safe='')}"
    _write(folder / "manifest.json", manifest)
    _write(folder / "eval.json", api.get(eval_path))
    _write(folder / "summary.json", api.get(f"{eval_path}/runs/{name}"))
    _write(folder / "run.json", {"source": api.base_url, "run": run})
    for file in LINES:
        part = file.removesuffix(".ndjson")
        if part == "canaries" and run.get("canaries_sha256") is None:
            continue
        with (folder / file).open("wb") as target:
            for piece in api.stream(f"/export/runs/{name}/{part}"):
                target.write(piece)
    seal(folder)


def _write(path: Path, content: Any) -> None:
    import orjson

    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
