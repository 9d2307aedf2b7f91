"""The page of a leaderboard: the runs of each grader's ranking with their intervals drawn on one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from functions.aggregate.pages import charts
from functions.aggregate.pages.page import BINARY_TYPES, stylesheet, template

if TYPE_CHECKING:
    from common.schemas.comparison import ComparedRun, GraderRanking, Leaderboard, Measured, Standing


@dataclass(frozen=True, slots=True)
class Row:
    """One run's line; ``value`` is its pass rate where scores are only 0 or 1, else its mean."""

    standing: Standing
    run: ComparedRun
    value: Measured
    drawn: charts.Interval


@dataclass(frozen=True, slots=True)
class RankingView:
    """One grader's section."""

    anchor: str
    ranking: GraderRanking
    span: float
    binary: bool
    rows: tuple[Row, ...]
    axis: charts.Interval


def render(found: Leaderboard, *, rendered_at: int) -> str:
    """The page. ``rendered_at`` in unix seconds."""
    runs = {run.run_id: run for run in found.runs}
    return template("leaderboard.html").render(
        css=stylesheet(),
        found=found,
        graders=[_view(number, ranking, runs) for number, ranking in enumerate(found.graders, start=1)],
        level=f"{found.level * 100:g} %",
        rendered_at=rendered_at,
        width=charts.WIDTH,
        margin=charts.MARGIN,
    )


def _view(number: int, ranking: GraderRanking, runs: dict[str, ComparedRun]) -> RankingView:
    low, high = ranking.range
    binary = ranking.type in BINARY_TYPES
    values = [each.pass_rate if binary else each.mean for each in ranking.standings]
    ends = [end for value in values for end in value.interval or ((value.mean,) if value.mean is not None else ())]
    axis, ticks = charts.axis_around(ends, within=ranking.range)
    rows = tuple(
        Row(each, runs[each.run_id], value, charts.interval(axis, value.mean, ends=value.interval))
        for each, value in zip(ranking.standings, values, strict=True)
    )
    return RankingView(f"grader-{number}", ranking, high - low, binary, rows, charts.interval(axis, None, tick_count=ticks))
