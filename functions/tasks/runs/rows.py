"""Whether the rows of a file fit an eval: seen once for each schema, and a stretch at a time where there are very many."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson

from common.errors import InvalidInput, Overloaded
from common.store.datasets import json_of
from common.store.scores import MAX_ITEMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.store.datasets import Dataset, DatasetStore
    from functions.tasks.evals.itemschema import ItemSchema

WITHIN_S = 20.0  # of one request: shorter than what clients and proxies wait
_LOOK_ROWS = 256  # between two looks at the clock
_AGAIN_S = 1.0


def check_rows(
    dataset: Dataset,
    schema: ItemSchema,
    datasets: DatasetStore,
    *,
    pointer: str,
    within_s: float = WITHIN_S,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """See that every row fits; `pointer` is where the request names the file. A row that was seen is not looked at again.

    Raises:
        InvalidInput: naming the first row that does not fit, the field, and what was expected there; or more rows than a run
            can count.
        Overloaded: the time was too short for so many rows; what was seen is noted, and the same request goes on from there.
    """
    if dataset.lines > MAX_ITEMS:
        raise InvalidInput(f"the file has {dataset.lines} rows, a run has at most {MAX_ITEMS}: make several", pointer=pointer)
    seen, until = datasets.fitting(dataset.dataset_id, schema.digest), clock() + within_s
    if seen >= dataset.lines:
        return
    for index, raw in datasets.scan(dataset, start=seen):
        schema.check_line(orjson.loads(json_of(raw)), where=f"row {index + 1} of the file", pointer=pointer)
        if index % _LOOK_ROWS == 0 and clock() > until:
            datasets.note_fitting(dataset.dataset_id, schema.digest, index + 1)
            message = (
                f"{index + 1} of the file's {dataset.lines} rows are checked; send the same request again to go on from there"
            )
            raise Overloaded(message, retry_after_s=_AGAIN_S)
    datasets.note_fitting(dataset.dataset_id, schema.digest, dataset.lines)
