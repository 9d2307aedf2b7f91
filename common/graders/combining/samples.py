"""Self-consistency: the same judge asked several times about the same sample, and one score of its answers.

Source: Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models", 2023, section 2,
https://arxiv.org/abs/2203.11171

It works for every grader with the fields ``samples``, ``combine`` and ``min_scored`` (`common.schemas.graders.JudgeGrader`):
`common.graders.registry.grade` comes here where ``samples`` is above 1, and the grader's own code judges one sample at a time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from common.graders.combining.evidence import average, evidence, most_frequent, require, scores_of, spread, together
from common.graders.outcome import Score, UnscoredError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.graders.combining.evidence import Grade
    from common.graders.context import GradeContext
    from common.schemas.evaluation import Verdict
    from common.schemas.graders import JudgeGrader


async def samples(grader: JudgeGrader, context: GradeContext, *, grade: Grade) -> Score:
    """All samples at once; those without a score are abstentions, of which there may be as many as the quorum allows.

    The spread over those with a score is in the details: standard deviation, lowest and highest score, or with "majority"
    the share of the most frequent answer.

    Raises:
        UnscoredError: ``no_quorum``, or ``split_vote`` where no answer is more frequent than every other.
    """
    numbers = range(grader.samples)
    verdicts = await together(grade(_single(grader, number), _asked(context, grader.samples, number)) for number in numbers)
    named = [(verdict.judge or grader.name, verdict) for verdict in verdicts]
    found = evidence(named)
    found["details"] = _details(verdicts)
    scored = require(named, grader.quorum, found)
    return _elected(scored, found) if grader.combining == "majority" else _averaged(grader, scored, found)


def _single(grader: JudgeGrader, number: int) -> Any:
    """The grader that judges sample `number`. A fixed seed moves on, or every sample would be the first one again."""
    changes: dict[str, Any] = {"samples": 1}
    if grader.sampling_params is not None and grader.sampling_params.seed is not None:
        seed = grader.sampling_params.seed + number
        changes["sampling_params"] = grader.sampling_params.model_copy(update={"seed": seed})
    return grader.model_copy(update=changes)


def _asked(context: GradeContext, count: int, number: int) -> GradeContext:
    """The context of sample `number`: one number more for each, so that the response cache keeps them apart."""
    return replace(context, sample_number=context.sample_number * count + number)


def _details(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    found = [verdict.details for verdict in verdicts]
    return {"samples": found} if any(found) else {}


def _averaged(grader: JudgeGrader, scored: Sequence[Verdict], found: dict[str, Any]) -> Score:
    scores = scores_of(scored)
    value = average(scores, grader.combining)
    low, high = grader.scale
    mark = (low + high) / 2 if grader.threshold is None else grader.threshold
    found["details"]["spread"] = spread(scores)
    reason = f"{grader.combining} of {len(scores)} samples from {min(scores):.6g} to {max(scores):.6g}"
    labels = [verdict.label for verdict in scored]
    return Score(value, value >= mark, label=most_frequent(labels), reason=reason, **found)


def _elected(scored: Sequence[Verdict], found: dict[str, Any]) -> Score:
    """The answer that was given most often: a label where there is one, else the score itself."""
    answers = [verdict.score if verdict.label is None else verdict.label for verdict in scored]
    answer = most_frequent(answers)
    found["details"]["spread"] = {"share": max(answers.count(each) for each in answers) / len(answers)}
    if answer is None:
        raise UnscoredError("split_vote", f"no answer is more frequent than every other among {len(answers)}", **found)
    chosen = scored[answers.index(answer)]
    (value,) = scores_of([chosen])
    return Score(value, bool(chosen.passed), label=chosen.label, reason=chosen.reason, **found)
