"""Many runs in a ranking, grader by grader, each against the leader on the items they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.errors import InvalidInput
from common.schemas.comparison import MAX_RUNS, GraderRanking, Leaderboard, NotCompared, Standing
from common.stats.multiple import holm
from common.stats.paired import difference
from functions.aggregate.comparing.cautions import run_warnings
from functions.aggregate.comparing.compare import changed_fields, compared_run, names_in
from functions.aggregate.comparing.contrast import measured, side
from functions.aggregate.comparing.pairing import Pairings
from functions.aggregate.comparing.vectors import judged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from common.schemas.comparison import ComparedRun, LeaderboardQuery, Measured, Side
    from common.schemas.graders import Grader
    from common.schemas.runs import RunPlan, RunSummary
    from functions.aggregate.comparing.vectors import GraderVector
    from functions.aggregate.records import Records


@dataclass(frozen=True, slots=True)
class Contender:
    """A run, and one grader's verdicts in it."""

    plan: RunPlan
    vector: GraderVector
    side: Side


def leaderboard(query: LeaderboardQuery, records: Records, *, project: str) -> Leaderboard:
    """The answer to `query`.

    Costs a few trips a run and grader, and memory for one grader at a time: 9 bytes an item and run. Datasets are read
    where runs are over different ones.

    Raises:
        NotFound: a run is not the project's, or the eval has none there.
        InvalidInput: neither or both of ``runs`` and ``eval_id``, too many runs, or a grader that none has.
    """
    plans = _plans(query, records, project=project)
    summaries = [records.summary(plan) for plan in plans]
    wanted = _wanted(plans, None if query.graders is None else names_in(query.graders))
    pairings, graders, rest = Pairings(records), [], []
    for name in wanted:
        first, members, strangers = _members(name, plans)
        rest += [NotCompared(name=name, reason=reason) for reason in strangers]
        contenders = _contenders(members, summaries, records, level=query.level)
        graders.append(_ranking(first, contenders, pairings, level=query.level))
    settled, tests = _settled(graders, level=query.level)
    runs = [compared_run(summary) for summary in summaries]
    return Leaderboard(
        runs=runs,
        simulated=any(run.simulated for run in runs),
        complete=all(run.complete for run in runs),
        level=query.level,
        tests=tests,
        graders=settled,
        not_compared=rest,
        warnings=list(_warnings(plans, runs, wanted)),
    )


def _plans(query: LeaderboardQuery, records: Records, *, project: str) -> list[RunPlan]:
    if (query.runs is None) == (query.eval_id is None):
        raise InvalidInput("expected either runs, as ids between commas, or eval_id", pointer="/runs")
    if query.eval_id is not None:
        return records.runs_of(query.eval_id, project=project, limit=MAX_RUNS)
    ids = names_in(query.runs or "")
    if not 1 <= len(ids) <= MAX_RUNS:
        raise InvalidInput(f"runs: expected 1 to {MAX_RUNS} run ids between commas", pointer="/runs")
    return [records.owned(run_id, project=project) for run_id in ids]


def _wanted(plans: Sequence[RunPlan], names: Sequence[str] | None) -> list[str]:
    known = list(dict.fromkeys(grader.name for plan in plans for grader in plan.graders))
    if unknown := [name for name in names or () if name not in known]:
        raise InvalidInput(f"graders: no run has a grader named {unknown[0][:60]!r}", pointer="/graders")
    return known if names is None else list(names)


def _members(name: str, plans: Sequence[RunPlan]) -> tuple[Grader, list[tuple[int, RunPlan, int]], list[str]]:
    """The grader as first defined; the runs (number, plan, grader's index) that have it on that scale; why others have not."""
    found: list[tuple[int, RunPlan, int]] = []
    strangers = []
    first: Grader | None = None
    for number, plan in enumerate(plans):
        index = next((index for index, grader in enumerate(plan.graders) if grader.name == name), None)
        if index is None:
            strangers.append(f"run {plan.run_id} does not have it")
            continue
        first = first or plan.graders[index]
        if plan.graders[index].scale == first.scale:
            found.append((number, plan, index))
        else:
            strangers.append(f"run {plan.run_id} has it on another scale")
    if first is None:
        raise LookupError(name)
    return first, found, strangers


def _contenders(
    members: Sequence[tuple[int, RunPlan, int]], summaries: Sequence[RunSummary], records: Records, *, level: float
) -> list[Contender]:
    contenders = []
    for number, plan, index in members:
        found = judged(plan, summaries[number], records, graders=[index])
        vector = found.graders[index]
        contenders.append(Contender(plan, vector, side(vector.scores, vector.passed, found.done, level=level)))
    return contenders


def _ranking(grader: Grader, contenders: Sequence[Contender], pairings: Pairings, *, level: float) -> GraderRanking:
    """Best mean first; runs without one come last."""
    ordered = sorted(contenders, key=lambda each: -_mean(each))
    means = [each.side.mean.mean for each in ordered]
    standings = []
    for each in ordered:
        own = each.side.mean.mean
        standings.append(
            Standing(
                run_id=each.plan.run_id,
                rank=None if own is None else 1 + means.index(own),
                scored=each.side.scored,
                unscored=each.side.unscored,
                mean=each.side.mean,
                pass_rate=each.side.pass_rate,
                behind=None if each is ordered[0] else _behind(ordered[0], each, pairings, level=level),
            )
        )
    return GraderRanking(name=grader.name, type=grader.type, range=grader.scale, standings=standings)


def _mean(contender: Contender) -> float:
    mean = contender.side.mean.mean
    return float("-inf") if mean is None else mean


def _behind(leader: Contender, other: Contender, pairings: Pairings, *, level: float) -> Measured | None:
    pairing = pairings.of(leader.plan, other.plan)
    a, b = leader.vector.scores[pairing.a], other.vector.scores[pairing.b]
    both = ~np.isnan(a) & ~np.isnan(b)
    return measured(difference(a[both], b[both], level=level)) if both.any() else None


def _settled(graders: Sequence[GraderRanking], *, level: float) -> tuple[list[GraderRanking], int]:
    """Every difference to a leader adjusted for all of them."""
    ps = [each.behind.p for grader in graders for each in grader.standings if each.behind and each.behind.p is not None]
    adjusted = iter(holm(ps))
    settled = []
    for grader in graders:
        standings = []
        for each in grader.standings:
            p_holm = next(adjusted) if each.behind and each.behind.p is not None else None
            significant = p_holm is not None and p_holm < 1 - level
            standings.append(each.model_copy(update={"p_holm": p_holm, "significant": significant}))
        settled.append(grader.model_copy(update={"standings": standings}))
    return settled, len(ps)


def _warnings(plans: Sequence[RunPlan], runs: Sequence[ComparedRun], names: Sequence[str]) -> Iterator[str]:
    for run in runs:
        yield from run_warnings(run, run.run_id)
    if len({plan.dataset_id for plan in plans}) > 1:
        yield (
            "the runs are over different datasets: each mean is over its own run's items, "
            "differences to the leader over items of the same content"
        )
    for name in names:
        defined = [grader for plan in plans for grader in plan.graders if grader.name == name]
        changed = dict.fromkeys(changed for grader in defined for changed in changed_fields(defined[0], grader))
        if changed:
            yield f"{name}: its definition differs between the runs in {', '.join(changed)}"
