"""A judge that compares two outputs, asked once in each order.

Judges prefer what stands first (or last). A pair that is judged differently when its sides are swapped is not decided.
Source: Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", 2023, sections 3.3 and 3.4,
https://arxiv.org/abs/2306.05685
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from common.graders.combining.evidence import evidence, together
from common.graders.fencing import fence
from common.graders.judging import Question, ask, compose, verdict_schema
from common.graders.outcome import Score, UnscoredError
from common.graders.prompt_files import prompt
from common.graders.reply import ReplyError, read_choice, read_scores
from common.graders.template import render
from common.schemas.completion import JsonSchema, Message
from common.schemas.evaluation import Ballot, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.graders.context import GradeContext
    from common.graders.judging import Answer
    from common.schemas.graders import PairwiseModelGrader

Order = Literal["ab", "ba"]
INCONSISTENT = "inconsistent"
_TIE = "tie"
_WORTH = {"win": 1.0, _TIE: 0.5, "loss": 0.0, INCONSISTENT: 0.5}
_PROMPTS = {"choice": "pairwise.v1", "scores": "pairwise_scores.v1"}
_OUTCOMES: dict[Order, dict[str, str]] = {
    "ab": {"A": "win", "B": "loss", _TIE: _TIE},
    "ba": {"A": "loss", "B": "win", _TIE: _TIE},
}
_SPELLINGS = {
    "A": ("A", "output.A", "Output A", "Answer A"),
    "B": ("B", "output.B", "Output B", "Answer B"),
    _TIE: ("tie", "C"),  # C is a tie in MT-Bench's prompts
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One reply: how the pair's side A fares, and the two scores in the pair's own order where the judge gave them."""

    label: str
    reason: str | None
    sides: tuple[float, float] | None = None


async def pairwise_model(grader: PairwiseModelGrader, context: GradeContext) -> Score:
    """Ask in every order at once. An order without a verdict leaves the pair without one.

    Raises:
        UnscoredError: that order's code; or ``inconsistent``, where the grader wants that unscored.
    """
    pair = render(grader.output_a, context.scope), render(grader.output_b, context.scope)
    orders: tuple[Order, ...] = ("ab", "ba") if grader.orders == "both" else (grader.orders,)
    verdicts = await together(_judged(grader, context, pair, order) for order in orders)
    named: list[tuple[str, Verdict]] = list(zip(orders, verdicts, strict=True))
    found = evidence(named)
    found["ballots"] = tuple(ballot for verdict in verdicts for ballot in verdict.ballots)
    for order, verdict in named:
        if verdict.unscored is not None:
            message = f"order {order}: {verdict.unscored.message}"
            raise UnscoredError(verdict.unscored.code, message, raw=verdict.unscored.raw, **found)
    return _decided(grader, verdicts, found)


def _decided(grader: PairwiseModelGrader, verdicts: Sequence[Verdict], found: dict[str, Any]) -> Score:
    labels = [str(verdict.label) for verdict in verdicts]
    label, reason, consistent = labels[0], verdicts[0].reason, len(set(labels)) == 1
    found["details"] = {"consistent": consistent if len(labels) > 1 else None}
    if not consistent:
        label, reason = INCONSISTENT, f"{labels[0]} in order ab, {labels[1]} in order ba"
    if not consistent and grader.on_inconsistent == "unscored":
        raise UnscoredError(INCONSISTENT, f"the judge disagrees with itself: {reason}", **found)
    score = _WORTH[label]
    return Score(score, score >= grader.threshold, label=label, reason=reason, **found)


async def _judged(grader: PairwiseModelGrader, context: GradeContext, pair: tuple[str, str], order: Order) -> Verdict:
    """The pair as judged in one order, with the ballot for it."""
    said: dict[str, Any]
    sides = None
    made: Answer[Comparison] | UnscoredError
    try:
        made = await ask(_question(grader, context, pair, order), context)
    except UnscoredError as error:
        made, said = error, {"unscored": error.unscored}
    else:
        sides = made.value.sides
        said = {"score": _WORTH[made.value.label], "label": made.value.label, "reason": made.value.reason}
    return Verdict(
        name=grader.name,
        type=grader.type,
        judge=made.judge,
        prompt_version=made.prompt_version,
        calls=list(made.calls),
        ballots=[Ballot(judge=made.judge or grader.model, order=order, sides=sides, **said)],
        **said,
    )


def _question(grader: PairwiseModelGrader, context: GradeContext, pair: tuple[str, str], order: Order) -> Question[Comparison]:
    marker, instructions = context.marker(), prompt(_PROMPTS[grader.reply])
    first, second = pair if order == "ab" else pair[::-1]
    shown = "\n\n".join(fence(f"output.{name}", text, marker=marker) for name, text in (("A", first), ("B", second)))
    return Question(
        model=grader.model,
        messages=(*compose(instructions, grader.input, context, marker=marker, **_values(grader)), Message("user", shown)),
        schema=_schema(grader),
        read=partial(_read_scores if grader.reply == "scores" else _read_choice, grader, order),
        marker=marker,
        prompt_version=instructions.version,
        sampling=grader.sampling_params,
    )


def _choices(grader: PairwiseModelGrader) -> list[str]:
    return [choice for choice in _SPELLINGS if grader.ties or choice != _TIE]


def _values(grader: PairwiseModelGrader) -> dict[str, str]:
    """What the instructions have to be told."""
    if grader.reply == "choice":
        return {"choices": json.dumps(_choices(grader))}
    low, high = (f"{end:.15g}" for end in grader.range)
    return {"low": low, "high": high, "equal": "a tie" if grader.ties else "not allowed: one of the two has to win"}


def _schema(grader: PairwiseModelGrader) -> JsonSchema:
    if grader.reply == "choice":
        return verdict_schema("verdict", {"type": "string", "enum": _choices(grader)})
    low, high = (f"{end:.15g}" for end in grader.range)
    score = {"type": "number", "description": f"From {low} to {high}."}
    properties = {"reason": {"type": "string"}, "score_a": score, "score_b": score}
    closed = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return JsonSchema("scores_verdict", closed)


def _read_choice(grader: PairwiseModelGrader, order: Order, text: str) -> Comparison:
    choice, reason = read_choice(text, {choice: _SPELLINGS[choice] for choice in _choices(grader)})
    return Comparison(_OUTCOMES[order][choice], reason)


def _read_scores(grader: PairwiseModelGrader, order: Order, text: str) -> Comparison:
    low, high = grader.range
    shown, reason = read_scores(text, low=low, high=high)
    a, b = shown if order == "ab" else shown[::-1]
    if a == b and not grader.ties:
        raise ReplyError("no_verdict", "the two scores are equal, and one of the two has to win")
    label = _TIE if abs(a - b) <= grader.tie_margin else "win" if a > b else "loss"
    return Comparison(label, reason, (a, b))
