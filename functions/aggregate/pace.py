"""How a run gets on, from what its scripts keep: pure arithmetic, so that the same reading always says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from common.schemas.evaluation import usd
from common.schemas.progress import RunProgress, WaitingFor
from common.store.pace import STRETCH_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from common.schemas.progress import WaitReason
    from common.schemas.runs import RunSummary
    from common.store.pace import PaceReading, Waited

_MINUTE_S = 60
_LEAST_S = 2.0  # before that a pace is chance
_SILENT_S = 5.0  # how long events may take before the broker is named
_SHOWN = 8


def progress_of(reading: PaceReading, summary: RunSummary) -> RunProgress:
    """Pace, end and waits of a run under way; `summary` is that of the same moment."""
    lately, overall = _lately(reading), _overall(reading)
    return RunProgress(
        items_per_s=_rounded(lately),
        items_per_s_overall=_rounded(overall),
        eta_s=_eta_s(reading, lately if lately is not None else overall),
        window=reading.window,
        outstanding=reading.outstanding,
        under_way=min(reading.under_way, reading.outstanding),
        handed_back=reading.handed_back,
        cost_projected_usd=_projected_usd(summary),
        waiting_for=_waiting_for(reading),
    )


def _lately(reading: PaceReading) -> float | None:
    """Positions a second over the last minute: the stretches that lie in it whole, and the one that is not over yet."""
    if reading.started_s is None:
        return None
    first = int(reading.now_s) // STRETCH_S - _MINUTE_S // STRETCH_S
    since_s = max(first * STRETCH_S, reading.started_s)
    seconds = reading.now_s - since_s
    if seconds < _LEAST_S:
        return None
    return sum(count for stretch, count in reading.stretches.items() if stretch >= first) / seconds


def _overall(reading: PaceReading) -> float | None:
    if reading.started_s is None or reading.now_s - reading.started_s < _LEAST_S:
        return None
    return reading.done / (reading.now_s - reading.started_s)


def _eta_s(reading: PaceReading, pace: float | None) -> int | None:
    """None where nothing moves."""
    if not pace or reading.paused_s is not None:
        return None
    return round((reading.total - reading.done) / pace)


def _rounded(pace: float | None) -> float | None:
    return None if pace is None else round(pace, 3)


def _projected_usd(summary: RunSummary) -> float | None:
    if summary.cost_microusd is None or not summary.done:
        return None
    return usd(round(summary.cost_microusd * summary.total / summary.done))


def _waiting_for(reading: PaceReading) -> list[WaitingFor]:
    """What has been waited for longest comes first; one line for each reason and model."""
    if reading.paused_s is not None:
        return [WaitingFor(reason="paused", since=int(reading.paused_s))]
    live = [wait for wait in reading.backs if wait.until_s > reading.now_s and wait.reason not in ("broker", "paused")]
    found = _together([*reading.calls, *live])
    if (silent_since_s := _silent_since_s(reading)) is not None:
        found.append(WaitingFor(reason="broker", since=int(silent_since_s)))
    return sorted(found, key=lambda wait: wait.since)[:_SHOWN]


def _together(waits: Iterable[Waited]) -> list[WaitingFor]:
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for wait in waits:
        since_s, items = found.get((wait.reason, wait.model), (wait.since_s, 0))
        found[wait.reason, wait.model] = (min(since_s, wait.since_s), items + wait.items)
    return [
        WaitingFor(reason=cast("WaitReason", reason), model=model or None, since=int(since_s), items=items)
        for (reason, model), (since_s, items) in found.items()
    ]


def _silent_since_s(reading: PaceReading) -> float | None:
    """Since when something that was published has led to nothing; None while things move, or something else is waited for.

    Items that nobody works on and that are not handed back are in events on their way; leases that have run out, and what
    `aggregate` asked for, wait for an event to `tasks`.
    """
    if reading.under_way or reading.done >= reading.total:
        return None
    on_their_way = reading.outstanding - reading.handed_back
    if on_their_way <= 0 and reading.asked_s is None:
        return None
    since_s = max(moment for moment in (reading.started_s, reading.folded_s, reading.asked_s, 0.0) if moment is not None)
    back_s = max((wait.until_s for wait in reading.backs if wait.reason != "broker"), default=0.0)
    since_s = max(since_s, min(back_s, reading.now_s))
    return since_s if since_s and reading.now_s - since_s >= _SILENT_S else None
