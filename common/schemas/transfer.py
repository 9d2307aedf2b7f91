"""Runs on their way from one Knudge to another: everything that is stored of them, so that nothing has to be judged again.

An export has the parts of `PARTS`. An import sends data and canaries as files (``POST /v1/files``), then `TransferCreate`, then
`TransferResults` until all are there, then `TransferEnd`. Every call may be repeated.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from common.schemas.base import Model
from common.schemas.evaluation import Unscored, Verdict
from common.schemas.imports import SourceTime, SourceUrl
from common.schemas.runs import EvalVersion, RunPlan, RunStatus, StoredSample
from common.schemas.stopping import Stopped

PARTS = ("items", "canaries", "samples", "verdicts")
MAX_RESULTS = 500  # of one call
_CALLS = r"calls|prompt|completion|cached|reasoning|microusd|unpriced|simulated|cached_calls|reported\.[^.]{1,1500}"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
CallField = Annotated[str, StringConstraints(pattern=rf"^m\.(judge|target)\.[^.]{{1,1500}}\.({_CALLS})$")]
SumField = Annotated[str, StringConstraints(max_length=4000)]
Sum = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class TransferSample(Model):
    """A line of ``samples``: the sample at a position of the run."""

    index: int = Field(ge=0)
    sample: StoredSample


class TransferVerdicts(Model):
    """A line of ``verdicts``: what the graders said, in their order; ``outcome`` is None for a canary."""

    index: int = Field(ge=0)
    outcome: Literal["pass", "fail", "error"] | None
    verdicts: list[Verdict] = Field(max_length=64)


class TransferRun(Model):
    """A run that has ended.

    ``sums`` are its counters but for those of its calls, which are ``calls``: more may have been paid than its results tell.
    """

    eval: EvalVersion
    plan: RunPlan
    status: RunStatus
    started_at: SourceTime | None = None
    ended_at: SourceTime | None = None
    error: Unscored | None = None
    stopped: Stopped | None = None
    dataset_sha256: Sha256
    canaries_sha256: Sha256 | None = None
    results: int = Field(ge=0)
    sums: dict[SumField, Sum] = Field(max_length=20_000)
    calls: dict[CallField, Sum] = Field(max_length=20_000)


class TransferCreate(Model):
    """``POST /v1/import/transfers``. ``source`` is the base URL of the API that the run was exported from."""

    source: SourceUrl
    run: TransferRun
    file_id: str
    canaries_file_id: str | None = None


class TransferResult(TransferVerdicts):
    """What both files say of one position."""

    sample: StoredSample | None = None


class TransferResults(Model):
    """``POST /v1/import/transfers/{run_id}/results``."""

    results: list[TransferResult] = Field(max_length=MAX_RESULTS)


class TransferEnd(Model):
    """``POST /v1/import/transfers/{run_id}/end``: all results were sent."""

    run: TransferRun


class Transferred(Model):
    """Answer: the run's id here, how many results are in it, and its status."""

    run_id: str
    eval_id: str
    done: int
    status: str
