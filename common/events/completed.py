"""The one event that tells of a run's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.events.publisher import new_event
from common.schemas.events import RUN_COMPLETED, RunCompleted

if TYPE_CHECKING:
    from common.schemas.cloudevent import Event
    from common.schemas.runs import RunSummary

_SOURCE = "/knudge/aggregate"


def run_completed(summary: RunSummary, *, traceparent: str | None = None) -> Event:
    """``run.completed`` of a run. Whoever sends it, and however often: the same end gives the same source and id."""
    outcome = {name: getattr(summary, name) for name in RunCompleted.model_fields}
    data = RunCompleted.model_validate(outcome).model_dump(mode="json")
    run_id = summary.run_id
    end = f"completed/{summary.generation}" if summary.generation else "completed"
    return new_event(RUN_COMPLETED, _SOURCE, run_id, data, id=f"{run_id}/{end}", traceparent=traceparent)
