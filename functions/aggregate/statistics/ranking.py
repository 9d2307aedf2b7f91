"""Who wins: a run's pairwise verdicts, or rows that were handed in, as a ranking."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import InvalidInput, UnknownVariable
from common.graders.outcome import UnscoredError
from common.graders.template import render
from common.schemas.statistics import (
    MAX_BOOTSTRAP_CONTESTANTS,
    MAX_CONTESTANTS,
    Contestant,
    Fit,
    LengthEffect,
    Measure,
    Ranking,
    RunRanking,
    Strength,
)
from common.stats.bradley_terry import Bootstrap, BradleyTerry, bootstrap, bradley_terry, ratings
from common.stats.elo import elo
from common.stats.length_control import LengthControlled, length_controlled
from common.stats.rankings import Comparison, Comparisons, average_win_rate, counting, win_rates
from functions.aggregate.statistics.judged import item_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from common.schemas.evaluation import Verdict
    from common.schemas.runs import ItemResult
    from common.schemas.statistics import RankingOptions, RankingQuery, RankingRow
    from functions.aggregate.statistics.judged import Reading

_WINNERS = {"left": 1.0, "tie": 0.5, "right": 0.0}
_INCONSISTENT = "inconsistent"
_NAME_LIMIT = 200
_TOO_MANY_FOR_INTERVALS = f"no bootstrap intervals: more than {MAX_BOOTSTRAP_CONTESTANTS} contestants"


@dataclass(slots=True)
class _Count:
    """What a run's items came to while they were read."""

    done: int = 0
    inconsistent: int = 0
    simulated: bool = False
    dropped: Counter[str] = field(default_factory=Counter)


def given_ranking(rows: Iterable[RankingRow], options: RankingOptions) -> Ranking:
    """A ranking of rows that were handed in, in their order."""
    comparisons = Comparisons.of(_comparison(row) for row in rows)
    dropped = {"no_verdict": comparisons.dropped} if comparisons.dropped else {}
    return ranked(comparisons, options, dropped=dropped)


def run_ranking(query: RankingQuery, reading: Reading) -> RunRanking:
    """The answer about a run. Reads it once; some 60 bytes an item are kept.

    Raises:
        InvalidInput: the grader's scores are no preferences within [0, 1], or length is asked for and it compares no outputs.
    """
    if reading.grader.scale != (0.0, 1.0):
        raise InvalidInput("grader: a ranking needs scores from 0 (lost) to 1 (won)", pointer="/grader")
    if query.covariate == "length" and not hasattr(reading.grader, "output_b"):
        raise InvalidInput("covariate: only a pairwise_model grader has two outputs with a length", pointer="/covariate")
    count = _Count()
    comparisons = Comparisons.of(_comparisons(query, reading, count))
    found = ranked(comparisons, query, dropped=dict(count.dropped))
    return RunRanking(
        **found.model_dump(),
        run_id=reading.plan.run_id,
        grader=query.grader,
        done=count.done,
        inconsistent=count.inconsistent,
        total=reading.plan.item_count,
        simulated=count.simulated,
    )


def ranked(comparisons: Comparisons, options: RankingOptions, *, dropped: dict[str, int]) -> Ranking:
    """Every figure there is about the contestants, the strongest first."""
    if len(comparisons.names) > MAX_CONTESTANTS:
        raise InvalidInput(f"{len(comparisons.names)} contestants; at most {MAX_CONTESTANTS} are ranked", pointer="")
    fit = bradley_terry(comparisons, prior=options.prior)
    few = len(comparisons.names) <= MAX_BOOTSTRAP_CONTESTANTS
    resamples = options.resamples if few and fit.strengths is not None else 0
    spread = bootstrap(
        comparisons,
        rng=np.random.default_rng(options.seed),
        resamples=resamples,
        level=options.level,
        prior=options.prior,
    )
    length = length_controlled(comparisons) if options.covariate == "length" else None
    return Ranking(
        rows=len(comparisons) + sum(dropped.values()),
        n=len(comparisons),
        dropped=dropped,
        contestants=_contestants(comparisons, fit, spread, length, level=options.level),
        bradley_terry=Fit(
            reason=fit.reason, groups=[list(group) for group in fit.groups], resamples=resamples, unfit=spread.unfit
        ),
        length=None if length is None else LengthEffect(coefficient=length.coefficient, se=length.se, reason=length.reason),
        notes=[] if few or not options.resamples else [_TOO_MANY_FOR_INTERVALS],
    )


def _comparison(row: RankingRow) -> Comparison:
    score = row.score if row.winner is None else _WINNERS[row.winner]
    lengths = row.left_length, row.right_length
    return Comparison(
        left=row.left,
        right=row.right,
        score=score,
        weight=row.weight,
        cluster=None if row.cluster is None else str(row.cluster),
        length_difference=None if lengths[0] is None or lengths[1] is None else lengths[0] - lengths[1],
    )


def _comparisons(query: RankingQuery, reading: Reading, count: _Count) -> Iterator[Comparison]:
    """The run's comparisons; items that are none are counted by reason."""
    for result, verdict in reading.verdicts():
        count.done += 1
        count.simulated = count.simulated or verdict.simulated
        found = _of_item(query, reading, result, verdict)
        if isinstance(found, str):
            count.dropped[found] += 1
        else:
            count.inconsistent += verdict.label == _INCONSISTENT
            yield found


def _of_item(query: RankingQuery, reading: Reading, result: ItemResult, verdict: Verdict) -> Comparison | str:
    left = "A" if query.left is None else _name(result, query.left)
    right = "B" if query.right is None else _name(result, query.right)
    if verdict.score is None:
        return "unscored"
    if left is None or right is None:
        return "no_name"
    if left == right:
        return "same_name"
    return Comparison(
        left=left,
        right=right,
        score=verdict.score,
        cluster=None if query.cluster is None else _name(result, query.cluster),
        length_difference=_length_difference(reading.grader, result) if query.covariate == "length" else None,
    )


def _name(result: ItemResult, path: str) -> str | None:
    value = item_value(result, path)
    if value is None or isinstance(value, dict | list) or value == "":
        return None
    return str(value)[:_NAME_LIMIT]


def _length_difference(grader: Any, result: ItemResult) -> float | None:
    """Characters of the pair's side A less those of side B; None where an output cannot be put together any more."""
    sample: dict[str, Any] = dict(result.sample.fields) if result.sample else {}
    if result.sample and result.sample.output_text is not None:
        sample["output_text"] = result.sample.output_text
    scope = {"item": result.item, "sample": sample}
    try:
        return float(len(render(grader.output_a, scope)) - len(render(grader.output_b, scope)))
    except (UnknownVariable, UnscoredError):
        return None


def _contestants(
    comparisons: Comparisons, fit: BradleyTerry, spread: Bootstrap, length: LengthControlled | None, *, level: float
) -> list[Contestant]:
    wins, average, points = counting(comparisons), average_win_rate(comparisons), elo(comparisons)
    rates = win_rates(comparisons, level=level)
    strong = _strengths(fit.strengths, spread)
    controlled = _strengths(None if length is None else length.strengths, None)
    found = [
        Contestant(
            name=name,
            n=rates[name].n,
            wins=wins[name],
            average_win_rate=average[name],
            win_rate=Measure(n=rates[name].n, value=rates[name].mean, se=rates[name].se, interval=rates[name].interval),
            bradley_terry=strong.get(name),
            length_controlled=controlled.get(name),
            elo=points[name],
        )
        for name in comparisons.names
    ]
    return sorted(found, key=_place)


def _place(one: Contestant) -> tuple[float, float, str]:
    strength = 0.0 if one.bradley_terry is None else one.bradley_terry.strength
    return -strength, -(one.average_win_rate or 0.0), one.name


def _strengths(strengths: dict[str, float] | None, spread: Bootstrap | None) -> dict[str, Strength]:
    if strengths is None:
        return {}
    points = ratings(strengths)
    ends = (spread.strengths or {}, spread.ratings or {}) if spread else ({}, {})
    return {
        name: Strength(
            strength=strength,
            strength_interval=ends[0].get(name),
            rating=points[name],
            rating_interval=ends[1].get(name),
        )
        for name, strength in strengths.items()
    }
