"""How a run gets on, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.text import plain
from common.schemas.progress import WAIT_WORDS
from common.schemas.runs import ENDED
from functions.aggregate.pages import amounts

if TYPE_CHECKING:
    from common.schemas.progress import RunProgress, WaitingFor
    from common.schemas.runs import RunSummary

_SHOWN = 3


def pace_words(summary: RunSummary, *, elapsed_s: float = 0.0) -> list[str]:
    """Pace, end, cost and waits, as far as they are known.

    Args:
        elapsed_s: How long we have looked on, for servers that do not tell the pace themselves.
    """
    progress = summary.progress
    rate, eta_s = (progress.items_per_s, progress.eta_s) if progress else _own(summary, elapsed_s)
    parts = [] if rate is None else [f"{rate:.1f} items/s"]
    if eta_s is not None and summary.done < summary.total and summary.status not in ENDED:
        parts.append(f"about {amounts.duration(eta_s)} left")
    parts += _cost(summary, progress)
    if waits := waiting_words(progress):
        parts.append(waits)
    return parts


def waiting_words(progress: RunProgress | None) -> str:
    """What a run waits for, "" if for nothing that is known."""
    if progress is None or not progress.waiting_for:
        return ""
    waits = list(dict.fromkeys(_wait(wait) for wait in progress.waiting_for))
    more = f" and {len(waits) - _SHOWN} more" if len(waits) > _SHOWN else ""
    return "waiting for " + ", ".join(waits[:_SHOWN]) + more


def _wait(wait: WaitingFor) -> str:
    return WAIT_WORDS[wait.reason] + (f" of {plain(wait.model, limit=60)}" if wait.model else "")


def _cost(summary: RunSummary, progress: RunProgress | None) -> list[str]:
    if not summary.cost_microusd:
        return []
    projected = progress.cost_projected_usd if progress else None
    so_far = f"{amounts.cost(summary.cost_microusd)} so far"
    return [so_far if projected is None else f"{so_far}, about {amounts.cost(round(projected * 1_000_000))} in all"]


def _own(summary: RunSummary, elapsed_s: float) -> tuple[float | None, int | None]:
    if elapsed_s <= 0 or not summary.done:
        return None, None
    rate = summary.done / elapsed_s
    return rate, round((summary.total - summary.done) / rate)
