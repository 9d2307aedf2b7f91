"""The HTML report of a run: one page without scripts or external assets, rendered from a `RunSummary` and a few items.

Long texts of users and models are bounded and made legible here; what else keeps them harmless is in `page`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from common.schemas.progress import WAIT_WORDS
from functions.aggregate.pages import amounts, charts
from functions.aggregate.pages.legible import Legible, legible, one_line
from functions.aggregate.pages.page import BINARY_TYPES, stylesheet, template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from common.schemas.evaluation import Verdict
    from common.schemas.runs import GraderSummary, ItemResult, RunSummary, WorstItem

    Load = Callable[[Sequence[int]], Sequence[ItemResult]]

UNSCORED_SHOWN = 200
_WORST_MOST, _WORST_LEAST, _WORST_TOTAL = 10, 3, 120
_FIELDS_SHOWN = 12
_TEXT_LIMIT = 2000
_FIELD_LIMIT = 1000
_PREVIEW_LIMIT = 140
_NAME_LIMIT = 200


@dataclass(frozen=True, slots=True)
class UnscoredVerdict:
    """A verdict without a score, and the line in the data of the item it is about."""

    index: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class WorstView:
    """One of a grader's lowest-scored items, as shown. ``index`` is its line in the data."""

    index: int
    score: float
    preview: str
    kept: bool = True
    failed: bool = False
    fields: tuple[tuple[str, Legible], ...] = ()
    hidden_fields: int = 0
    output: Legible | None = None
    reason: Legible | None = None
    label: str | None = None
    judge: str | None = None


@dataclass(frozen=True, slots=True)
class GraderView:
    """One grader's section.

    Where scores are only 0 or 1, ``shares`` stands in for ``histogram``, and the pass rate for the mean, which is the same.
    """

    anchor: str
    summary: GraderSummary
    span: float
    mean: charts.Interval | None
    pass_rate: charts.Interval
    histogram: charts.Histogram | None
    shares: tuple[tuple[str, int, float], ...]  # (label, count, percent of the scored)
    reasons: tuple[tuple[str, int], ...]
    worst: tuple[WorstView, ...]


@dataclass(frozen=True, slots=True)
class UnscoredView:
    """One line of the list of unscored verdicts."""

    index: int
    grader: str
    code: str
    message: str
    raw: Legible | None


def render(summary: RunSummary, *, load: Load, unscored: Iterable[UnscoredVerdict], rendered_at: int) -> str:
    """The page.

    Args:
        load: Reads items; called once for each grader that has lowest scores, so that few items are in memory at a time.
        unscored: Verdicts without a score, by item; no more than `UNSCORED_SHOWN` are taken.
        rendered_at: Unix seconds.
    """
    shown = max(_WORST_LEAST, min(_WORST_MOST, _WORST_TOTAL // max(1, len(summary.graders))))
    return template("report.html").render(
        run=summary,
        css=stylesheet(),
        parts=charts.stacked(_outcomes(summary)),
        outcomes=_outcomes(summary),
        graders=[
            _grader_view(number, grader, _worst_views(grader, summary.worst.get(grader.name, []), load, limit=shown))
            for number, grader in enumerate(summary.graders, start=1)
        ],
        judges=[usage.model for usage in summary.models if usage.role == "judge"],
        targets=[usage.model for usage in summary.models if usage.role == "target"],
        unscored=[_unscored_view(found) for found in islice(unscored, UNSCORED_SHOWN)],
        unscored_total=sum(grader.unscored for grader in summary.graders),
        elapsed_s=_elapsed_s(summary, rendered_at),
        wait_words=WAIT_WORDS,
        rendered_at=rendered_at,
        width=charts.WIDTH,
        margin=charts.MARGIN,
        bar_height=charts.BAR_HEIGHT,
    )


def _outcomes(run: RunSummary) -> tuple[tuple[str, int], ...]:
    pending = max(0, run.total - run.done)
    return (("passed", run.passed), ("failed", run.failed), ("errored", run.errored), ("pending", pending))


def _elapsed_s(run: RunSummary, now: int) -> int | None:
    if run.started_at is None:
        return None
    return max(0, (now if run.ended_at is None else run.ended_at) - run.started_at)


def _grader_view(number: int, grader: GraderSummary, worst: tuple[WorstView, ...]) -> GraderView:
    low, high = grader.range
    binary = grader.type in BINARY_TYPES
    return GraderView(
        anchor=f"grader-{number}",
        summary=grader,
        span=high - low,
        mean=None if binary else charts.interval(grader.range, grader.mean, ends=grader.interval, mark=grader.pass_threshold),
        pass_rate=charts.interval((0.0, 1.0), grader.pass_rate, ends=grader.pass_interval),
        histogram=None if binary else charts.histogram(grader.range, grader.bins, mark=grader.pass_threshold),
        shares=_shares(grader) if binary else (),
        reasons=tuple(sorted(grader.unscored_reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        worst=worst,
    )


def _shares(grader: GraderSummary) -> tuple[tuple[str, int, float], ...]:
    counts = grader.labels or {"pass": grader.passed, "fail": grader.failed}
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return tuple((label, number, round(100 * number / max(1, grader.scored), 2)) for label, number in ordered)


def _worst_views(grader: GraderSummary, kept: Sequence[WorstItem], load: Load, *, limit: int) -> tuple[WorstView, ...]:
    """The lowest scores; where they are only 0 or 1, only the zeros."""
    low = [entry for entry in kept if grader.type not in BINARY_TYPES or entry.score < grader.range[1]]
    entries = sorted(low, key=lambda entry: (entry.score, entry.index))[:limit]
    found = {result.index: result for result in load([entry.index for entry in entries])} if entries else {}
    return tuple(_worst_view(entry, grader.name, found.get(entry.index)) for entry in entries)


def _worst_view(entry: WorstItem, grader: str, found: ItemResult | None) -> WorstView:
    number = entry.index if entry.line is None else entry.line
    if found is None or not found.verdicts:
        return WorstView(number, entry.score, "This item is no longer kept.", kept=False)
    verdict = next((verdict for verdict in found.verdicts if verdict.name == grader), None)
    output = found.sample.output_text if found.sample else None
    reason = verdict.reason if verdict else None
    return WorstView(
        index=number,
        score=entry.score,
        failed=verdict is not None and verdict.passed is False,
        preview=one_line(reason or output or "", limit=_PREVIEW_LIMIT),
        fields=tuple((one_line(name, limit=_NAME_LIMIT), _field(value)) for name, value in _first_fields(found)),
        hidden_fields=max(0, len(found.item) - _FIELDS_SHOWN),
        output=None if output is None else legible(output, limit=_TEXT_LIMIT),
        reason=None if reason is None else legible(reason, limit=_TEXT_LIMIT),
        label=verdict.label if verdict else None,
        judge=verdict.judge if verdict else None,
    )


def _first_fields(found: ItemResult) -> list[tuple[str, Any]]:
    return list(found.item.items())[:_FIELDS_SHOWN]


def _field(value: Any) -> Legible:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return legible(text, limit=_FIELD_LIMIT)


def _unscored_view(found: UnscoredVerdict) -> UnscoredView:
    why = found.verdict.unscored
    return UnscoredView(
        index=found.index,
        grader=one_line(found.verdict.name, limit=_NAME_LIMIT),
        code=one_line(why.code, limit=_NAME_LIMIT) if why else amounts.UNKNOWN,
        message=one_line(why.message, limit=_FIELD_LIMIT) if why else "",
        raw=legible(why.raw, limit=_FIELD_LIMIT) if why and why.raw else None,
    )
