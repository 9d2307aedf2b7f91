"""Which item of one run is which of another, and which items belong together.

Runs over one dataset are paired by index. Otherwise an item is known by its content: the digest of its canonical JSON (keys
sorted, no spaces). Equal items are paired in their order. Contents are read as a stream, and 16 bytes an item are kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson

from common.errors import InvalidInput, UnknownVariable
from common.graders.template import render
from common.store.datasets import json_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from common.schemas.runs import RunPlan
    from functions.aggregate.records import Records

    Indexes = NDArray[np.intp]
    Digests = NDArray[np.bytes_]

_DIGEST_BYTES = 16
_DIGEST = f"S{_DIGEST_BYTES}"


@dataclass(frozen=True, slots=True)
class Pairing:
    """Items that both runs have: item ``a[k]`` of one is item ``b[k]`` of the other. ``only_*`` count the rest."""

    method: Literal["index", "content"]
    a: Indexes
    b: Indexes
    only_a: int
    only_b: int


@dataclass(frozen=True, slots=True)
class Groups:
    """Items by their value at a path. ``numbers`` has each item's group, -1 where the item has no such value.

    ``firsts`` is an item of each group.
    """

    numbers: Indexes
    firsts: Indexes


@dataclass(slots=True)
class Pairings:
    """Pairs the items of any two runs. The contents of a dataset are read once and kept as long as this is."""

    records: Records
    _digests: dict[str, Digests] = field(default_factory=dict)

    def of(self, a: RunPlan, b: RunPlan) -> Pairing:
        """The pairs, in the order of `a`. No trip for one dataset; else both are read whole."""
        if a.dataset_id == b.dataset_id:
            indexes = np.arange(min(a.item_count, b.item_count))
            return Pairing("index", indexes, indexes, a.item_count - len(indexes), b.item_count - len(indexes))
        left, right = matched(self._contents(a), self._contents(b))
        return Pairing("content", left, right, a.item_count - len(left), b.item_count - len(right))

    def _contents(self, plan: RunPlan) -> Digests:
        if plan.dataset_id not in self._digests:
            self._digests[plan.dataset_id] = contents(plan, self.records)
        return self._digests[plan.dataset_id]


def contents(plan: RunPlan, records: Records) -> Digests:
    """The digest of each item's content."""
    return _array((_digest(orjson.dumps(item, option=orjson.OPT_SORT_KEYS)) for item in _items(plan, records)), plan)


def matched(a: Digests, b: Digests) -> tuple[Indexes, Indexes]:
    """Indexes of equal entries, the k-th of a kind with the k-th of the same kind, in the order of `a`."""
    kinds, numbers = np.unique(np.concatenate([a, b]), return_inverse=True)
    left, right = _keys(numbers[: len(a)], len(kinds)), _keys(numbers[len(a) :], len(kinds))
    _, in_a, in_b = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    order = np.argsort(in_a)
    return in_a[order], in_b[order]


def grouped(plan: RunPlan, path: str, records: Records) -> Groups:
    """The items by their value at `path` (``item.x.0.y``); a missing value and null are no value. Reads the dataset.

    Raises:
        InvalidInput: no item has a value there.
    """
    values = _array((_digest(text.encode()) if text is not None else b"" for text in texts(plan, path, records)), plan)
    kinds, firsts, numbers = np.unique(values, return_index=True, return_inverse=True)
    if len(kinds) and kinds[0] == b"":
        kinds, firsts, numbers = kinds[1:], firsts[1:], numbers - 1
    if not len(kinds) and plan.item_count:
        raise InvalidInput(f"no item of run {plan.run_id} has a value at {path}", pointer="")
    return Groups(numbers, firsts)


def texts(plan: RunPlan, path: str, records: Records, *, indexes: Sequence[int] | None = None) -> Iterator[str | None]:
    """The values at `path` as text (strings as they are, else JSON), of all items or of those with these indexes."""
    for item in _items(plan, records, indexes=indexes):
        try:
            text = render(f"{{{{{path}}}}}", {"item": item})
        except UnknownVariable:
            text = "null"
        yield None if text == "null" else text


def _keys(numbers: NDArray[np.intp], kinds: int) -> NDArray[np.int64]:
    """Each entry's kind and its place among its kind, as one number."""
    order = np.argsort(numbers, kind="stable")
    counts = np.bincount(numbers, minlength=kinds)
    starts = np.cumsum(counts) - counts
    place = np.empty(len(numbers), dtype=np.int64)
    place[order] = np.arange(len(numbers)) - starts[numbers[order]]
    keys: NDArray[np.int64] = place * kinds + numbers
    return keys


def _items(plan: RunPlan, records: Records, *, indexes: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
    for raw in records.lines(plan, indexes=indexes):
        line = orjson.loads(json_of(raw))
        yield line.get("item") or {}


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _array(digests: Iterator[bytes], plan: RunPlan) -> Digests:
    return np.fromiter(digests, dtype=_DIGEST, count=plan.item_count)
