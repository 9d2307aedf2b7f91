"""Geometry of the report's drawings: numbers in, coordinates out. The template turns them into inline SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 360.0
MARGIN = 18.0
BAR_HEIGHT = 96.0
_FLAT = 2.0  # a bin that is not empty stays visible
_SLACK = 1e-9
_ZOOM = 1000  # a tick is no closer to the next than this part of a grader's range

Tone = Literal["pass", "fail", "mixed"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value on an axis. All fields but ``ticks`` are x coordinates in [0, WIDTH], None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    mark: float | None
    ticks: tuple[tuple[float, float], ...]  # (x, value)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin of a histogram: where it stands, how high it is, and which scores it counts."""

    x: float
    y: float
    width: float
    height: float
    count: int
    low: float
    high: float
    tone: Tone


@dataclass(frozen=True, slots=True)
class Histogram:
    """``mark`` is the pass mark's x coordinate, ``peak`` the largest count."""

    bars: tuple[Bar, ...]
    mark: float | None
    peak: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a stacked bar, in percent of the whole."""

    name: str
    count: int
    x: float
    width: float


def interval(
    axis: tuple[float, float],
    value: float | None,
    *,
    ends: tuple[float, float] | None = None,
    mark: float | None = None,
    tick_count: int = 5,
) -> Interval:
    """Place a value and its interval on an axis; what lies outside the axis is drawn at its end."""
    low, high = axis
    step = (high - low) / (tick_count - 1)
    ticks = tuple((_place(axis, low + step * i), low + step * i) for i in range(tick_count))
    return Interval(
        value=None if value is None else _place(axis, value),
        low=None if ends is None else _place(axis, ends[0]),
        high=None if ends is None else _place(axis, ends[1]),
        mark=None if mark is None else _place(axis, mark),
        ticks=ticks,
    )


def histogram(axis: tuple[float, float], bins: Sequence[int], *, mark: float | None = None) -> Histogram:
    """Bars over equal slices of `axis`, the highest filling the height; tones tell passing from failing scores."""
    peak = max(bins, default=0)
    low, high = axis
    step = (high - low) / max(1, len(bins))
    slot = (WIDTH - 2 * MARGIN) / max(1, len(bins))
    bars = []
    for i, number in enumerate(bins):
        height = max(_FLAT, BAR_HEIGHT * number / peak) if number else 0.0
        edges = (low + step * i, low + step * (i + 1))
        x = MARGIN + slot * i
        bars.append(
            Bar(_round(x), _round(BAR_HEIGHT - height), _round(slot - 1), _round(height), number, *edges, _tone(edges, mark))
        )
    return Histogram(tuple(bars), None if mark is None else _place(axis, mark), peak)


def stacked(parts: Sequence[tuple[str, int]]) -> tuple[Slice, ...]:
    """Parts side by side, together 100 percent wide; empty parts are left out."""
    total = sum(number for _, number in parts)
    slices: list[Slice] = []
    before = 0
    for name, number in parts:
        if number > 0:
            slices.append(Slice(name, number, _round(100 * before / total), _round(100 * number / total)))
        before += number
    return tuple(slices)


def axis_around(values: Sequence[float], *, within: tuple[float, float]) -> tuple[tuple[float, float], int]:
    """An axis with round ends that holds all values and stays in a grader's range, and how many ticks it deserves."""
    span = within[1] - within[0] or 1.0
    inside = [min(within[1], max(within[0], value)) for value in values] or list(within)
    low, high = min(inside), max(inside)
    step = _round_step(max((high - low) / 4, span / _ZOOM))
    ends = math.floor(low / step + _SLACK) * step, math.ceil(high / step - _SLACK) * step
    if ends[0] >= ends[1]:
        ends = ends[0] - step, ends[0] + step
    return ends, 1 + round((ends[1] - ends[0]) / step)


def axis_around_zero(values: Sequence[float], *, span: float) -> tuple[float, float]:
    """An axis with 0 in its middle and round ends that holds all values; ``span`` is the width of the grader's range."""
    furthest = max((abs(value) for value in values), default=0.0)
    step = _round_step(max(furthest, (span or 1.0) / _ZOOM) / 2)
    return -2 * step, 2 * step


def _round_step(step: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - _SLACK))


def _place(axis: tuple[float, float], value: float) -> float:
    low, high = axis
    share = min(1.0, max(0.0, (value - low) / (high - low))) if low < high else 0.5
    return _round(MARGIN + share * (WIDTH - 2 * MARGIN))


def _tone(edges: tuple[float, float], mark: float | None) -> Tone:
    slack = 1e-9 * max(1.0, abs(edges[0]), abs(edges[1]))
    if mark is None or edges[0] >= mark - slack:
        return "pass"
    return "fail" if edges[1] <= mark + slack else "mixed"


def _round(value: float) -> float:
    return round(value, 2)
