from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput
from functions.aggregate.comparing.pairing import Pairings, grouped, matched, texts
from tests.support.judged import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    made = Bench.at(redis_url)
    yield made
    made.close()


def _digests(kinds: list[int]) -> np.ndarray:
    return np.array([b"k%d" % kind for kind in kinds], dtype="S16")


@given(st.lists(st.integers(0, 5), max_size=30), st.lists(st.integers(0, 5), max_size=30))
def test_equal_items_are_paired_in_order_and_no_item_twice(a: list[int], b: list[int]) -> None:
    """Each kind gives as many pairs as the side with fewer has, first with first, in the order of the baseline."""
    left, right = matched(_digests(a), _digests(b))
    assert [a[i] for i in left] == [b[j] for j in right]
    assert Counter(a[i] for i in left) == Counter(a) & Counter(b)
    assert sorted(left) == list(left)
    for kind in set(a) & set(b):
        pairs = sum(a[i] == kind for i in left)
        assert [i for i in left if a[i] == kind] == [i for i, each in enumerate(a) if each == kind][:pairs]
        assert [j for i, j in zip(left, right, strict=True) if a[i] == kind] == [j for j, each in enumerate(b) if each == kind][
            :pairs
        ]


def test_one_dataset_is_paired_by_index(bench: Bench) -> None:
    """Runs over one dataset need no contents."""
    dataset = bench.dataset([{"q": "x"}] * 3)
    a, b = (bench.run(dataset, {"exact": [1, 1, 1]}) for _ in range(2))
    pairing = Pairings(bench.records).of(a, b)
    assert (pairing.method, list(pairing.a), list(pairing.b)) == ("index", [0, 1, 2], [0, 1, 2])


def test_other_datasets_are_paired_by_the_items_content(bench: Bench) -> None:
    """The order of keys and lines does not matter, duplicates are paired one to one, and what has no partner is counted."""
    first = bench.dataset([{"q": "é", "n": 1}, {"q": "twice"}, {"q": "twice"}, {"q": "only here"}])
    second = bench.dataset([{"q": "twice"}, {"n": 1, "q": "é"}, {"q": "new"}])
    a, b = bench.run(first, {"exact": [1] * 4}), bench.run(second, {"exact": [1] * 3})
    pairing = Pairings(bench.records).of(a, b)
    assert (pairing.method, list(pairing.a), list(pairing.b)) == ("content", [0, 1], [1, 0])
    assert (pairing.only_a, pairing.only_b) == (2, 1)


def test_items_are_grouped_by_a_value(bench: Bench) -> None:
    """Equal values make a group, whatever their type; a missing value and null are in none."""
    values = [{"k": {"l": "x"}}, {"k": {"l": ["y"]}}, {}, {"k": {"l": "x"}}, {"k": {"l": None}}, {"k": {"l": 2}}]
    plan = bench.run(bench.dataset(values), {"exact": [1] * 6})
    groups = grouped(plan, "item.k.l", bench.records)
    x, y, none, again, null, two = groups.numbers
    assert x == again
    assert len({x, y, two}) == 3
    assert none == null == -1
    shown = list(texts(plan, "item.k.l", bench.records, indexes=[int(index) for index in groups.firsts]))
    assert [shown[number] for number in (x, y, two)] == ["x", '["y"]', "2"]


def test_a_path_that_no_item_has_is_refused(bench: Bench) -> None:
    """A misspelt path is no group of everything."""
    plan = bench.run(bench.dataset([{"k": 1}]), {"exact": [1]})
    with pytest.raises(InvalidInput, match=r"item\.key"):
        grouped(plan, "item.key", bench.records)
