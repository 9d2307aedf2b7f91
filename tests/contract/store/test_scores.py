"""Score vectors on a real server."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.store.results import ResultStore, indexes_in
from common.store.runstate import FoldItem
from common.store.scores import ScoreStore

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from common.schemas.runs import RunPlan
    from common.store.runs import RunStore

    MakeRun = Callable[..., RunPlan]

SCORES = st.one_of(st.none(), st.floats(allow_nan=False, width=64))


def unpacked(vector: bytes) -> list[float | None]:
    values = struct.unpack(f"<{len(vector) // 8}d", vector)
    return [None if math.isnan(value) else value for value in values]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scores=st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=60), order=st.randoms(use_true_random=False))
def test_a_vector_holds_every_score_bit_for_bit(
    client: redis.Redis, runs: RunStore, make_run: MakeRun, scores: list[tuple[float | None, float | None]], order: object
) -> None:
    """Whatever the order and size of the batches, each grader's vector is its scores by item, NaN where there is none."""
    plan = make_run(len(scores), window=100)
    items = [
        FoldItem(index, "pass", {}, {grader: score for grader, score in enumerate(pair) if score is not None}, passed={0})
        for index, pair in enumerate(scores)
    ]
    order.shuffle(items)  # type: ignore[attr-defined]
    for at in range(0, len(items), 7):
        runs.fold(plan, items[at : at + 7])
    store = ScoreStore(client)
    for grader in (0, 1):
        assert unpacked(store.scores(plan, grader)) == [pair[grader] for pair in scores]
    assert indexes_in(store.passed(plan, 0), after=None, limit=100) == list(range(len(scores)))
    assert store.passed(plan, 1) == b""
    runs.delete(plan.run_id)


def test_the_first_score_counts_and_no_other(client: redis.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """A result that comes again, with another score, changes neither the vector nor the passes."""
    plan = make_run(3)
    runs.fold(plan, [FoldItem(1, "pass", {}, {0: 0.25}, passed={0})])
    runs.fold(plan, [FoldItem(1, "fail", {}, {0: 0.75, 1: 1.0}, passed={1})])
    store = ScoreStore(client)
    assert unpacked(store.scores(plan, 0))[1] == 0.25
    assert unpacked(store.scores(plan, 1))[1] is None
    assert store.passed(plan, 1) == b""


def test_gaps_are_told_by_the_bitmap(client: redis.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """Items that were not folded read as zeros, and only `finished` says that they are none."""
    plan = make_run(10)
    runs.fold(plan, [FoldItem(4, "fail", {}, {0: 0.0})])
    assert unpacked(ScoreStore(client).scores(plan, 0)) == [0.0] * 5
    assert indexes_in(ResultStore(client).finished(plan), after=None, limit=10) == [4]


def test_a_deleted_run_leaves_no_vector(client: redis.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """Deletion takes the vectors and the passes along."""
    plan = make_run(3)
    runs.fold(plan, [FoldItem(1, "pass", {}, {0: 1.0, 1: 1.0}, passed={0, 1})])
    runs.delete(plan.run_id)
    assert [key for key in client.scan_iter() if plan.run_id.encode() in key] == []


def test_the_beginning_ends_at_the_first_gap(client: redis.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """Scores beyond a position that is not folded yet are left out, whatever has come after it."""
    plan, store = make_run(20), ScoreStore(client)
    seen = [store.beginning(plan, 0)]
    for index in (1, 0, 3, 2, *range(4, 20)):
        runs.fold(plan, [FoldItem(index, "pass", {}, {0: index / 2})])
        seen.append(store.beginning(plan, 0))
    assert [len(unpacked(part)) for part in seen] == [0, 0, 2, 2, *range(4, 21)]
    assert unpacked(seen[-1]) == [index / 2 for index in range(20)]
