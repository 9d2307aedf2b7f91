"""Trying again what has no score: unscored verdicts are taken out of a run that has ended, and it goes on.

A retry first opens the run (`RunControl.begin_retry`), then walks over its unscored items, stretch by stretch. For each item
the walk takes out of the run's sums what the item had added, and deletes the unscored verdicts, and the sample if there is
none to speak of. What the deleted ones cost stays in the sums: it was paid. What the kept ones cost is taken out with the
rest, because it is counted once more when the item is counted again. So cost and tokens are those of the calls that were made.

Each stretch is one script that only the next stretch can follow. Whoever finds a walk unfinished, an advance or a tick, goes
on from where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.crashpoints import crash_point
from common.errors import InvalidInput
from common.graders.registry import refuse
from common.schemas.canaries import Canary
from common.stats.summary import canary_counters, counters, summarise
from common.store.results import indexes_in
from common.store.runcontrol import Unfold

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from common.schemas.evaluation import Unscored
    from common.schemas.runs import RunPlan
    from common.store.results import Loaded, ResultStore
    from common.store.runcontrol import RunControl
    from common.store.runs import RunStore
    from common.store.runstate import RunSnapshot

_CODES_SHOWN = 20


def check_retry(snapshot: RunSnapshot, codes: Collection[str]) -> None:
    """See that a retry of a run that has ended would do something.

    Args:
        codes: Reasons for which verdicts are unscored; none: any.

    Raises:
        InvalidInput: nothing is unscored, or not for these reasons, or the run was ended by its stop rule.
        Unsupported: a grader cannot run here (the run was imported).
    """
    plan, state = snapshot.plan, snapshot.state
    for number, grader in enumerate(plan.graders):
        refuse(grader, pointer=f"/testing_criteria/{number}")
    if state.stopped is not None:
        raise InvalidInput("the run has stopped early, because its rule had decided; fork it to judge more")
    summary = summarise(plan, state, snapshot.sums, {})
    known = sorted({code for grader in summary.graders for code in grader.unscored_reasons})
    if unknown := [code for code in codes if code not in known]:
        there = f"there are: {', '.join(known[:_CODES_SHOWN])}" if known else "nothing is unscored"
        raise InvalidInput(f"no verdict is unscored for {unknown[0][:80]!r}; {there}", pointer="/codes")
    unscored_canaries = summary.canaries.unscored if summary.canaries else 0
    if not summary.errored and not unscored_canaries and state.done == state.total:
        raise InvalidInput("every item is scored: there is nothing to retry")


@dataclass(frozen=True, slots=True)
class Retrier:
    """Walks over runs that were opened for a retry: ``stretch`` items in one script, ``at_a_time`` in one walk."""

    runs: RunStore
    results: ResultStore
    control: RunControl
    stretch: int = 100  # a few ms
    at_a_time: int = 2000  # a second or so

    def walk(self, plan: RunPlan) -> bool:
        """Go on with the walk over a run, for a bounded time; True when it is over, or there is none. Raises `NotFound`."""
        retry = self.runs.state(plan.run_id).retry
        if retry is None:
            return True
        start, found = retry.start, self._candidates(plan, retry.start)
        ahead, rest = found[: self.at_a_time], found[self.at_a_time :]
        for at in range(0, max(1, len(ahead)), self.stretch):
            items = ahead[at : at + self.stretch]
            following = ahead[at + self.stretch : at + self.stretch + 1] or rest[:1]
            end = following[0] if following else None
            ours, _ = self.control.unfold(plan, self._taken_out(plan, items, retry.codes), start=start, end=end)
            crash_point("tasks.unfolded")
            if not ours:
                return False
            if end is None:
                return True
            start = end
        return False

    def _candidates(self, plan: RunPlan, start: int) -> list[int]:
        """Positions from `start` on that may have something unscored, as many as a walk takes and one more."""
        bitmap = self.results.finished(plan, outcome="error")
        errored = indexes_in(bitmap, after=start - 1, limit=self.at_a_time + 1)
        canaries = [position for position in plan.arrangement.canary_positions() if position >= start]
        return sorted({*errored, *canaries})[: self.at_a_time + 1]

    def _taken_out(self, plan: RunPlan, items: Sequence[int], codes: Collection[str]) -> list[Unfold]:
        loaded = self.results.load(plan, items, lines=False)
        places = {index: plan.arrangement.place(index) for index in items}
        lines = [place.line for place in places.values() if place.canary]
        known = self.runs.datasets.lines(plan.canary_dataset_id or "", lines) if lines else {}
        canaries = {i: Canary.model_validate_json(known[place.line]) for i, place in places.items() if place.canary}
        found = (_unfold(plan, loaded, index, codes=codes, canaries=canaries) for index in items)
        return [unfold for unfold in found if unfold is not None]


def _unfold(
    plan: RunPlan, loaded: Loaded, index: int, *, codes: Collection[str], canaries: Mapping[int, Canary]
) -> Unfold | None:
    """What is to be taken out of one item; None where nothing is, or it is not complete and so was never counted."""
    graders = range(len(plan.graders))
    if any((index, grader) not in loaded.verdicts for grader in graders):
        return None
    verdicts = [loaded.verdicts[index, grader] for grader in graders]
    sample = loaded.samples.get(index)
    again = [grader for grader in graders if _wanted(verdicts[grader].unscored, codes)]
    if not again:
        return None
    sample_again = sample is not None and _wanted(sample.unscored, codes)
    # Without its calls a verdict counts as before, and costs nothing: what it did cost stays.
    counted = [verdict.model_copy(update={"calls": []}) if g in again else verdict for g, verdict in enumerate(verdicts)]
    if index in canaries:
        line = plan.arrangement.place(index).line
        increments = canary_counters(plan.graders, counted, canaries[index], line=line)
    else:
        increments = counters(plan.graders, None if sample_again else sample, counted)
    return Unfold(index, increments, verdicts=again, sample=sample_again)


def _wanted(unscored: Unscored | None, codes: Collection[str]) -> bool:
    return unscored is not None and (not codes or unscored.code in codes)
