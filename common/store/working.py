"""What a process tells of a run while it works for it: how many items it has, and what their calls wait for."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Protocol

import orjson

from common.store import keys
from common.store.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from common.schemas.progress import WaitReason
    from common.schemas.runs import RunPlan
    from common.store.scripts import ScriptRunner, Word

_GAP_S = 1.0  # between two waits that are one to whoever looks
_WORTH_TELLING_S = 2.0
_MODELS = 16
_NOTE = Script("note_work.lua", package="common.store")


class Waits:
    """What calls wait for. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waits: dict[tuple[WaitReason, str], tuple[float, list[float]]] = {}  # since when, and until when each call waits

    def begin(self, model: str, reason: WaitReason, seconds: float) -> None:
        """A call waits from now on."""
        now = self._clock()
        since, until = self._waits.get((reason, model), (now, []))
        live = [end for end in until if end + _GAP_S > now]
        self._waits[reason, model] = (since if live else now, [*live, now + seconds])

    def long(self) -> list[tuple[WaitReason, str, int, float]]:
        """(reason, model, calls that wait now, seconds since one did first) of waits that last."""
        now = self._clock()
        found: list[tuple[WaitReason, str, int, float]] = []
        for (reason, model), (since, until) in list(self._waits.items()):
            if max(until) + _GAP_S < now:
                del self._waits[reason, model]
            elif max(until) - since >= _WORTH_TELLING_S:
                found.append((reason, model, sum(end > now for end in until), now - since))
        return found


class AtWork(Protocol):
    """Items of a run that this process has taken."""

    plan: RunPlan
    items: list[int]
    waiting: Waits


def note(runner: ScriptRunner, process: str, taken: Iterable[AtWork]) -> None:
    """Tell of every run that something of it is taken here. Nobody waits for that, or learns whether it worked."""
    by_run: dict[str, list[AtWork]] = {}
    for one in taken:
        by_run.setdefault(one.plan.run_id, []).append(one)
    for run_id, here in by_run.items():
        names = [keys.run(run_id, part) for part in ("state", "pace")]
        words: list[Word] = [process, sum(len(one.items) for one in here), orjson.dumps(_together(here))]
        runner.submit_along(_NOTE, names, words)


def _together(taken: Sequence[AtWork]) -> list[tuple[str, str, int, int]]:
    """(reason, model, calls, whole seconds), the longest wait first."""
    calls: Counter[tuple[str, str]] = Counter()
    waited: dict[tuple[str, str], float] = {}
    for one in taken:
        for reason, model, count, seconds in one.waiting.long():
            calls[reason, model] += count
            waited[reason, model] = max(seconds, waited.get((reason, model), 0.0))
    longest = sorted(waited, key=lambda which: -waited[which])[:_MODELS]
    return [(*which, calls[which], int(waited[which])) for which in longest]
