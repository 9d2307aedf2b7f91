"""How items are put into events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.store.datasets import Dataset
from functions.tasks.dispatch import MAX_ITEMS, batches
from functions.tasks.runs.starting import batch_items, window_items

issued = st.dictionaries(st.integers(0, 500), st.integers(1, 6), max_size=120).map(lambda found: list(found.items()))


@given(issued, st.integers(1, 50))
def test_batches_lose_and_mix_nothing(items: list[tuple[int, int]], size: int) -> None:
    """Every item is in exactly one batch of its own attempt, and no batch is larger than allowed."""
    found = batches(items, size)
    assert sorted((item, attempt) for attempt, group in found for item in group) == sorted(items)
    assert all(0 < len(group) <= min(size, MAX_ITEMS) for _, group in found)
    assert len({(attempt, group[0]) for attempt, group in found}) == len(found), "event ids are made of these"


def test_batches_shrink_from_attempt_to_attempt() -> None:
    """A batch that died comes again in quarters, until each item is alone."""
    sizes = {attempt: [len(group) for _, group in batches([(i, attempt) for i in range(50)], 50)] for attempt in (1, 2, 3, 4)}
    assert sizes[1] == [50]
    assert max(sizes[2]) == 12
    assert max(sizes[3]) == 3
    assert max(sizes[4]) == 1


def test_batch_size_follows_the_run() -> None:
    """Small runs go item by item, large ones by fifty, and heavy items in as few as fit a pod."""
    sizes = {lines: batch_items(Dataset("ds", lines, 100 * lines)) for lines in (0, 1, 199, 400, 10_000, 1_000_000)}
    assert sizes == {0: 1, 1: 1, 199: 1, 400: 2, 10_000: 50, 1_000_000: 50}
    assert batch_items(Dataset("ds", 10_000, 10_000 << 20)) == 4
    assert batch_items(Dataset("ds", 10_000, 10_000 << 24)) == 1


def test_batch_size_may_be_set() -> None:
    """What an installation asks for holds for runs of any size, but heavy items still go in as few as fit a pod."""
    assert {lines: batch_items(Dataset("ds", lines, 100 * lines), wanted=10) for lines in (1, 10_000)} == {1: 10, 10_000: 10}
    assert batch_items(Dataset("ds", 10_000, 100), wanted=1000) == MAX_ITEMS
    assert batch_items(Dataset("ds", 10_000, 10_000 << 20), wanted=10) == 4


def test_large_items_have_a_smaller_window() -> None:
    """What is under way of a run at a time fits into one pod, and is never nothing."""
    kib = {0: 512, 1: 512, 128: 512, 1024: 64, 4096: 16, 1 << 20: 1}
    assert {size: window_items(Dataset("ds", 1000, 1000 * size << 10), at_most=512) for size in kib} == kib
