"""Telling everybody that a run has ended: one event, always the same id, until the broker has it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from common.crashpoints import crash_point
from common.errors import Overloaded
from common.events.completed import run_completed
from common.observability.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from common.schemas.cloudevent import Event
    from common.schemas.runs import RunPlan
    from common.store.runs import RunStore
    from functions.aggregate.records import Records

    Publish = Callable[[Sequence[Event]], bool]


def announce(plan: RunPlan, runs: RunStore, records: Records, *, publish: Publish, traceparent: str | None) -> None:
    """Publish ``run.completed`` and note that the broker has it.

    If the broker refuses, or does not answer, the note stays out: the reconciler sends the event again under the same id.
    """
    event = run_completed(records.summary(plan), traceparent=traceparent)
    try:
        accepted = publish([event])
    except Overloaded:
        accepted = False
    if accepted:
        crash_point("aggregate.announced")
        runs.confirm_completed(plan.run_id, generation=event.data["generation"])
    else:
        log("aggregate.announcement_open", level=logging.WARNING, run_id=plan.run_id)
