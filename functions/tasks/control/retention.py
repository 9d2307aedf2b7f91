"""How long runs are kept after their end.

Every run that is not kept for ever stands in an index, by the time at which it is looked at next. A look at one that has not
ended, or not long enough ago, only moves it on: so it does not matter how and when a run ended, or whether it went on again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import InvalidInput, NotFound
from common.observability.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.store.runs import RunStore
    from functions.tasks.control.deletion import Deletion

RUN_KEEP_DAYS = "knudge_keep_days"
MAX_KEEP_DAYS = 36_500
_DAY_S = 86_400
_AT_A_TIME = 10  # a large run takes seconds


def keep_days(metadata: Mapping[str, str], *, default: int) -> int:
    """Days that a run is kept after its end; 0: for ever.

    Raises:
        InvalidInput: the metadata has something other than a whole number of days.
    """
    text = metadata.get(RUN_KEEP_DAYS)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_KEEP_DAYS)) or int(text) > MAX_KEEP_DAYS:
        pointer = f"/metadata/{RUN_KEEP_DAYS}"
        raise InvalidInput(f"{pointer}: expected whole days from 0 (for ever) to {MAX_KEEP_DAYS}", pointer=pointer)
    return int(text)


@dataclass(frozen=True, slots=True)
class Retention:
    """Deletes runs whose time is over."""

    runs: RunStore
    deletion: Deletion

    def expire(self, *, now_s: float) -> int:
        """Look at a few runs whose time may be over at `now_s` (unix seconds); how many were deleted. May be repeated."""
        return sum(self._look(run_id, now_s) for run_id in self.runs.due(now_s, limit=_AT_A_TIME))

    def _look(self, run_id: str, now_s: float) -> bool:
        try:
            plan = self.runs.plan(run_id)
        except NotFound:
            self.runs.look_at(run_id, None)
            return False
        try:
            state = self.runs.state(run_id)
            since_s = state.ended_at or state.created_at if state.ended else now_s
        except NotFound:  # a deletion that was cut short
            since_s = 0.0
        due_s = since_s + plan.keep_days * _DAY_S
        if due_s > now_s:
            self.runs.look_at(run_id, due_s)
            return False
        self.deletion.run(run_id)
        log("tasks.run_expired", level=logging.INFO, run_id=run_id, keep_days=plan.keep_days)
        return True
