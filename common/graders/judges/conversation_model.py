"""A judge that scores a conversation, as a whole or turn by turn."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING

from common.graders.fencing import fencer
from common.graders.judging import Question, ask, verdict_schema
from common.graders.outcome import REASON_LIMIT, Score, UnscoredError, bounded
from common.graders.prompt_files import prompt
from common.graders.reply import read_score
from common.graders.template import render, value_of
from common.graders.transcript import Turn, checked, read_messages, transcript
from common.schemas.completion import Message
from common.schemas.evaluation import Ballot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.graders.context import GradeContext
    from common.graders.judging import Answer
    from common.schemas.graders import ConversationModelGrader

    Said = Answer[tuple[float, str | None]]

_WHOLE, _TURN = "conversation.v1", "conversation_turn.v1"
_MAX_TURNS = 32  # that are judged one by one


async def conversation_model(grader: ConversationModelGrader, context: GradeContext) -> Score:
    """Ask once about the whole, or once about each text of the assistant with all that came before it.

    Raises:
        UnscoredError: ``conversation_invalid``, ``conversation_too_long``; or one of the judge's answers is no score, and then
            the ballots have the others.
        KnudgeError: a failure that may pass.
    """
    turns = _turns(grader, context)
    if grader.each_turn:
        return await _by_turn(grader, turns, context)
    answer = await _ask(grader, turns, context)
    value, reason = answer.value
    return Score(
        value,
        value >= grader.threshold,
        reason=reason,
        judge=answer.judge,
        prompt_version=answer.prompt_version,
        calls=answer.calls,
    )


def _turns(grader: ConversationModelGrader, context: GradeContext) -> tuple[Turn, ...]:
    turns = read_messages(value_of(grader.messages, context.scope))
    if grader.reply is not None:
        turns = (*turns, Turn(len(turns) + 1, "assistant", render(grader.reply, context.scope)))
    return checked(turns)


async def _by_turn(grader: ConversationModelGrader, turns: tuple[Turn, ...], context: GradeContext) -> Score:
    ends = [turn.number for turn in turns if turn.judged]
    if len(ends) > _MAX_TURNS:
        raise UnscoredError("conversation_too_long", f"the assistant has {len(ends)} turns; at most {_MAX_TURNS} are judged")
    # All are awaited before a failure is passed on: what they cost is then at least in the gateway's response cache.
    asked = (_ask(grader, turns[:end], context) for end in ends)
    results = await asyncio.gather(*asked, return_exceptions=True)
    said: list[Said | UnscoredError] = []
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, UnscoredError):
            raise result
        said.append(result)
    return _together(grader, ends, said)


def _together(grader: ConversationModelGrader, ends: Sequence[int], said: Sequence[Said | UnscoredError]) -> Score:
    """One score of all turns. One turn without a score leaves the whole without one."""
    ballots = tuple(_ballot(grader, each) for each in said)
    calls = tuple(call for each in said for call in each.calls)
    judges = {ballot.judge for ballot in ballots}
    judge = judges.pop() if len(judges) == 1 else None
    scores = [ballot.score for ballot in ballots if ballot.score is not None]
    details = {"turns": {str(end): ballot.score for end, ballot in zip(ends, ballots, strict=True)}}
    version = "+".join(dict.fromkeys(part for each in said for part in (each.prompt_version or _TURN).split("+")))
    if len(scores) < len(ballots):
        end, failed = next((end, b.unscored) for end, b in zip(ends, ballots, strict=True) if b.unscored is not None)
        message = f"message {end}: {failed.message}"
        raise UnscoredError(
            failed.code,
            message,
            raw=failed.raw,
            judge=judge,
            prompt_version=version,
            ballots=ballots,
            calls=calls,
            details=details,
        )
    value = min(scores) if grader.turns == "min" else min(max(scores), max(min(scores), math.fsum(scores) / len(scores)))
    reasons = [f"message {end} ({ballot.score:g}): {ballot.reason}" for end, ballot in zip(ends, ballots, strict=True)]
    reason = bounded("\n".join(reasons), REASON_LIMIT)
    passed = value >= grader.threshold
    return Score(
        value, passed, reason=reason, judge=judge, prompt_version=version, ballots=ballots, calls=calls, details=details
    )


def _ballot(grader: ConversationModelGrader, said: Said | UnscoredError) -> Ballot:
    if isinstance(said, UnscoredError):
        return Ballot(judge=said.judge or grader.model, unscored=said.unscored)
    score, reason = said.value
    return Ballot(judge=said.judge, score=score, reason=reason)


async def _ask(grader: ConversationModelGrader, turns: Sequence[Turn], context: GradeContext) -> Said:
    low, high = (f"{end:.15g}" for end in grader.range)
    marker, instructions = context.marker(), prompt(_TURN if grader.each_turn else _WHOLE)
    number = {"number": str(turns[-1].number)} if grader.each_turn else {}
    criteria = render(grader.criteria, context.scope, wrap=fencer(marker))
    question = Question(
        model=grader.model,
        messages=(
            Message("system", instructions.fill(marker=marker, low=low, high=high, **number)),
            Message("user", f"The criteria:\n\n{criteria}\n\nThe conversation:\n\n{transcript(turns, marker=marker)}"),
        ),
        schema=verdict_schema("score", {"type": "number", "description": f"From {low} to {high}."}),
        read=partial(read_score, low=grader.range[0], high=grader.range[1]),
        marker=marker,
        prompt_version=instructions.version,
        sampling=grader.sampling_params,
    )
    return await ask(question, context)
