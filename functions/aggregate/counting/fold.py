"""Counting results into a run: each item once, in one script, whoever brings it however often."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from common.crashpoints import crash_point
from common.errors import InvalidInput, NotFound, StoreUnavailable
from common.schemas.canaries import Canary
from common.stats.summary import canary_counters, counters, item_outcome
from common.store.runstate import FoldItem
from functions.aggregate.counting.stopping import stops
from functions.aggregate.records import STORED_AS, Records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.schemas.events import RunItems
    from common.schemas.runs import RunPlan
    from common.store.results import Loaded
    from common.store.runs import RunStore
    from common.store.runstate import Folded


def fold_items(wanted: RunItems, runs: RunStore, records: Records) -> Folded:
    """Count the items of one event, and end the run if that settles its stop rule.

    Two Redis trips; one more when the plan is not in memory, and one when canaries are among the items.

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
    known = canaries(plan, runs, wanted.items)
    crash_point("aggregate.loaded")
    folded = runs.fold(plan, [contribution(plan, loaded, index, canary=known.get(index)) for index in wanted.items])
    if folded.status is None:
        raise NotFound(f"no such run: {plan.run_id}")
    crash_point("aggregate.folded")
    if stops(plan, folded, runs, records):
        return replace(folded, completed=True, ask_for_more=False, status="completed")
    return folded


def canaries(plan: RunPlan, runs: RunStore, items: Sequence[int]) -> dict[int, Canary]:
    """Those of `items` that are canaries. No trip for a run without any, else one."""
    if plan.canary_dataset_id is None:
        return {}
    places = {index: plan.arrangement.place(index) for index in items}
    lines = {index: place.line for index, place in places.items() if place.canary}
    found = runs.datasets.lines(plan.canary_dataset_id, list(lines.values())) if lines else {}
    return {index: Canary.model_validate_json(found[line]) for index, line in lines.items()}


def contribution(plan: RunPlan, loaded: Loaded, index: int, *, canary: Canary | None = None) -> FoldItem:
    """What one item adds to the run's sums."""
    verdicts = [loaded.verdicts[index, grader] for grader in range(len(plan.graders))]
    if canary is not None:
        line = plan.arrangement.place(index).line
        return FoldItem(index, None, canary_counters(plan.graders, verdicts, canary, line=line))
    return FoldItem(
        index=index,
        outcome=STORED_AS[item_outcome(verdicts)],
        increments=counters(plan.graders, loaded.samples.get(index), verdicts),
        scores={grader: verdict.score for grader, verdict in enumerate(verdicts) if verdict.score is not None},
        passed=frozenset(grader for grader, verdict in enumerate(verdicts) if verdict.passed),
    )


def _complete(plan: RunPlan, loaded: Loaded, index: int) -> bool:
    sampled = plan.target is None or index in loaded.samples or plan.arrangement.place(index).canary
    return sampled and all((index, grader) in loaded.verdicts for grader in range(len(plan.graders)))
