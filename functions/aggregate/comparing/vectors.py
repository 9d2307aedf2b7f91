"""What graders said of every item of a run, as arrays over the items."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.schemas.runs import ENDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from common.schemas.runs import RunPlan, RunSummary
    from functions.aggregate.records import Records

    Bits = NDArray[np.bool_]
    Positions = NDArray[np.intp]
    Scores = NDArray[np.float64]

_CLOSE = 1e-6  # a summary's mean is of scores rounded to 1e-9
_PAGE_ITEMS = 500


@dataclass(frozen=True, slots=True)
class GraderVector:
    """One grader over all items: ``scores`` are NaN where unscored or not counted yet, ``passed`` False there."""

    scores: Scores
    passed: Bits

    def at(self, positions: Positions) -> GraderVector:
        """The entries at `positions`, in their order."""
        return GraderVector(self.scores[positions], self.passed[positions])


@dataclass(frozen=True, slots=True)
class Judged:
    """A run's items, by their lines in the data. ``done``: counted. ``graders`` by the grader's index."""

    done: Bits
    graders: dict[int, GraderVector]


def judged(plan: RunPlan, summary: RunSummary, records: Records, *, graders: Sequence[int]) -> Judged:
    """The vectors of these graders; canaries are in none. 9 bytes of memory an item and grader; two trips for each, and one.

    A run that was counted before vectors were kept has none, or gaps that would read as scores of 0: its verdicts are read
    instead, page by page. In runs with a random order each line's position takes some ten microseconds to work out.

    Args:
        summary: Of the run, read before: nothing is ever taken out of a vector again.
    """
    counted = _bits(records.counted(plan), plan.position_count)
    positions = _positions(plan)
    found: dict[int, GraderVector] = {}
    lost: list[int] = []
    for grader in graders:
        raw = records.scores(plan, grader)
        passed = _bits(records.passed(plan, grader), plan.position_count) & counted
        vector = GraderVector(_scores(raw, counted), passed).at(positions)
        if _reaches(len(raw) // 8, counted) and _agrees(vector, summary, grader):
            found[grader] = vector
        else:
            lost.append(grader)
    read = _from_verdicts(plan, records, counted, graders=lost)
    return Judged(counted[positions], found | {grader: vector.at(positions) for grader, vector in read.items()})


def _positions(plan: RunPlan) -> Positions:
    """Where each line of the data stands in the run."""
    if plan.arrangement.identity:
        return np.arange(plan.item_count)
    return np.fromiter(map(plan.arrangement.position, range(plan.item_count)), dtype=np.intp, count=plan.item_count)


def _bits(bitmap: bytes, count: int) -> Bits:
    return np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8), count=count).astype(np.bool_)


def _scores(raw: bytes, counted: Bits) -> Scores:
    known = np.frombuffer(raw, dtype="<f8")[: len(counted)]
    scores = np.full(len(counted), math.nan)
    scores[: len(known)] = known
    scores[~counted] = math.nan
    return scores


def _reaches(size: int, counted: Bits) -> bool:
    """Whether a vector of `size` entries has one for the last that is counted."""
    last = np.flatnonzero(counted)[-1:]
    return not len(last) or int(last[0]) < size


def _agrees(vector: GraderVector, summary: RunSummary, grader: int) -> bool:
    """Whether the vector has the count and mean of the summary; a run that goes on may have been ahead of its summary."""
    told = summary.graders[grader]
    if summary.status not in ENDED or told.mean is None:
        return True
    scores = vector.scores[~np.isnan(vector.scores)]
    if len(scores) != told.scored:
        return False
    return bool(abs(float(scores.mean()) - told.mean) <= _CLOSE * max(1.0, abs(told.mean)))


def _from_verdicts(plan: RunPlan, records: Records, counted: Bits, *, graders: Sequence[int]) -> dict[int, GraderVector]:
    if not graders:
        return {}
    found = {grader: GraderVector(np.full(len(counted), math.nan), np.zeros(len(counted), np.bool_)) for grader in graders}
    positions: list[int] = np.flatnonzero(counted).tolist()
    for start in range(0, len(positions), _PAGE_ITEMS):
        verdicts = records.judged(plan, positions[start : start + _PAGE_ITEMS]).verdicts
        for (position, grader), verdict in verdicts.items():
            if grader in found and verdict.score is not None:
                found[grader].scores[position] = verdict.score
                found[grader].passed[position] = bool(verdict.passed)
    return found
