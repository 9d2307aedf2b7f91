"""The page of a comparison: every difference with its interval, drawn around zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from functions.aggregate import charts
from functions.aggregate.page import BINARY_TYPES, stylesheet, template

if TYPE_CHECKING:
    from common.schemas.comparison import Comparison, Figures, GraderComparison, Measured

Tone = Literal["better", "worse", "open"]


@dataclass(frozen=True, slots=True)
class Row:
    """One difference as drawn: of ``figures``, in the units of ``measured``. ``name`` None: the items without a value."""

    name: str | None
    figures: Figures
    measured: Measured
    drawn: charts.Interval
    tone: Tone
    in_slice: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Rows over one axis. ``axis`` holds the ticks; ``margin`` where the margin is drawn on it."""

    title: str
    unit: Literal["score", "share"]
    rows: tuple[Row, ...]
    axis: charts.Interval


@dataclass(frozen=True, slots=True)
class GraderView:
    """One grader's section. Where scores are only 0 or 1 there is one plot, of pass rates."""

    anchor: str
    found: GraderComparison
    span: float
    binary: bool
    plots: tuple[Plot, ...]


def render(comparison: Comparison, *, rendered_at: int) -> str:
    """The page. ``rendered_at`` in unix seconds."""
    views = [_view(number, grader, comparison.margin) for number, grader in enumerate(comparison.graders, start=1)]
    return template("compare.html").render(
        css=stylesheet(),
        found=comparison,
        runs=(("a, the baseline", comparison.a), ("b, the candidate", comparison.b)),
        graders=views,
        summary=[(view, view.plots[0].rows[0]) for view in views],
        alpha=1 - comparison.level,
        level=f"{comparison.level * 100:g} %",
        rendered_at=rendered_at,
        width=charts.WIDTH,
        margin=charts.MARGIN,
    )


def _view(number: int, grader: GraderComparison, margin: float | None) -> GraderView:
    low, high = grader.range
    binary = grader.type in BINARY_TYPES
    passes = _plot("Difference of the pass rates", "share", grader, span=1.0, margin=margin if binary else None)
    means = () if binary else (_plot("Difference of the means", "score", grader, span=high - low, margin=margin),)
    return GraderView(f"grader-{number}", grader, high - low, binary, (*means, passes))


def _plot(title: str, unit: Literal["score", "share"], grader: GraderComparison, *, span: float, margin: float | None) -> Plot:
    named: list[tuple[str | None, Figures]] = [("all items", grader), *((part.slice, part) for part in grader.slices)]
    found = [(name, figures, _measured(figures, unit)) for name, figures in named]
    ends = [end for _, _, each in found for end in (each.interval or ()) + ((each.mean,) if each.mean is not None else ())]
    axis = charts.axis_around_zero([*ends, *(() if margin is None else (margin,))], span=span)
    mark = None if margin is None else -margin
    rows = tuple(
        Row(
            name=name,
            figures=figures,
            measured=each,
            drawn=charts.interval(axis, each.mean, ends=each.interval, mark=mark),
            tone=_tone(each),
            in_slice=number > 0,
        )
        for number, (name, figures, each) in enumerate(found)
    )
    return Plot(title, unit, rows, charts.interval(axis, None, mark=mark))


def _measured(figures: Figures, unit: Literal["score", "share"]) -> Measured:
    return figures.difference if unit == "score" else figures.passes.difference


def _tone(measured: Measured) -> Tone:
    if measured.interval is None or measured.interval[0] <= 0 <= measured.interval[1]:
        return "open"
    return "better" if measured.interval[0] > 0 else "worse"
