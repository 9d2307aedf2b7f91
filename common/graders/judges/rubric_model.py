"""A judge that scores criterion by criterion."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from common.graders.judges.expected_score import expected_scores
from common.graders.judges.numbered import closed
from common.graders.judges.several import all_at_once, evidence
from common.graders.judging import Question, ask, compose
from common.graders.outcome import REASON_LIMIT, Score, bounded
from common.graders.prompt_files import prompt
from common.graders.reply import ReplyError, read_object
from common.graders.reply.values import number_of
from common.schemas.completion import JsonSchema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from common.graders.context import GradeContext
    from common.graders.judging import Answer
    from common.schemas.graders import Criterion, RubricModelGrader

    Scores = dict[str, tuple[int, str]]


async def rubric_model(grader: RubricModelGrader, context: GradeContext) -> Score:
    """Ask for a score of every criterion, in one call or one each. One that is missing or out of range leaves no score."""
    groups = [[criterion] for criterion in grader.criteria] if grader.each else [grader.criteria]
    answers = await all_at_once(_ask(grader, group, context) for group in groups)
    said = {name: score for answer in answers for name, (score, _) in answer.value.items()}
    reasons = {name: reason for answer in answers for name, (_, reason) in answer.value.items()}
    scores, details = _weighed(grader, answers, said)
    mean = weighted_mean(scores, {criterion.name: criterion.weight for criterion in grader.criteria})
    failed = [each.name for each in grader.criteria if each.required and scores[each.name] < grader.threshold]
    lines = [f"{name} ({score}): {reasons[name]}" for name, score in said.items()]
    return Score(
        mean,
        mean >= grader.threshold and not failed,
        reason=bounded("\n".join(lines), REASON_LIMIT),
        details={**details, **({"failed_required": failed} if failed else {})},
        **evidence(answers),
    )


def weighted_mean(scores: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """sum(w_i * s_i) / sum(w_i): never outside the lowest and the highest score. Weights are > 0; only their ratios count."""
    mean = math.fsum(weights[name] * score for name, score in scores.items()) / math.fsum(weights[name] for name in scores)
    return min(max(scores.values()), max(min(scores.values()), mean))


def _weighed(
    grader: RubricModelGrader, answers: Sequence[Answer[Scores]], said: dict[str, int]
) -> tuple[dict[str, float], dict[str, Any]]:
    """The scores that count, and how they came about. Expected ones count only if every criterion has one."""
    scores = {name: float(score) for name, score in said.items()}
    if not grader.expected_score:
        return scores, {"criteria": scores}
    low, high = grader.range
    expected = {}
    for answer in answers:
        own = {name: score for name, (score, _) in answer.value.items()}
        expected.update(expected_scores(answer.logprobs, own, low=low, high=high) or {})
    if expected.keys() != said.keys():
        return scores, {"criteria": scores, "expected": False}
    scores = {name: expected[name].value for name in said}
    mass = {name: round(expected[name].mass, 6) for name in said}
    return scores, {"criteria": scores, "expected": True, "said": said, "mass": mass}


async def _ask(grader: RubricModelGrader, criteria: Sequence[Criterion], context: GradeContext) -> Answer[Scores]:
    low, high = grader.range
    marker, instructions = context.marker(), prompt("rubric.v1")
    told = {"low": str(low), "high": str(high), "criteria": "\n\n".join(map(_described, criteria))}
    names = [criterion.name for criterion in criteria]
    question = Question(
        model=grader.model,
        messages=compose(instructions, grader.input, context, marker=marker, **told),
        schema=_schema(names, low=low, high=high),
        read=partial(_read, names=names, low=low, high=high),
        marker=marker,
        prompt_version=instructions.version,
        sampling=grader.sampling_params,
        top_logprobs=grader.top_logprobs if grader.expected_score else None,
    )
    return await ask(question, context)


def _described(criterion: Criterion) -> str:
    levels = [f"* {score}: {text}" for score, text in sorted(criterion.levels.items(), key=lambda level: int(level[0]))]
    return "\n".join([f"{criterion.name}: {criterion.description}", *levels])


def _schema(names: Sequence[str], *, low: int, high: int) -> JsonSchema:
    """``{"criteria": {name: {"reason", "score"}}}``, every object closed and complete."""
    score = {"type": "integer", "description": f"From {low} to {high}."}
    criterion = closed({"reason": {"type": "string"}, "score": score})
    return JsonSchema("rubric_verdict", closed({"criteria": closed(dict.fromkeys(names, criterion))}))


def _read(text: str, *, names: Sequence[str], low: int, high: int) -> Scores:
    """Score and reason by criterion, in the order of `names`. Raises `ReplyError`."""
    criteria = read_object(text, ("criteria",))["criteria"]
    if not isinstance(criteria, dict) or criteria.keys() != set(names):
        raise ReplyError("no_verdict", f"'criteria' must have exactly the keys {', '.join(map(repr, names))}")
    return {name: _read_criterion(name, criteria[name], low=low, high=high) for name in names}


def _read_criterion(name: str, entry: Any, *, low: int, high: int) -> tuple[int, str]:
    score = entry.get("score") if isinstance(entry, dict) else None
    if isinstance(score, str):
        score = number_of(score, low=low, high=high)
    whole = isinstance(score, int) or (isinstance(score, float) and score.is_integer())
    if score is None or isinstance(score, bool) or not whole:
        raise ReplyError("no_verdict", f"the score of {name!r} is not a whole number")
    if not low <= score <= high:
        raise ReplyError("score_out_of_range", f"the score of {name!r} is outside the range from {low} to {high}")
    reason = entry.get("reason")
    return int(score), reason.strip() if isinstance(reason, str) else ""
