"""Counting results into a run: each item once, in one script, whoever brings it however often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import InvalidInput, NotFound, StoreUnavailable
from common.stats.summary import counters, item_outcome
from common.store.runs import FoldItem
from functions.aggregate.records import STORED_AS, Records

if TYPE_CHECKING:
    from common.schemas.events import RunItems
    from common.schemas.runs import RunPlan
    from common.store.results import Loaded
    from common.store.runs import Folded, RunStore


def fold_items(wanted: RunItems, runs: RunStore, records: Records) -> Folded:
    """Count the items of one event. Two Redis trips, three when the plan is not in memory.

    Raises:
        NotFound: the run was deleted; there is nothing to count into.
        InvalidInput: an index is none of the run's.
        StoreUnavailable: a verdict or sample is not in the store, so nothing is counted; the event is to come again.
    """
    plan = records.plan(wanted.run_id)
    if wrong := [index for index in wanted.items if not 0 <= index < plan.position_count]:
        raise InvalidInput(f"the run has items 0 to {plan.position_count - 1}, not {wrong[0]}", pointer="/data/items")
    loaded = records.judged(plan, wanted.items)
    if missing := [index for index in wanted.items if not _complete(plan, loaded, index)]:
        if not records.exists(plan.run_id):
            raise NotFound(f"no such run: {plan.run_id}")
        raise StoreUnavailable(f"{len(missing)} of {len(wanted.items)} items have verdicts missing", retry_after_s=1.0)
    folded = runs.fold(plan, [contribution(plan, loaded, index) for index in wanted.items])
    if folded.status is None:
        raise NotFound(f"no such run: {plan.run_id}")
    return folded


def contribution(plan: RunPlan, loaded: Loaded, index: int) -> FoldItem:
    """What one item adds to the run's sums."""
    verdicts = [loaded.verdicts[index, grader] for grader in range(len(plan.graders))]
    return FoldItem(
        index=index,
        outcome=STORED_AS[item_outcome(verdicts)],
        increments=counters(plan.graders, loaded.samples.get(index), verdicts),
        scores={grader: verdict.score for grader, verdict in enumerate(verdicts) if verdict.score is not None},
        passed=frozenset(grader for grader, verdict in enumerate(verdicts) if verdict.passed),
    )


def _complete(plan: RunPlan, loaded: Loaded, index: int) -> bool:
    sampled = plan.target is None or index in loaded.samples
    return sampled and all((index, grader) in loaded.verdicts for grader in range(len(plan.graders)))
