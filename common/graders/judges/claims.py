"""Splitting a text into claims, and finding the claims that follow from contexts.

Source: Es et al. 2023, "RAGAS", arXiv:2309.15217, section 3 ("Faithfulness"): statements are extracted from the answer, a
second prompt verifies each of them against the context, and the score is the share of those supported.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from common.graders.fencing import fencer
from common.graders.judges.contexts import contexts_of, shown
from common.graders.judges.numbered import Finding, ask_numbered, closed
from common.graders.judges.several import after, evidence
from common.graders.judging import Answer, Question, ask
from common.graders.outcome import Score, UnscoredError
from common.graders.prompt_files import prompt
from common.graders.reply import ReplyError, read_object
from common.graders.template import render
from common.schemas.completion import JsonSchema, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.graders.context import GradeContext
    from common.schemas.graders import ContextRecallGrader, FaithfulnessGrader

CLAIM_LIMIT = 500  # characters; what is longer makes more than one claim


async def share_supported(grader: FaithfulnessGrader | ContextRecallGrader, context: GradeContext, *, text: str) -> Score:
    """The share of the claims in `text`, a template, that follow from the grader's contexts.

    Costs two judge calls; one if there are no claims or nothing was retrieved, none if the text is blank.

    Raises:
        UnscoredError: ``no_claims``, ``too_many_claims``, ``no_contexts``, or what `judging.ask` raises.
    """
    contexts = contexts_of(grader.contexts, context)
    if not render(text, context.scope).strip():
        raise UnscoredError("no_claims", "the text is empty, so it makes no claims")
    split = await _split(grader, context, text=text)
    claims = split.value
    if not claims:
        raise UnscoredError("no_claims", "the text makes no claims", **evidence([split]))
    answers: list[Answer[Any]] = [split]
    findings = [Finding(holds=False, reason="nothing was retrieved")] * len(claims)
    if contexts:
        judged = await after(split, _judge(grader, context, claims=claims, contexts=contexts))
        answers, findings = [split, judged], judged.value
    supported = sum(finding.holds for finding in findings)
    share = supported / len(claims)
    pairs = zip(claims, findings, strict=True)
    return Score(
        share,
        share >= grader.threshold,
        reason=f"{supported} of {len(claims)} claims follow from the contexts",
        details={"claims": [{"claim": claim, "supported": each.holds, "reason": each.reason} for claim, each in pairs]},
        **evidence(answers),
    )


async def _split(grader: FaithfulnessGrader | ContextRecallGrader, context: GradeContext, *, text: str) -> Answer[list[str]]:
    marker, instructions = context.marker(), prompt("claims.v1")
    wrap = fencer(marker)
    asked, given = render(grader.question, context.scope, wrap=wrap), render(text, context.scope, wrap=wrap)
    question = Question(
        model=grader.model,
        messages=(
            Message("system", instructions.fill(marker=marker)),
            Message("user", f"Question:\n{asked}\n\nText:\n{given}"),
        ),
        schema=JsonSchema("claims", closed({"claims": {"type": "array", "items": {"type": "string"}}})),
        read=partial(read_claims, most=grader.max_claims),
        marker=marker,
        prompt_version=instructions.version,
        sampling=grader.sampling_params,
    )
    return await ask(question, context)


async def _judge(
    grader: FaithfulnessGrader | ContextRecallGrader, context: GradeContext, *, claims: Sequence[str], contexts: Sequence[str]
) -> Answer[list[Finding]]:
    marker = context.marker()
    material = f"Contexts:\n{shown('context', contexts, marker=marker)}\n\nClaims:\n{shown('claim', claims, marker=marker)}"
    return await ask_numbered(
        grader,
        context,
        instructions=prompt("support.v1"),
        material=material,
        marker=marker,
        count=len(claims),
        flag="supported",
    )


def read_claims(text: str, *, most: int) -> list[str]:
    """The claims of a reply ``{"claims": [...]}``. Raises `ReplyError`: ``no_verdict``, ``too_many_claims``."""
    claims = read_object(text, ("claims",))["claims"]
    if not isinstance(claims, list):
        raise ReplyError("no_verdict", "'claims' is not a list")
    return checked_claims(claims, most=most)


def checked_claims(claims: Sequence[Any], *, most: int) -> list[str]:
    """`claims` without white space around them. Raises `ReplyError`: ``no_verdict``, ``too_many_claims``."""
    if len(claims) > most:
        raise ReplyError("too_many_claims", f"there are {len(claims)} claims, more than {most}", repairable=False)
    if any(not isinstance(claim, str) or not 0 < len(claim.strip()) <= CLAIM_LIMIT for claim in claims):
        raise ReplyError("no_verdict", f"every claim must be a text of 1 to {CLAIM_LIMIT} characters")
    return [claim.strip() for claim in claims]
