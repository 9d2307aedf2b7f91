"""An exported run into a server. Everything may be repeated: the receiving side keeps nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cli.api import Refused
from cli.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.api import Api
    from cli.moving.package import Package

_NOT_FOUND = 404
_BATCH = 200
_BATCH_BYTES = 4 * 1024 * 1024


def deliver(api: Api, package: Package) -> str:
    """The run's id on the server, once it is there whole."""
    told = package.document("run.json")
    run, source = told.get("run"), told.get("source")
    if not isinstance(run, dict) or not isinstance(source, str):
        raise CannotRun(f"{package.name}: run.json: expected a run and its source")
    state, uploaded = _created(api, package, {"source": source, "run": run})
    path = f"/import/transfers/{quote(str(state['run_id']), safe='')}"
    if state["status"] == "in_progress":
        for batch in _batches(package):
            api.post(f"{path}/results", {"results": batch}, repeatable=True)
        state = api.post(f"{path}/end", {"run": run}, repeatable=True)
    for file_id in uploaded:
        _remove(api, file_id)
    return str(state["run_id"])


def _created(api: Api, package: Package, body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The run on the server, and the files that were uploaded for it; none where it was there already."""
    try:
        return api.post("/import/transfers", {**body, "file_id": "-"}, repeatable=True), []
    except Refused as refusal:
        if refusal.status != _NOT_FOUND:
            raise
    names = ["items.ndjson", *(["canaries.ndjson"] if package.has("canaries.ndjson") else [])]
    uploaded: list[str] = []
    for name in names:
        with package.open(name) as file:
            uploaded.append(str(api.upload("/files", name=name, file=file, fields={"purpose": "evals"})["id"]))
    files = dict(zip(("file_id", "canaries_file_id"), uploaded, strict=False))
    try:
        return api.post("/import/transfers", {**body, **files}, repeatable=True), uploaded
    except Refused:
        for file_id in uploaded:
            _remove(api, file_id)
        raise


def _batches(package: Package) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for entry, entry_size in _joined(package):
        if batch and (len(batch) == _BATCH or size + entry_size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry_size
    if batch:
        yield batch


def _joined(package: Package) -> Iterator[tuple[dict[str, Any], int]]:
    """Verdicts with their samples, and about how large they are; both files are in the order of their indexes."""
    import orjson

    samples = package.lines("samples.ndjson")
    _, ahead = next(samples, (0, None))
    for number, entry in package.lines("verdicts.ndjson"):
        if ahead is not None and ahead["index"] < entry["index"]:
            raise CannotRun(f"{package.name}: verdicts.ndjson, line {number}: a sample before it has no verdicts")
        if ahead is not None and ahead["index"] == entry["index"]:
            entry = {**entry, "sample": ahead.get("sample")}  # noqa: PLW2901  # the same entry, whole
            _, ahead = next(samples, (0, None))
        yield entry, len(orjson.dumps(entry))


def _remove(api: Api, file_id: str) -> None:
    try:
        api.delete(f"/files/{quote(file_id, safe='')}")
    except Refused as refusal:
        if refusal.status != _NOT_FOUND:
            raise
