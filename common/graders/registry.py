"""The graders there are, and the one way to call them. A new grader is one file and one line here."""

from __future__ import annotations

from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from common.errors import UnknownVariable, Unsupported
from common.graders.outcome import MESSAGE_LIMIT, UnscoredError, bounded
from common.schemas.evaluation import Unscored, Verdict
from common.schemas.graders import MAX_SCORE, JudgeGrader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from common.graders.context import GradeContext
    from common.graders.outcome import Score
    from common.schemas.graders import Grader, GraderModel

# Type to module; the function in it is named like the type. Imported when first used: pods start from zero.
_GRADERS = {
    "string_check": "checks.string_check",
    "text_similarity": "checks.text_similarity",
    "json_schema": "checks.json_schema",
    "numeric": "checks.numeric",
    "regex": "checks.regex",
    "tool_calls": "checks.tool_calls",
    "trajectory": "checks.trajectory",
    "score_model": "judges.score_model",
    "label_model": "judges.label_model",
    "conversation_model": "judges.conversation_model",
    "pairwise_model": "judges.pairwise_model",
    "rubric_model": "judges.rubric_model",
    "faithfulness": "judges.faithfulness",
    "answer_relevance": "judges.answer_relevance",
    "context_precision": "judges.context_precision",
    "context_recall": "judges.context_recall",
    "multi": "combining.multi",
    "panel": "combining.panel",
    "cascade": "combining.cascade",
}
_OVER_OTHERS = frozenset({"multi", "panel", "cascade", "samples"})  # these are handed `grade` as well
_REFUSED = {"python": "it would run foreign code, and there is no sandbox for it here"}


def refuse(grader: GraderModel, *, pointer: str = "") -> None:
    """Check that `grader`, and every grader within it, can run here.

    Raises:
        Unsupported: one cannot; its pointer is `pointer` and the place of that grader after it.
    """
    for place, part in grader.parts.items():
        refuse(part, pointer=pointer + place)
    if grader.type not in _GRADERS:
        why = _REFUSED.get(grader.type, "there is no such grader")
        known = ", ".join(_GRADERS)
        raise Unsupported(f"grader type {grader.type!r} is not supported: {why}; use one of {known}", pointer=f"{pointer}/type")


def waits(grader: Grader) -> bool:
    """False for a grader that says at once what it has to say, because it asks nobody."""
    return not _GRADERS.get(grader.type, "").startswith("checks.")


async def grade(grader: Grader, context: GradeContext) -> Verdict:
    """What `grader` says about one sample: a score, or *unscored* with the reason.

    Costs no more than the grader's own model calls: none for the deterministic ones, one or two (a repair) for a judge, as
    many times as it has ``samples``.

    Raises:
        KnudgeError: a failure that may pass, or (`Unsupported`) a grader that `refuse` refuses.
    """
    refuse(grader)
    started_s = context.clock()
    found: dict[str, Any]
    try:
        score = _checked(await _implementation(grader)(grader, context))
    except UnscoredError as error:
        found = {**_evidence(error), "unscored": error.unscored}
    except UnknownVariable as error:
        found = {"unscored": Unscored(code=error.code, message=bounded(error.message, MESSAGE_LIMIT))}
    else:
        found = {**_evidence(score), "score": score.value, "passed": score.passed, "label": score.label, "reason": score.reason}
    latency_ms = max(0.0, context.clock() - started_s) * 1000
    return Verdict(name=grader.name, type=grader.type, latency_ms=latency_ms, **found)


def _implementation(grader: Grader) -> Callable[[Any, GradeContext], Awaitable[Score]]:
    if isinstance(grader, JudgeGrader) and grader.samples > 1:
        return _found("combining.samples", "samples")
    return _found(_GRADERS[grader.type], grader.type)


@cache
def _found(module: str, name: str) -> Callable[[Any, GradeContext], Awaitable[Score]]:
    implementation = getattr(import_module(f"common.graders.{module}"), name)
    return partial(implementation, grade=grade) if name in _OVER_OTHERS else implementation


def _checked(score: Score) -> Score:
    """What the counters of a run cannot hold is no score."""
    if not -MAX_SCORE <= score.value <= MAX_SCORE:
        raise UnscoredError("score_out_of_range", f"the score is no number within {MAX_SCORE:.0f} of 0", **_evidence(score))
    return score


def _evidence(outcome: Score | UnscoredError) -> dict[str, Any]:
    return {
        "details": outcome.details,
        "judge": outcome.judge,
        "prompt_version": outcome.prompt_version,
        "ballots": outcome.ballots,
        "calls": outcome.calls,
    }
