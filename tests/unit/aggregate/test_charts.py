from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from functions.aggregate.pages import charts

FINITE = st.floats(-1e7, 1e7)
AXES = st.tuples(FINITE, FINITE).map(lambda pair: (min(pair), max(pair)))


@given(AXES, FINITE, st.tuples(FINITE, FINITE), FINITE)
def test_everything_is_drawn_inside(axis: tuple[float, float], value: float, ends: tuple[float, float], mark: float) -> None:
    """No value, interval or pass mark leaves the drawing, not even on an axis without length."""
    chart = charts.interval(axis, value, ends=(min(ends), max(ends)), mark=mark)
    assert chart.value is not None
    assert chart.low is not None
    assert chart.high is not None
    assert chart.mark is not None
    assert chart.low <= chart.high
    for x in (chart.value, chart.low, chart.high, chart.mark, *(x for x, _ in chart.ticks)):
        assert charts.MARGIN <= x <= charts.WIDTH - charts.MARGIN


@given(AXES, st.lists(st.integers(0, 10**9), max_size=40), FINITE)
def test_bars_fit_and_none_is_lost(axis: tuple[float, float], bins: list[int], mark: float) -> None:
    """Every bin has its bar; one that is not empty can be seen, and none is taller than the drawing."""
    chart = charts.histogram(axis, bins, mark=mark)
    assert [bar.count for bar in chart.bars] == bins
    for bar in chart.bars:
        assert (bar.height >= 2) == (bar.count > 0)
        assert bar.height <= charts.BAR_HEIGHT
        assert bar.x + bar.width <= charts.WIDTH - charts.MARGIN


def test_bars_tell_passing_from_failing() -> None:
    """A slice that the pass mark cuts is neither; slices on its sides are the one or the other."""
    chart = charts.histogram((0, 1), [1, 1, 1, 1], mark=0.6)
    assert [bar.tone for bar in chart.bars] == ["fail", "fail", "mixed", "pass"]
    aligned = charts.histogram((0, 1), [1] * 10, mark=0.3)
    assert [bar.tone for bar in aligned.bars] == ["fail"] * 3 + ["pass"] * 7


def test_an_interval_without_ends_is_a_point() -> None:
    """What the summary does not know is not drawn."""
    chart = charts.interval((0, 1), None)
    assert (chart.value, chart.low, chart.high, chart.mark) == (None, None, None, None)
    assert [value for _, value in chart.ticks] == [0, 0.25, 0.5, 0.75, 1]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_stacked_parts_fill_the_bar(numbers: list[int]) -> None:
    """Parts lie side by side, together as wide as the whole; parts without items are left out."""
    parts = charts.stacked([(str(i), number) for i, number in enumerate(numbers)])
    assert [part.count for part in parts] == [number for number in numbers if number]
    if parts:
        assert abs(parts[-1].x + parts[-1].width - 100) < 0.02
        assert all(abs(left.x + left.width - right.x) < 0.02 for left, right in pairwise(parts))


@given(st.lists(FINITE, max_size=5), AXES.filter(lambda axis: axis[1] - axis[0] > 1e-6 or axis[0] == axis[1]))
def test_a_zoomed_axis_has_round_ends_and_holds_everything(values: list[float], within: tuple[float, float]) -> None:
    """An axis around values holds those in the grader's range, is never without length, and has few ticks."""
    (low, high), ticks = charts.axis_around(values, within=within)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert low < high
    assert all(low - slack <= value <= high + slack for value in values if within[0] <= value <= within[1])
    assert 2 <= ticks <= 8


@given(st.lists(FINITE, max_size=5), st.floats(1e-6, 1e7) | st.just(0.0))
def test_an_axis_around_zero_has_zero_in_its_middle(values: list[float], span: float) -> None:
    """Differences are drawn around zero, all of them, also where all are 0."""
    low, high = charts.axis_around_zero(values, span=span)
    assert low == -high < 0
    assert all(abs(value) <= high * (1 + 1e-6) for value in values)
    assert [value for _, value in charts.interval((low, high), None).ticks][2] == 0
