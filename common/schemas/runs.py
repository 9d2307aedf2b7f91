"""What Knudge keeps about an eval, a dataset and a run. The Evals API's view of them is in `common.schemas.evals`."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from common.errors import InvalidInput
from common.schemas.arrangement import Arrangement
from common.schemas.base import Model
from common.schemas.canaries import CanarySummary
from common.schemas.evaluation import MICRO, Unscored, Usage, Verdict
from common.schemas.graders import Grader, InputMessage
from common.schemas.progress import RunProgress
from common.schemas.provenance import Provenance
from common.schemas.stopping import Stopped, StopRule

if TYPE_CHECKING:
    from collections.abc import Mapping

RunStatus = Literal["queued", "in_progress", "completed", "canceled", "failed"]
ENDED: frozenset[str] = frozenset({"completed", "canceled", "failed"})
RUN_BUDGET = "knudge_budget_usd"
RUN_DEADLINE = "knudge_deadline_s"
MAX_DEADLINE_S = 366 * 24 * 3600
_BUDGET_MAX_USD = 10**9


class EvalVersion(Model):
    """One immutable version of an eval. An update makes a new one; runs keep the one they were started with."""

    eval_id: str
    version: int
    name: str
    metadata: dict[str, str] = {}
    data_source_config: dict[str, Any]
    graders: list[Grader]
    created_at: int  # unix seconds, of the eval
    updated_at: int  # unix seconds, of this version
    project: str = "default"


class Target(Model):
    """The model whose samples are generated and judged, and how it is asked."""

    model: str
    input_messages: list[InputMessage] | None = None
    item_reference: str | None = None  # "item.messages": a ready list of chat messages inside the item
    sampling_params: dict[str, Any] = {}


class ForkOf(Model):
    """The run that a run was forked from. Verdicts of ``graders`` (numbers) are taken from there, and samples.

    ``changed`` are the names of the graders that were changed.
    """

    run_id: str
    graders: list[int] = []
    changed: list[str] = []


class RunPlan(Model):
    """Everything `evaluate` needs to judge any item of a run. Written once, before the first event; never changed.

    An item's index within the run is its *position*, and ``arrangement`` says which line of the data is judged there.
    ``seed`` puts the lines into a random order; ``canary_dataset_id`` holds lines with known verdicts that are judged too.
    ``keep_days`` after its end the run is deleted, 0: never.
    """

    run_id: str
    eval_id: str
    eval_version: int
    name: str
    metadata: dict[str, str] = {}
    created_at: int
    dataset_id: str
    item_count: int
    graders: list[Grader]
    target: Target | None = None
    data_source: dict[str, Any]  # as the caller gave it, `file_content` replaced by a reference
    batch_items: int = Field(1, ge=1, le=50)
    window_items: int = Field(ge=1)
    project: str = "default"
    seed: str | None = None
    canary_dataset_id: str | None = None
    canary_count: int = 0
    stop: StopRule | None = None
    keep_days: int = 0
    provenance: Provenance | None = None
    fork_of: ForkOf | None = None

    @property
    def arrangement(self) -> Arrangement:
        """Which line is judged at which position."""
        return Arrangement(self.item_count, self.canary_count, self.seed)

    @property
    def position_count(self) -> int:
        """Items and canaries together; positions count from 0."""
        return self.item_count + self.canary_count


class StoredSample(Model):
    """A sample as judged: given with the item, or generated. ``unscored`` says why there is none.

    ``reported_model``, ``cached`` and ``cache_key`` are those of the target's `ModelCall`.
    """

    output_text: str | None = None
    fields: dict[str, Any] = {}
    input: list[dict[str, Any]] = []  # messages the target was asked with; empty when the sample was given
    finish_reason: str = ""
    model: str | None = None
    reported_model: str | None = None
    usage: Usage = Usage()
    cost_microusd: int | None = 0
    simulated: bool = False
    cached: bool = False
    cache_key: str | None = None
    unscored: Unscored | None = None


class ItemResult(Model):
    """One item's outcome, as `aggregate` and the Evals API read it back.

    ``index`` is its position in the run, ``line`` its line in the data (None: a canary); both count from 0.
    """

    index: int
    line: int | None = None
    item: dict[str, Any]
    sample: StoredSample | None = None
    verdicts: list[Verdict]


class SideSum(Model):
    """One side of the pairs that were judged by scores: the exact sum and the mean of its scores over scored verdicts."""

    total: float
    mean: float


class Sides(Model):
    """Both sides of pairs; a side's score of one pair is the mean over the orders it was judged in."""

    a: SideSum
    b: SideSum


class GraderSummary(Model):
    """Running sums of one grader; ``n`` = scored + unscored.

    ``sum_score`` and ``sum_square`` are exact to 1e-9, whatever the order of arrival. ``bins`` counts scored verdicts in
    ``BIN_COUNT`` equal slices of ``range``. ``interval`` is the 95 % interval of the mean (``None`` below 2 scores), and
    ``pass_interval`` the Wilson interval of the pass rate (None at 0). ``sides`` is there for pairs judged by scores.
    """

    name: str
    type: str
    range: tuple[float, float] = (0.0, 1.0)
    pass_threshold: float | None = None
    scored: int = 0
    passed: int = 0
    failed: int = 0
    unscored: int = 0
    mean: float | None = None
    stdev: float | None = None
    interval: tuple[float, float] | None = None
    pass_rate: float | None = None
    pass_interval: tuple[float, float] | None = None
    bins: list[int] = []
    labels: dict[str, int] = {}
    sides: Sides | None = None
    unscored_reasons: dict[str, int] = {}


class ModelUsage(Model):
    """Calls, tokens and cost of one model within a run; ``unpriced_calls`` had no known price.

    ``cached_calls`` were answered from the response cache: they are none of ``calls``, and nothing of them is in the sums.
    """

    model: str
    role: Literal["judge", "target"] = "judge"
    calls: int = 0
    usage: Usage = Usage()
    cost_microusd: int = 0
    unpriced_calls: int = 0
    cached_calls: int = 0


class WorstItem(Model):
    """An item with one of a grader's lowest scores. ``index`` is its position in the run, ``line`` its line in the data."""

    index: int
    score: float
    line: int | None = None


class RunSummary(Model):
    """A run at a glance, O(1) in the number of items. ``cost_microusd`` is None when any call's price is unknown.

    ``suspect``: a canary failed or has no score, so the other figures are not to be believed. ``total`` counts the lines of the
    data, also where the run ``stopped`` before it had judged them all. ``generation`` is how often it was retried.
    ``progress`` is there until the run has ended.
    """

    run_id: str
    eval_id: str
    eval_version: int
    name: str
    status: RunStatus
    error: Unscored | None = None
    simulated: bool = False
    created_at: int
    started_at: int | None = None
    ended_at: int | None = None
    total: int
    done: int
    outstanding: int = 0
    passed: int
    failed: int
    errored: int
    graders: list[GraderSummary]
    models: list[ModelUsage]
    usage: Usage = Usage()
    cost_microusd: int | None = 0
    cost_usd: float | None = 0.0
    worst: dict[str, list[WorstItem]] = {}
    metadata: dict[str, str] = {}
    report_url: str = ""
    canaries: CanarySummary | None = None
    suspect: bool = False
    suspect_reason: str | None = None
    stopped: Stopped | None = None
    paused: bool = False
    generation: int = 0
    forked_from: str | None = None
    progress: RunProgress | None = None


def run_budget_microusd(metadata: Mapping[str, str]) -> int | None:
    """The hard budget that a run's metadata sets, in micro-dollars, rounded down; None where it sets none.

    Raises:
        InvalidInput: it is no sum of US dollars.
    """
    text = metadata.get(RUN_BUDGET)
    if text is None:
        return None
    try:
        usd = Decimal(text.replace("_", "?"))  # Python's own digit groups would make 1_0 ten dollars
    except InvalidOperation:
        usd = Decimal(-1)
    if not usd.is_finite() or not 0 <= usd <= _BUDGET_MAX_USD:
        pointer = f"/metadata/{RUN_BUDGET}"
        raise InvalidInput(f"{pointer}: expected US dollars from 0 to {_BUDGET_MAX_USD}, such as 2.50", pointer=pointer)
    return int(usd * MICRO)


def run_deadline_s(metadata: Mapping[str, str]) -> float | None:
    """Seconds after its start, or its last retry, by which a run must have ended; None where its metadata does not say.

    Raises:
        InvalidInput: it is no whole number of seconds from 1 to `MAX_DEADLINE_S`.
    """
    text = metadata.get(RUN_DEADLINE)
    if text is None:
        return None
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_DEADLINE_S)) else 0
    if not 1 <= seconds <= MAX_DEADLINE_S:
        pointer = f"/metadata/{RUN_DEADLINE}"
        raise InvalidInput(f"{pointer}: expected whole seconds from 1 to {MAX_DEADLINE_S}", pointer=pointer)
    return seconds
