"""Several verdicts on one sample: reached at once, counted, and kept as evidence of what is made of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any, TypeVar

from common.graders.outcome import UnscoredError
from common.schemas.evaluation import Ballot, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from common.graders.context import GradeContext
    from common.schemas.graders import Grader

    Grade = Callable[[Grader, GradeContext], Awaitable[Verdict]]

T = TypeVar("T")


async def together(judgements: Iterable[Awaitable[T]]) -> list[T]:
    """Every result, in order.

    All are awaited before a failure is passed on: what they cost is then at least in the gateway's response cache.
    """
    results: list[T] = []
    for result in await asyncio.gather(*judgements, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results


def evidence(named: Sequence[tuple[str, Verdict]]) -> dict[str, Any]:
    """What a score or its absence rests on: a ballot for each verdict, their details by name, and every call.

    The fields are those of `common.graders.outcome.Score`; ``judge`` is None where several judged.
    """
    verdicts = [verdict for _, verdict in named]
    judges = {verdict.judge for verdict in verdicts if verdict.judge}
    details = {name: verdict.details for name, verdict in named if verdict.details}
    return {
        "ballots": tuple(ballot(name, verdict) for name, verdict in named),
        "calls": tuple(call for verdict in verdicts for call in verdict.calls),
        "judge": judges.pop() if len(judges) == 1 else None,
        "prompt_version": _prompts(verdicts),
        "details": {"graders": details} if details else {},
    }


def ballot(name: str, verdict: Verdict) -> Ballot:
    """A verdict as the vote of `name`; one without a score is an abstention that says why."""
    return Ballot(
        judge=name,
        score=verdict.score,
        label=verdict.label,
        reason=verdict.reason,
        unscored=verdict.unscored,
        sides=verdict.sides,
    )


def require(named: Sequence[tuple[str, Verdict]], quorum: int, found: dict[str, Any]) -> list[Verdict]:
    """The verdicts that have a score.

    Raises:
        UnscoredError: ``no_quorum``, fewer than `quorum`; with the evidence `found`.
    """
    scored = [verdict for _, verdict in named if verdict.score is not None]
    if len(scored) < quorum:
        reasons = sorted(f"{name}: {verdict.unscored.message}" for name, verdict in named if verdict.unscored is not None)
        message = f"{len(scored)} of {len(named)} have a score, {quorum} are needed; {'; '.join(reasons)}"
        raise UnscoredError("no_quorum", message, **found)
    return scored


def scores_of(verdicts: Iterable[Verdict]) -> list[float]:
    """The scores that there are, in order."""
    return [verdict.score for verdict in verdicts if verdict.score is not None]


def most_frequent(votes: Sequence[T]) -> T | None:
    """The vote that is there more often than any other; None where two are there equally often."""
    first, *others = Counter(votes).most_common(2)
    return None if others and others[0][1] == first[1] else first[0]


def average(scores: Sequence[float], how: str) -> float:
    """The ``median`` of scores, or else their mean, which does not depend on their order."""
    return median(scores) if how == "median" else fmean(scores)


def spread(scores: Sequence[float]) -> dict[str, float | None]:
    """How far scores lie apart; ``stdev`` is the sample standard deviation (n - 1), None for a single score."""
    return {"stdev": stdev(scores) if len(scores) > 1 else None, "min": min(scores), "max": max(scores)}


def _prompts(verdicts: Sequence[Verdict]) -> str | None:
    """Every prompt that took part, once; repairs stand last, as they do where one judge was asked."""
    parts = {part for verdict in verdicts if verdict.prompt_version for part in verdict.prompt_version.split("+")}
    return "+".join(sorted(parts, key=lambda part: (part.startswith("repair"), part))) or None
