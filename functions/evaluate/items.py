"""Items of a run: taken by reference, sampled if the run has a target, judged, kept as reached, announced or handed back."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from common.crashpoints import crash_point
from common.errors import DeadlineExceeded, KnudgeError, NoLongerWanted, StoreUnavailable
from common.graders.registry import waits
from common.observability.logs import log
from common.schemas.completion import Origin
from common.schemas.evaluation import Sample, Unscored, Verdict
from common.schemas.runs import run_budget_microusd
from functions.evaluate.handingback import handed_back, log_items
from functions.evaluate.single import Judging, Subject, judge, unscored
from functions.evaluate.target import sample_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from common.ports import RunReader, TakenItems
    from common.schemas.completion import Completion, CompletionRequest
    from common.schemas.events import RunItems
    from common.schemas.runs import RunPlan, StoredSample

_ANSWER_S = 2.0  # what an answer may take at least; a quarter of the time where that is less
_STORE_AGAIN_S = (0.1, 0.2, 0.4, 0.8, 1.6, 1.6)  # a store that restarts is waited for: the whole event would come again


async def evaluate_items(wanted: RunItems, judging: Judging, runs: RunReader, *, deadline_s: float) -> RunItems | None:
    """Judge what is missing of some items, keep it as it is reached, and say which items are complete.

    Verdicts that are there already are neither asked for nor paid for again. Items that a passing failure kept from being
    finished are handed back to the run. Returns None when none is complete, or the run wants no more.

    Raises:
        NotFound: no such run.
        Overloaded: another process works on the same event.
        StoreUnavailable: what was reached may not be kept; the event is to come again.
    """
    crash_point("evaluate.received")
    plan = await runs.plan(wanted.run_id)
    async with runs.take(plan, wanted) as taken:
        crash_point("evaluate.taken")
        _log_taken(wanted, taken)
        ends_s = min(deadline_s, taken.until_s)  # an item that waited long for its turn is soon somebody else's
        work = _Work(plan, taken, _while_wanted(judging, taken, ends_s), ends_s, _origin(plan))
        failures = await work.outcomes()
        crash_point("evaluate.saved")
        if lost := [failure for failure in failures.values() if isinstance(failure, StoreUnavailable)]:
            raise lost[0]
        back = {index: handed_back(failure) for index, failure in failures.items() if failure}
        await taken.hand_back(back)
        done = taken.judged = [index for index, failure in failures.items() if failure is None]
        log_items(plan.run_id, done, back)
    return wanted.model_copy(update={"items": done}) if done else None


@dataclass(frozen=True, slots=True)
class _Work:
    """The items of one event under way."""

    plan: RunPlan
    taken: TakenItems
    judging: Judging
    deadline_s: float
    origin: Origin

    async def outcomes(self) -> dict[int, KnudgeError | None]:
        """Of each item: None when every verdict of it is kept, else a failure that may pass."""
        items = self.taken.items
        if self.plan.target is None and not any(map(waits, self.plan.graders)):
            return await self._at_once(items)
        return dict(zip(items, await asyncio.gather(*map(self._item, items)), strict=True))

    async def _at_once(self, items: Sequence[int]) -> dict[int, KnudgeError | None]:
        """Nothing waits for anybody: items are judged one after the other and kept together."""
        failures: dict[int, KnudgeError | None] = {}
        verdicts: dict[tuple[int, int], Verdict] = {}
        for index in items:
            subject = self._subject(index, self.taken.samples.get(index))
            failures[index], reached = await self._judged(index, subject, self._missing(index))
            verdicts |= reached
            await asyncio.sleep(0)  # a check of a long text takes its time: others have their turn between two
        await self._keep(verdicts)
        return failures

    async def _item(self, index: int) -> KnudgeError | None:
        try:
            sample = await self._sample(index)
            return sample if isinstance(sample, KnudgeError) else await self._verdicts(index, sample)
        except KnudgeError as error:  # of the store: graders and targets give theirs back
            return error

    async def _sample(self, index: int) -> StoredSample | KnudgeError | None:
        """What is judged, None where it came with the item; what a target says is kept at once, because it was paid for."""
        known, target = self.taken.samples.get(index), self.plan.target
        if known is not None or target is None or self.plan.arrangement.place(index).canary:  # a canary brings its own
            return known
        origin = replace(self.origin, purpose="target")
        sample = await sample_target(
            target, self._line(index)["item"], self.judging.complete, deadline_s=self.deadline_s, origin=origin
        )
        if not isinstance(sample, KnudgeError):
            crash_point("evaluate.sampled")
            await self.taken.save({index: sample}, {})
        return sample

    async def _verdicts(self, index: int, sample: StoredSample | None) -> KnudgeError | None:
        graders, missing = self.plan.graders, self._missing(index)
        if not missing:
            return None
        subject = self._subject(index, sample)
        together = [[number for number in missing if not waits(graders[number])]]  # they are there at once
        together += [[number] for number in missing if waits(graders[number])]
        work = [self._judged_and_kept(index, subject, numbers) for numbers in together if numbers]
        kept = await asyncio.gather(*work) if len(work) > 1 else [await work[0]]
        return next((failure for failure in kept if failure is not None), None)

    def _missing(self, index: int) -> list[int]:
        """Numbers of the graders that have not judged the item."""
        return [number for number in range(len(self.plan.graders)) if (index, number) not in self.taken.verdicts]

    def _subject(self, index: int, sample: StoredSample | None) -> Subject | Unscored:
        """What is judged, or why there is nothing to judge."""
        if sample is not None and sample.unscored is not None:
            return sample.unscored
        line = self._line(index)
        return Subject(line["item"], _given(line, sample), self.deadline_s, self.origin)

    async def _judged_and_kept(self, index: int, subject: Subject | Unscored, numbers: Sequence[int]) -> KnudgeError | None:
        failure, verdicts = await self._judged(index, subject, numbers)
        await self._keep(verdicts)
        return failure

    async def _judged(
        self, index: int, subject: Subject | Unscored, numbers: Sequence[int]
    ) -> tuple[KnudgeError | None, dict[tuple[int, int], Verdict]]:
        """Verdicts by some graders, one after the other, and the failure of one that may pass."""
        failure, verdicts = None, {}
        for number in numbers:
            grader = self.plan.graders[number]
            if isinstance(subject, Unscored):
                verdicts[index, number] = Verdict(name=grader.name, type=grader.type, unscored=subject)
                continue
            outcome = await judge(self.judging, subject, grader)
            if isinstance(outcome, KnudgeError) and outcome.retryable:
                failure = outcome
                continue
            # What no redelivery will mend is a result.
            verdicts[index, number] = unscored(grader, outcome) if isinstance(outcome, KnudgeError) else outcome
        return failure, verdicts

    async def _keep(self, verdicts: Mapping[tuple[int, int], Verdict]) -> None:
        if verdicts:
            crash_point("evaluate.judged")
            await self.taken.save({}, verdicts)

    def _line(self, index: int) -> dict[str, Any]:
        line: dict[str, Any] = orjson.loads(self.taken.lines[index])
        return line


def _while_wanted(judging: Judging, taken: TakenItems, ends_s: float) -> Judging:
    """Model calls are begun for as long as the run wants any, and there is time to take their answers."""
    last_s = ends_s - min(_ANSWER_S, (ends_s - time.monotonic()) / 4)

    def wanted() -> bool:
        return taken.active and time.monotonic() < last_s

    async def complete(request: CompletionRequest, /) -> Completion:
        request = replace(request, still_wanted=wanted, waits=taken.waits)
        try:
            for wait_s in _STORE_AGAIN_S:
                try:
                    return await judging.complete(request)
                except StoreUnavailable:  # there was no leave for the call: it was not made
                    await asyncio.sleep(wait_s)
            return await judging.complete(request)
        except NoLongerWanted as error:
            if taken.active:
                raise DeadlineExceeded("too little time is left for a call", retry_after_s=1.0) from error
            raise

    return replace(judging, complete=complete)


def _origin(plan: RunPlan) -> Origin:
    return Origin(
        run_id=plan.run_id,
        eval_version=f"{plan.eval_id}@{plan.eval_version}",
        project=plan.project,
        budget_microusd=run_budget_microusd(plan.metadata),
        bulk=True,
    )


def _given(line: dict[str, Any], sample: StoredSample | None) -> Sample:
    if sample is not None:
        return Sample(output_text=sample.output_text, **sample.fields)
    return Sample.model_validate(line.get("sample") or {})


def _log_taken(wanted: RunItems, taken: TakenItems) -> None:
    """Which of an event's items are worked on, and which are left to a later event, or to a run that wants none."""
    ours = set(taken.items)
    if ours:
        log("evaluate.items_taken", run_id=wanted.run_id, items=taken.items)
    if left := [index for index in wanted.items if index not in ours]:
        log("evaluate.items_left", run_id=wanted.run_id, items=left, active=taken.active)
