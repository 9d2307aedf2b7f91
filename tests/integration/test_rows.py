"""Checking a file's rows against a real store, a stretch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.errors import InvalidInput, Overloaded
from common.schemas.canaries import MAX_CANARIES
from common.settings import MIB, Settings
from common.store.connect import sync_client
from common.store.datasets import Dataset, DatasetStore
from common.store.scores import MAX_ITEMS
from functions.tasks.evals.itemschema import ItemSchema
from functions.tasks.runs.rows import check_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
ROWS = 1000


@pytest.fixture
def datasets(redis_url: str) -> Iterator[DatasetStore]:
    with sync_client(Settings(redis_url=redis_url)) as client:
        yield DatasetStore(client)


def written(datasets: DatasetStore, *, wrong: int | None = None) -> Dataset:
    with datasets.writer(max_bytes=1 << 20) as writer:
        for row in range(ROWS):
            writer.write_object({"item": {"n": "x" if row == wrong else row}})
        return writer.finish("file:1")


def check(dataset: Dataset, datasets: DatasetStore, *, within_s: float = 60.0) -> None:
    check_rows(dataset, ItemSchema(SCHEMA), datasets, pointer="/file", within_s=within_s)


def test_rows_are_checked_once(datasets: DatasetStore) -> None:
    """A file that was found to fit is not read again."""
    dataset = written(datasets)
    check(dataset, datasets)
    check(dataset, datasets, within_s=-1)
    assert datasets.fitting(dataset.dataset_id, ItemSchema(SCHEMA).digest) == ROWS


def test_too_many_rows_take_several_requests(datasets: DatasetStore) -> None:
    """When the time is up the caller is told to come again, and each request goes on where the last one ended."""
    dataset, seen = written(datasets), []
    while datasets.fitting(dataset.dataset_id, ItemSchema(SCHEMA).digest) < ROWS:
        try:
            check(dataset, datasets, within_s=-1)
        except Overloaded as error:
            seen.append(error.message.partition(" ")[0])
    assert seen == ["1", "257", "513", "769"]


def test_more_rows_than_a_run_can_count_are_refused(datasets: DatasetStore) -> None:
    """A file whose scores do not fit one string of the store is refused before any row is looked at."""
    assert 8 * (MAX_ITEMS + MAX_CANARIES) <= 512 * MIB
    with pytest.raises(InvalidInput, match="at most 67000000"):
        check(Dataset("ds_1", MAX_ITEMS + 1, 1 << 33), datasets)


def test_wrong_row_is_named(datasets: DatasetStore) -> None:
    """The first row that does not fit is named by its number, also when former requests had got near it."""
    dataset = written(datasets, wrong=300)
    for _ in range(2):
        with pytest.raises(Overloaded):
            check(dataset, datasets, within_s=-1)
    with pytest.raises(InvalidInput, match="row 301 of the file: item/n"):
        check(dataset, datasets, within_s=-1)
