"""Comparing the sample's tool calls with those that are expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.graders.checks.arguments import differences
from common.graders.checks.calls import Call, read_calls, sample_calls
from common.graders.checks.matching import most_pairs
from common.graders.outcome import REASON_LIMIT, Score, UnscoredError, bounded
from common.graders.template import value_of
from common.schemas.graders.checks import MAX_CALLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.graders.context import GradeContext
    from common.schemas.graders import ToolCallsGrader


async def tool_calls(grader: ToolCallsGrader, context: GradeContext) -> Score:
    """1 when the calls fit by the grader's mode, else 0, and the reason says what is missing and what there is too much.

    Raises:
        UnscoredError: ``tool_calls_invalid``, ``too_many_tool_calls``; ``expected_invalid``: those expected are no calls.
    """
    expected = _expected(grader, context)
    made = sample_calls(grader.input, context, limit=MAX_CALLS)
    different = [
        [differences(actual, wanted, grader.matchers, extra=grader.extra_arguments == "allow") for wanted in expected]
        for actual in made
    ]
    pairs = _pairs(different, in_order=grader.mode == "exact")
    missing = [number for number in range(len(expected)) if number not in pairs.values()]
    extra = [number for number in range(len(made)) if number not in pairs]
    passed = not (missing and grader.mode != "subset") and not (extra and grader.mode != "superset")
    reason = None if passed else _reason(grader.mode, (made, extra), (expected, missing), different)
    counts = {"matched": len(pairs), "missing": len(missing), "extra": len(extra)}
    return Score(float(passed), passed, reason=reason, details=counts)


def _expected(grader: ToolCallsGrader, context: GradeContext) -> list[Call]:
    if isinstance(grader.expected, str):
        value = value_of(grader.expected, context.scope)
    else:
        value = [call.model_dump() for call in grader.expected]
    try:
        calls = read_calls(value, limit=MAX_CALLS)
    except UnscoredError as error:
        raise UnscoredError("expected_invalid", f"expected: {error}") from error
    if any(call.arguments is None for call in calls):
        raise UnscoredError("expected_invalid", "expected: arguments that are no JSON object")
    return calls


def _pairs(different: Sequence[Sequence[Sequence[str]]], *, in_order: bool) -> dict[int, int]:
    """Numbers of calls made and of calls expected that belong together; `in_order`: each with the one at its own place."""
    if in_order:
        return {place: place for place, row in enumerate(different) if place < len(row) and not row[place]}
    return most_pairs([[number for number, each in enumerate(row) if not each] for row in different])


def _reason(
    mode: str,
    made: tuple[Sequence[Call], Sequence[int]],
    expected: tuple[Sequence[Call], Sequence[int]],
    different: Sequence[Sequence[Sequence[str]]],
) -> str:
    told = []
    calls, extra = made
    wanted, missing = expected
    if mode != "subset":
        told += [f"missing: {_numbered(mode, number)}{wanted[number]}" for number in missing]
    if mode != "superset":
        told += [f"extra: {_numbered(mode, number)}{calls[number]}" for number in extra]
    near = [
        f"{calls[left].name} differs in {', '.join(different[left][right])}"
        for left in extra
        for right in missing
        if calls[left].name == wanted[right].name and (mode != "exact" or left == right)
    ]
    return bounded("; ".join([*told, *dict.fromkeys(near)]), REASON_LIMIT)


def _numbered(mode: str, number: int) -> str:
    return f"call {number + 1}, " if mode == "exact" else ""
