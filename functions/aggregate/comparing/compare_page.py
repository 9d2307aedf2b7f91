"""The page of a comparison: every difference with its interval, drawn around zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from functions.aggregate.pages import charts
from functions.aggregate.pages.page import BINARY_TYPES, stylesheet, template

if TYPE_CHECKING:
    from common.schemas.comparison import Comparison, Figures, GraderComparison, Measured

Tone = Literal["better", "worse", "open", "plain"]
Unit = Literal["score", "share"]


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
    """Rows over one axis. ``adjusted``: its differences are those whose p-values are adjusted."""

    title: str
    unit: Unit
    adjusted: bool
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
    views = [_view(number, grader, comparison) for number, grader in enumerate(comparison.graders, start=1)]
    return template("compare.html").render(
        css=stylesheet(),
        found=comparison,
        runs=(("a, the baseline", comparison.a), ("b, the candidate", comparison.b)),
        graders=views,
        summary=[(view, view.plots[0].rows[0]) for view in views],
        level=f"{comparison.level * 100:g} %",
        rendered_at=rendered_at,
        width=charts.WIDTH,
        margin=charts.MARGIN,
    )


def _view(number: int, grader: GraderComparison, found: Comparison) -> GraderView:
    low, high = grader.range
    binary = grader.type in BINARY_TYPES
    plots = [_plot("Difference of the pass rates", "share", grader, found, adjusted=binary)]
    if not binary:
        plots.insert(0, _plot("Difference of the means", "score", grader, found, adjusted=True))
    return GraderView(f"grader-{number}", grader, high - low, binary, tuple(plots))


def _plot(title: str, unit: Unit, grader: GraderComparison, found: Comparison, *, adjusted: bool) -> Plot:
    """``adjusted`` ones show the margin, too: it is about the same difference."""
    margin = found.margin if adjusted else None
    named: list[tuple[str | None, Figures]] = [("all items", grader), *((part.slice, part) for part in grader.slices)]
    values = [_measured(figures, unit) for _, figures in named]
    ends = [end for value in values for end in value.interval or ((value.mean,) if value.mean is not None else ())]
    span = 1.0 if unit == "share" else grader.range[1] - grader.range[0]
    axis = charts.axis_around_zero([*ends, *(() if margin is None else (margin,))], span=span)
    mark = None if margin is None else -margin
    rows = tuple(
        Row(
            name=name,
            figures=figures,
            measured=value,
            drawn=charts.interval(axis, value.mean, ends=value.interval, mark=mark),
            tone=_tone(figures, alpha=1 - found.level) if adjusted else "plain",
            in_slice=number > 0,
        )
        for number, ((name, figures), value) in enumerate(zip(named, values, strict=True))
    )
    return Plot(title, unit, adjusted, rows, charts.interval(axis, None, mark=mark))


def _measured(figures: Figures, unit: Unit) -> Measured:
    return figures.difference if unit == "score" else figures.passes.difference


def _tone(figures: Figures, *, alpha: float) -> Tone:
    """What holds after the adjustment is coloured, and nothing else."""
    mean = figures.difference.mean
    if not mean or figures.p_holm is None or figures.p_holm >= alpha:
        return "open"
    return "better" if mean > 0 else "worse"
