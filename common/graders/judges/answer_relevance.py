"""How much of an answer is an answer to the question."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from common.graders.fencing import fencer
from common.graders.judges.claims import checked_claims
from common.graders.judges.numbered import Finding, closed, finding
from common.graders.judges.several import evidence
from common.graders.judging import Question, ask
from common.graders.outcome import Score, UnscoredError
from common.graders.prompt_files import prompt
from common.graders.reply import ReplyError, read_object
from common.graders.template import render
from common.schemas.completion import JsonSchema, Message

if TYPE_CHECKING:
    from common.graders.context import GradeContext
    from common.graders.judging import Answer
    from common.schemas.graders import AnswerRelevanceGrader

_STATEMENT = closed({"statement": {"type": "string"}, "reason": {"type": "string"}, "relevant": {"type": "boolean"}})
_ASSESSMENT = {
    "statements": {"type": "array", "items": _STATEMENT},
    "reason": {"type": "string"},
    "commits": {"type": "boolean"},
}


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the judge made of an answer: its statements with a finding each, and whether it commits to anything."""

    statements: list[tuple[str, Finding]]
    commits: bool
    reason: str


async def answer_relevance(grader: AnswerRelevanceGrader, context: GradeContext) -> Score:
    """Statements of the answer that help to answer the question / statements, in one judge call; 0 if it commits to nothing.

    Not ragas' answer relevancy, which compares the question with questions made up from the answer, by embeddings. A blank
    answer is 0 without a call.

    Raises:
        UnscoredError: ``no_claims`` for an answer that commits to something without a statement, ``too_many_claims``, or what
            `judging.ask` raises.
    """
    if not render(grader.answer, context.scope).strip():
        return Score(0.0, grader.threshold <= 0, reason="the answer is empty", details={"commits": False, "statements": []})
    answer = await _ask(grader, context)
    found = answer.value
    listed = [{"statement": text, "relevant": each.holds, "reason": each.reason} for text, each in found.statements]
    details = {"commits": found.commits, "statements": listed}
    if found.commits and not found.statements:
        raise UnscoredError("no_claims", "the answer makes no statements", details=details, **evidence([answer]))
    relevant = sum(each.holds for _, each in found.statements)
    value = relevant / len(found.statements) if found.commits else 0.0
    share = f"{relevant} of {len(found.statements)} statements help to answer the question"
    reason = share if found.commits else f"the answer commits to nothing: {found.reason}"
    return Score(value, value >= grader.threshold, reason=reason, details=details, **evidence([answer]))


async def _ask(grader: AnswerRelevanceGrader, context: GradeContext) -> Answer[Assessment]:
    marker, instructions = context.marker(), prompt("relevance.v1")
    asked = render(grader.question, context.scope, wrap=fencer(marker))
    given = render(grader.answer, context.scope, wrap=fencer(marker))
    question = Question(
        model=grader.model,
        messages=(
            Message("system", instructions.fill(marker=marker)),
            Message("user", f"Question:\n{asked}\n\nAnswer:\n{given}"),
        ),
        schema=JsonSchema("relevance", closed({"assessment": closed(_ASSESSMENT)})),
        read=partial(_read, most=grader.max_claims),
        marker=marker,
        prompt_version=instructions.version,
        sampling=grader.sampling_params,
    )
    return await ask(question, context)


def _read(text: str, *, most: int) -> Assessment:
    assessment = read_object(text, ("assessment",))["assessment"]
    statements = assessment.get("statements") if isinstance(assessment, dict) else None
    if not isinstance(statements, list) or not all(isinstance(each, dict) for each in statements):
        raise ReplyError("no_verdict", "'statements' is not a list of objects")
    commits = finding(assessment, "commits")
    texts = checked_claims([each.get("statement") for each in statements], most=most)
    findings = [finding(each, "relevant") for each in statements]
    return Assessment(list(zip(texts, findings, strict=True)), commits.holds, commits.reason)
