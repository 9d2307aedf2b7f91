"""One evaluation: an item, a sample and graders in; verdicts out."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common.errors import DeadlineExceeded, KnudgeError
from common.graders.context import GradeContext
from common.graders.passmarks import check_pass_mark
from common.graders.registry import grade, refuse, waits
from common.graders.template import missing_item_variables
from common.observability.metrics import VERDICTS
from common.schemas.completion import Origin
from common.schemas.evaluation import EvaluationResult, Unscored, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from common.ports import Complete, Evaluations
    from common.schemas.evaluation import EvaluationRequest, Sample
    from common.schemas.graders import Grader


_OUTCOMES = {True: "passed", False: "failed", None: "unscored"}


@dataclass(frozen=True, slots=True)
class Judging:
    """What every evaluation of this process shares. ``marker`` returns a fresh random token for fencing."""

    complete: Complete
    marker: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged; ``deadline_s`` is a point on the monotonic clock."""

    item: dict[str, Any]
    sample: Sample
    deadline_s: float
    origin: Origin = field(default_factory=Origin)


async def judge_all(judging: Judging, subject: Subject, graders: Sequence[Grader]) -> list[Verdict | KnudgeError]:
    """Every grader at once. A retryable failure stands in its place as the error, so that the others are not lost."""
    work = [judge(judging, subject, grader) for grader in graders]
    return [await work[0]] if len(work) == 1 else await asyncio.gather(*work)


async def judge(judging: Judging, subject: Subject, grader: Grader) -> Verdict | KnudgeError:
    """What one grader says by the deadline, or a retryable failure."""
    context = GradeContext(
        item=subject.item,
        sample=subject.sample,
        complete=judging.complete,
        marker=judging.marker,
        deadline_s=subject.deadline_s,
        origin=subject.origin,
    )
    try:
        if waits(grader):
            async with asyncio.timeout(max(0.0, subject.deadline_s - time.monotonic())):
                verdict = await grade(grader, context)
        else:
            verdict = await grade(grader, context)
    except TimeoutError:
        return DeadlineExceeded(f"grader {grader.name!r} did not finish within the deadline", retry_after_s=1.0)
    except KnudgeError as error:
        return error
    VERDICTS.inc(verdict.type, _OUTCOMES[verdict.passed])
    return verdict


async def evaluate(
    request: EvaluationRequest, judging: Judging, evaluations: Evaluations, *, deadline_s: float, origin: Origin
) -> EvaluationResult:
    """Judge one sample.

    With an ``evaluation_id`` the verdicts are kept: the same request again costs no model call, and a request that failed
    half-way pays only for what is missing.

    Raises:
        InvalidInput: a grader is not supported here, or a template names what the item does not have.
        Conflict: the id was used for a different request.
        KnudgeError: every grader failed for a reason that may pass; retry after ``retry_after_s``.
    """
    check(request)
    subject = Subject(request.item, request.sample, deadline_s, origin)
    if request.evaluation_id is None:
        outcomes = await judge_all(judging, subject, request.graders)
        return EvaluationResult(evaluation_id=f"evl_{uuid.uuid4().hex}", verdicts=_settled(request.graders, outcomes))
    async with evaluations.claim(request, project=origin.project, deadline_s=deadline_s) as claim:
        missing = [index for index in range(len(request.graders)) if index not in claim.verdicts]
        outcomes = await judge_all(judging, subject, [request.graders[index] for index in missing])
        fresh = {i: outcome for i, outcome in zip(missing, outcomes, strict=True) if isinstance(outcome, Verdict)}
        await claim.save(fresh)
    merged: dict[int, Verdict | KnudgeError] = {**claim.verdicts, **dict(zip(missing, outcomes, strict=True))}
    ordered = [merged[index] for index in range(len(request.graders))]
    return EvaluationResult(evaluation_id=request.evaluation_id, verdicts=_settled(request.graders, ordered))


def check(request: EvaluationRequest) -> None:
    """Find the caller's mistakes before anything is paid for."""
    for index, grader in enumerate(request.graders):
        pointer = f"/graders/{index}"
        refuse(grader, pointer=pointer)
        check_pass_mark(grader, pointer=pointer)
        missing_item_variables(grader, request.item, pointer=pointer)


def _settled(graders: Sequence[Grader], outcomes: Sequence[Verdict | KnudgeError]) -> list[Verdict]:
    """Errors become unscored verdicts, unless there is nothing else: then the caller had better retry."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, KnudgeError)]
    if errors and len(errors) == len(outcomes):
        raise errors[0]
    return [
        unscored(grader, outcome) if isinstance(outcome, KnudgeError) else outcome
        for grader, outcome in zip(graders, outcomes, strict=True)
    ]


def unscored(grader: Grader, error: KnudgeError) -> Verdict:
    """The verdict of a grader that could not judge."""
    return Verdict(name=grader.name, type=grader.type, unscored=Unscored(code=error.code, message=error.message))
