"""Ending a run early, once its stop rule has decided: looked at now and then while results are counted.

Only the unbroken beginning of the run's random order is looked at, so that answers which come fast cannot sway the outcome.
The test may be looked at any number of times (`common.stats.sequential`); it is begun anew at each look, and looks are an
eighth of the run so far apart, so that all of them together cost a few looks at the whole run. A look that is lost with its
pod only delays the end.
"""

from __future__ import annotations

import logging
import math
import struct
from typing import TYPE_CHECKING, Literal

from common.errors import NotFound
from common.observability.logs import log
from common.schemas.runs import ENDED
from common.schemas.stopping import RUN_STOP, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from common.schemas.runs import RunPlan
    from common.schemas.stopping import Decision, StopRule
    from common.stats.sequential import ThresholdTest
    from common.store.runs import RunStore
    from common.store.runstate import Folded
    from functions.aggregate.records import Records

_FIRST_LOOK = 16
_INTERVAL_ITEMS = 20_000  # for more items the interval would take a second and longer

_DIFFERENCES: dict[Literal["above", "below"], Decision] = {"above": "not worse", "below": "worse"}


def stops(plan: RunPlan, folded: Folded, runs: RunStore, records: Records) -> bool:
    """End the run if its rule has decided; True for exactly one caller. No trip without a rule or between two looks."""
    rule = plan.stop
    if rule is None or folded.completed or folded.status in ENDED or not is_look(folded.done - folded.new, folded.done):
        return False
    try:
        decided = decide(plan, rule, records)
    except (NotFound, ValueError) as error:  # the other run was deleted, or a score lies outside its grader's range
        log("aggregate.stop_rule_void", level=logging.WARNING, run_id=plan.run_id, reason=type(error).__name__)
        return False
    return decided is not None and runs.stop(plan.run_id, decided) not in ENDED


def is_look(before: int, after: int) -> bool:
    """True when counting from `before` to `after` items reached or passed the number at which a look is due."""
    due = _FIRST_LOOK
    while due <= before:
        due += due >> 3
    return due <= after


def decide(plan: RunPlan, rule: StopRule, records: Records) -> Stopped | None:
    """What the rule says of the beginning of the run; None while it is open. Two Redis trips, five where runs are compared.

    Raises:
        NotFound: the run to compare with was deleted.
        ValueError: a score lies outside its grader's range.
    """
    from common.stats.sequential import State, interval

    scores = list(_differences(plan, rule, records) if rule.other_run else _beginning(plan, rule.grader, records))
    test = _test(plan, rule)
    state = test.update(State(), scores)
    if state.decision is None or rule.side not in (None, state.decision):
        return None
    seen = scores[: state.seen]
    known = len(seen) <= _INTERVAL_ITEMS
    return Stopped(
        rule=plan.metadata.get(RUN_STOP, ""),
        decision=_DIFFERENCES[state.decision] if rule.other_run else state.decision,
        at_items=state.seen,
        interval=interval(seen, test.n_total, low=test.low, high=test.high, alpha=test.alpha) if known else None,
    )


def _test(plan: RunPlan, rule: StopRule) -> ThresholdTest:
    from common.stats.sequential import ThresholdTest, difference_test

    low, high = plan.graders[rule.grader].scale
    if rule.other_run:
        return difference_test(plan.item_count, -rule.threshold, low=low, high=high, alpha=rule.alpha)
    return ThresholdTest(plan.item_count, rule.threshold, low=low, high=high, alpha=rule.alpha)


def _beginning(plan: RunPlan, grader: int, records: Records) -> Sequence[float | None]:
    """Scores of the items that are counted without a gap, in the run's order, canaries left out; None: unscored."""
    scores = _unpacked(records.beginning(plan, grader))
    for canary in reversed(plan.arrangement.canary_positions()):
        del scores[canary : canary + 1]
    return scores


def _differences(plan: RunPlan, rule: StopRule, records: Records) -> Iterator[float | None]:
    """What each item scored more than the same line did in the other run; None where either has no score."""
    other = records.plan(rule.other_run or "")
    name = plan.graders[rule.grader].name
    theirs = _unpacked(records.scores(other, [grader.name for grader in other.graders].index(name)))
    counted = records.counted(other)
    ours, there = plan.arrangement, other.arrangement
    for position, score in enumerate(_unpacked(records.beginning(plan, rule.grader))):
        place = ours.place(position)
        if place.canary:
            continue
        at = there.position(place.line)
        known = at < len(theirs) and counted[at >> 3] >> (7 - (at & 7)) & 1
        against = theirs[at] if known else None
        yield None if score is None or against is None else score - against


def _unpacked(vector: bytes) -> list[float | None]:
    values = struct.unpack(f"<{len(vector) // 8}d", vector)
    return [None if math.isnan(value) else value for value in values]
