"""The canaries of a run that is about to start: an uploaded file, checked line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from common.edge.validation import validate
from common.errors import InvalidInput, NotFound
from common.schemas.canaries import MAX_CANARIES, RUN_CANARIES, Canary
from common.store.datasets import json_of

if TYPE_CHECKING:
    from common.schemas.runs import EvalVersion
    from common.store.datasets import Dataset
    from common.store.files import FileStore
    from functions.tasks.evals.itemschema import ItemSchema

_POINTER = f"/metadata/{RUN_CANARIES}"


def canaries(file_id: str, version: EvalVersion, files: FileStore, *, schema: ItemSchema) -> Dataset:
    """The data set of a canary file of the eval's project, all of whose lines are sound.

    Raises:
        InvalidInput: there is no such file, it has no line or more than `MAX_CANARIES`, or a line is wrong; the message
            names its number.
    """
    try:
        dataset = files.datasets.info(files.get(file_id, project=version.project).dataset_id)
    except NotFound:
        raise InvalidInput(f"{_POINTER}: no such file: {file_id[:80]}", pointer=_POINTER) from None
    if not 1 <= dataset.lines <= MAX_CANARIES:
        raise InvalidInput(f"{_POINTER}: expected 1 to {MAX_CANARIES} canaries, got {dataset.lines}", pointer=_POINTER)
    graders = {grader.name for grader in version.graders}
    for index, raw in files.datasets.scan(dataset):
        _check(json_of(raw), schema, graders, where=f"line {index + 1} of the canaries")
    return dataset


def _check(raw: bytes, schema: ItemSchema, graders: set[str], *, where: str) -> None:
    line = orjson.loads(raw)
    try:
        canary = validate(line, Canary)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error.message}", pointer=_POINTER) from None
    schema.check_line(line, where=where, pointer=_POINTER)
    if unknown := sorted(canary.expected.keys() - graders):
        raise InvalidInput(f"{where}: the eval has no grader {unknown[0][:80]!r}", pointer=_POINTER)
