"""Items of a run: read by reference, sampled if the run has a target, judged, kept, announced."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from common.errors import KnudgeError
from common.schemas.completion import Origin
from common.schemas.evaluation import Sample, Unscored, Verdict
from common.schemas.runs import run_budget_microusd
from functions.evaluate.single import Judging, Subject, judge_all, unscored
from functions.evaluate.target import sample_target

if TYPE_CHECKING:
    from common.ports import LoadedItems, RunReader
    from common.schemas.events import RunItems
    from common.schemas.runs import RunPlan, StoredSample


async def evaluate_items(wanted: RunItems, judging: Judging, runs: RunReader, *, deadline_s: float) -> RunItems | None:
    """Judge what is missing of some items, keep it, and say which items are complete.

    Verdicts that are there already are neither asked for nor paid for again. Returns None when the run wants no more.

    Raises:
        NotFound: no such run.
        KnudgeError: something failed that may pass; all that was reached is kept, a redelivery pays only for the rest.
    """
    plan = await runs.plan(wanted.run_id)
    loaded = await runs.load(plan, wanted.items)
    if not loaded.active:
        return None
    samples, failures = await _samples(plan, loaded, judging, runs, deadline_s=deadline_s)
    verdicts, more = await _verdicts(plan, loaded, samples, judging, deadline_s=deadline_s)
    await runs.save(plan, {}, verdicts)
    if failures or more:
        raise (failures or more)[0]
    return wanted


async def _samples(
    plan: RunPlan, loaded: LoadedItems, judging: Judging, runs: RunReader, *, deadline_s: float
) -> tuple[dict[int, StoredSample], list[KnudgeError]]:
    """Samples by item; what a target generates is kept at once, because it was paid for."""
    target = plan.target
    missing = [index for index in loaded.lines if _is_sampled(plan, index) and index not in loaded.samples]
    if target is None or not missing:
        return loaded.samples, []
    origin = replace(_origin(plan), purpose="target")
    asked = (
        sample_target(target, _line(loaded, i)["item"], judging.complete, deadline_s=deadline_s, origin=origin) for i in missing
    )
    outcomes = dict(zip(missing, await asyncio.gather(*asked), strict=True))
    fresh = {index: outcome for index, outcome in outcomes.items() if not isinstance(outcome, KnudgeError)}
    await runs.save(plan, fresh, {})
    return {**loaded.samples, **fresh}, [outcome for outcome in outcomes.values() if isinstance(outcome, KnudgeError)]


async def _verdicts(
    plan: RunPlan, loaded: LoadedItems, samples: dict[int, StoredSample], judging: Judging, *, deadline_s: float
) -> tuple[dict[tuple[int, int], Verdict], list[KnudgeError]]:
    """Fresh verdicts by (item, grader) and the failures that may pass."""

    async def item(index: int) -> dict[tuple[int, int], Verdict | KnudgeError]:
        missing = [g for g in range(len(plan.graders)) if (index, g) not in loaded.verdicts]
        sample = samples.get(index)
        if sample is not None and sample.unscored is not None:
            return {(index, g): _without_sample(plan, g, sample.unscored) for g in missing}
        line = _line(loaded, index)
        subject = Subject(line["item"], _judged(line, sample), deadline_s, _origin(plan))
        outcomes = await judge_all(judging, subject, [plan.graders[g] for g in missing])
        return {(index, g): _lasting(plan, g, outcome) for g, outcome in zip(missing, outcomes, strict=True)}

    ready = [index for index in loaded.lines if index in samples or not _is_sampled(plan, index)]
    merged = {key: outcome for part in await asyncio.gather(*map(item, ready)) for key, outcome in part.items()}
    fresh = {key: outcome for key, outcome in merged.items() if isinstance(outcome, Verdict)}
    return fresh, [outcome for outcome in merged.values() if isinstance(outcome, KnudgeError)]


def _is_sampled(plan: RunPlan, index: int) -> bool:
    """Whether the target is asked for this sample: a canary brings its own."""
    return plan.target is not None and not plan.arrangement.place(index).canary


def _origin(plan: RunPlan) -> Origin:
    return Origin(
        run_id=plan.run_id,
        eval_version=f"{plan.eval_id}@{plan.eval_version}",
        project=plan.project,
        budget_microusd=run_budget_microusd(plan.metadata),
        bulk=True,
    )


def _line(loaded: LoadedItems, index: int) -> dict[str, Any]:
    line: dict[str, Any] = orjson.loads(loaded.lines[index])
    return line


def _judged(line: dict[str, Any], sample: StoredSample | None) -> Sample:
    if sample is not None:
        return Sample(output_text=sample.output_text, **sample.fields)
    return Sample.model_validate(line.get("sample") or {})


def _lasting(plan: RunPlan, grader: int, outcome: Verdict | KnudgeError) -> Verdict | KnudgeError:
    """A failure that no redelivery will mend is a result of this item: unscored, with the reason."""
    if isinstance(outcome, KnudgeError) and not outcome.retryable:
        return unscored(plan.graders[grader], outcome)
    return outcome


def _without_sample(plan: RunPlan, grader: int, reason: Unscored) -> Verdict:
    spec = plan.graders[grader]
    return Verdict(name=spec.name, type=spec.type, unscored=reason)
