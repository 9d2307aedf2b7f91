"""Rules for the way a sample took: how many tool calls, which, and how often the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from common.graders.checks.calls import Call, sample_calls
from common.graders.outcome import REASON_LIMIT, Score, bounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from common.graders.context import GradeContext
    from common.schemas.graders import TrajectoryGrader

_MAX_STEPS = 10_000


async def trajectory(grader: TrajectoryGrader, context: GradeContext) -> Score:
    """1 when every rule is kept, else 0, and the reason lists every breach.

    Raises:
        UnscoredError: ``tool_calls_invalid``, ``too_many_tool_calls``.
    """
    calls = sample_calls(grader.input, context, limit=_MAX_STEPS, messages=True)
    breaches = list(_breaches(grader, calls))
    reason = bounded("; ".join(breaches), REASON_LIMIT) or None
    return Score(float(not breaches), not breaches, reason=reason, details={"steps": len(calls)})


def _breaches(grader: TrajectoryGrader, calls: Sequence[Call]) -> Iterator[str]:
    if grader.min_steps is not None and len(calls) < grader.min_steps:
        yield f"{len(calls)} steps, at least {grader.min_steps} expected"
    if grader.max_steps is not None and len(calls) > grader.max_steps:
        yield f"{len(calls)} steps, at most {grader.max_steps} expected"
    used = Counter(call.name for call in calls)
    yield from (f"{tool} was not called" for tool in grader.required_tools if tool not in used)
    yield from (f"{tool} is forbidden, and was called {used[tool]} times" for tool in grader.forbidden_tools if tool in used)
    if grader.max_repeats is not None:
        yield from _repeated(calls, grader.max_repeats)


def _repeated(calls: Sequence[Call], most: int) -> Iterator[str]:
    made = Counter((call.name, call.written) for call in calls)
    shown = {(call.name, call.written): call for call in calls}
    for identity, times in made.items():
        if times - 1 > most:
            yield f"{shown[identity]} was repeated {times - 1} times, at most {most} expected"
