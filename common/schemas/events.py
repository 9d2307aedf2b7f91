"""The events functions exchange. They carry references, never items: `evaluate` reads those from the store."""

from __future__ import annotations

from pydantic import Field

from common.schemas.base import Model

EVALUATION_REQUESTED = "dev.knudge.evaluation.requested.v1"
EVALUATION_COMPLETED = "dev.knudge.evaluation.completed.v1"
RUN_ADVANCE = "dev.knudge.run.advance.v1"
RUN_COMPLETED = "dev.knudge.run.completed.v1"
PING = "dev.knative.sources.ping"  # PingSource cannot choose its type


class RunItems(Model):
    """Data of ``evaluation.requested`` and ``evaluation.completed`` within a run: which items, by index from 0.

    ``lease`` tells a request for items from a later one for the same: only the latest is worked on. Empty: whichever.
    """

    run_id: str
    items: list[int] = Field(min_length=1, max_length=50)
    lease: str = Field("", max_length=20, pattern=r"^[0-9]*$")


class RunReference(Model):
    """Data of ``run.advance``."""

    run_id: str


class RunCompleted(Model):
    """Data of ``run.completed``: the outcome at a glance, so that a subscriber needs no second request to gate on it."""

    run_id: str
    eval_id: str
    status: str
    total: int
    passed: int
    failed: int
    errored: int
    report_url: str
    simulated: bool = False
    suspect: bool = False  # a canary did not pass
    generation: int = 0  # how often the run was retried: a run that is retried ends once more
