"""How much of a run is under way at a time: a project's runs share one window, and many pods share what is issued."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from common.errors import NotFound
from common.graders.registry import waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.schemas.runs import RunPlan
    from common.store.runs import RunStore

_LOOK_S = 2.0
_EVENTS = 16  # that what is issued at once is to make: pods share them, and a slow answer keeps few others waiting
_EVENTS_OF_CHECKS = 8  # where nobody waits for an answer, an event costs as much as twenty items
_PROJECTS_KEPT = 4096


@dataclass(slots=True)
class Shares:
    """The windows of runs. ``clock`` gives monotonic seconds."""

    runs: RunStore
    clock: Callable[[], float] = time.monotonic
    _looked_at: float = field(default=float("-inf"), init=False)
    _active: dict[str, int] = field(default_factory=dict, init=False)
    _project: Callable[[str], str] = field(init=False)

    def __post_init__(self) -> None:
        self._project = lru_cache(maxsize=_PROJECTS_KEPT)(lambda run_id: self.runs.plan(run_id).project)

    def window(self, plan: RunPlan) -> int:
        """Items of the run that may be under way: its part of the window, and a batch at least.

        Two trips every two seconds, and one for each run that was not seen before.
        """
        if self.clock() - self._looked_at > _LOOK_S:
            self._active = self._count()
            self._looked_at = self.clock()
        return max(min(plan.batch_items, plan.window_items), plan.window_items // max(1, self._active.get(plan.project, 1)))

    def _count(self) -> dict[str, int]:
        """Runs that issue items, by project."""
        counted: dict[str, int] = {}
        for run_id in self.runs.issuing():
            try:
                project = self._project(run_id)
            except NotFound:
                continue
            counted[project] = counted.get(project, 0) + 1
        return counted


def batch_size(plan: RunPlan, issued: int, *, window: int) -> int:
    """Items of an event, when `issued` items go out at once of a run that has `window` of them under way at most.

    Issuing less than half a window does not make the events smaller.
    """
    asks = plan.target is not None or any(map(waits, plan.graders))
    events = _EVENTS if asks else _EVENTS_OF_CHECKS
    return min(plan.batch_items, max(1, -(-max(issued, window // 2) // events)))
