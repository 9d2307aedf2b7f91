"""What `aggregate` reads of runs: plans, summaries, items. Every method says how many Redis trips it takes."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Literal

from common.errors import NotFound
from common.stats.summary import summarise
from functions.aggregate.pace import progress_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from common.schemas.runs import ItemResult, RunPlan, RunSummary
    from common.store.results import Loaded, ResultStore
    from common.store.runs import RunStore

Outcome = Literal["passed", "failed", "errored"]
PAGE_ITEMS = 50
PAGE_BYTES = 4 * 1024 * 1024
_PLANS_KEPT = 64
STORED_AS: dict[Outcome, Literal["pass", "fail", "error"]] = {"passed": "pass", "failed": "fail", "errored": "error"}


class Records:
    """Runs and results, read only. ``public_url`` is where users reach this function."""

    def __init__(self, runs: RunStore, results: ResultStore, *, public_url: str) -> None:
        self._runs = runs
        self._results = results
        self._public_url = public_url
        self.plan = lru_cache(maxsize=_PLANS_KEPT)(runs.plan)  # plans never change; an unknown run is asked for again

    def owned(self, run_id: str, *, project: str) -> RunPlan:
        """The plan, if the run is the project's. One trip, none for a plan asked for lately.

        Raises:
            NotFound: no such run there; whether another project has it stays untold.
        """
        plan = self.plan(run_id)
        if plan.project != project:
            raise NotFound(f"no such run: {run_id}")
        return plan

    def present(self, run_id: str, *, project: str) -> RunPlan:
        """The same for what is read without the run's state: not even a plan asked for lately stands for a run deleted since.

        One trip more. Raises `NotFound`.
        """
        plan = self.owned(run_id, project=project)
        self._runs.state(run_id)
        return plan

    def exists(self, run_id: str) -> bool:
        """False once the run was deleted. One trip."""
        try:
            self._runs.state(run_id)
        except NotFound:
            return False
        return True

    def summary(self, plan: RunPlan) -> RunSummary:
        """The run at a glance. Raises `NotFound` if it was deleted. One trip, whatever the size, and one until it has ended."""
        now = self._runs.snapshot_of(plan)
        summary = summarise(plan, now.state, now.sums, now.worst)
        reading = None if now.state.ended else self._runs.pacing.read(plan.run_id)
        return summary.model_copy(
            update={
                "report_url": f"{self._public_url}/runs/{plan.run_id}/report",
                "progress": None if reading is None else progress_of(reading, summary),
            }
        )

    def listed(self, plan: RunPlan, *, outcome: Outcome | None, after: int | None, limit: int) -> list[int]:
        """Indexes of items that are counted, beyond `after`, of one `outcome` or of any. One trip to four."""
        return self._results.positions(plan, outcome=None if outcome is None else STORED_AS[outcome], after=after, limit=limit)

    def settled(self, plan: RunPlan, *, outcome: Outcome | None = None) -> bytes:
        """Bitmap of the items that are counted now, of one `outcome` or of any. One trip."""
        return self._results.finished(plan, outcome=None if outcome is None else STORED_AS[outcome])

    def items(self, plan: RunPlan, indexes: Sequence[int]) -> list[ItemResult]:
        """These items, in this order. One trip."""
        return self._results.results_of(plan, indexes)

    def pages(self, plan: RunPlan, indexes: Iterable[int]) -> Iterator[list[ItemResult]]:
        """These items, few in memory at a time: fewer the larger they are. One trip a page, and one before the first."""
        size = self._runs.datasets.info(plan.dataset_id)
        step = max(1, min(PAGE_ITEMS, PAGE_BYTES * max(1, size.lines) // max(1, size.size_bytes)))
        waiting = iter(indexes)
        while page := list(islice(waiting, step)):
            yield self.items(plan, page)

    def judged(self, plan: RunPlan, indexes: Sequence[int]) -> Loaded:
        """Samples and verdicts of these items, without the items themselves. One trip."""
        return self._results.load(plan, indexes, lines=False)

    def counted(self, plan: RunPlan) -> bytes:
        """Bitmap of the items that are counted. One trip."""
        return self._results.finished(plan)

    def scores(self, plan: RunPlan, grader: int) -> bytes:
        """A grader's score vector, as `common.store.scores` keeps it. One trip."""
        return self._results.scores.scores(plan, grader)

    def beginning(self, plan: RunPlan, grader: int) -> bytes:
        """The score vector up to the first position that is not counted yet. Two trips."""
        return self._results.scores.beginning(plan, grader)

    def passed(self, plan: RunPlan, grader: int) -> bytes:
        """Bitmap of the items that a grader passed. One trip."""
        return self._results.scores.passed(plan, grader)

    def lines(self, plan: RunPlan, *, indexes: Sequence[int] | None = None) -> Iterator[bytes]:
        """JSON lines of the run's dataset: all, in order and in bounded memory, or those few with these indexes.

        Raises:
            NotFound: the dataset is gone, or a line of it.
        """
        datasets = self._runs.datasets
        if indexes is None:
            return (raw for _, raw in datasets.scan(datasets.info(plan.dataset_id)))
        found = datasets.lines(plan.dataset_id, indexes)
        if len(found) < len(set(indexes)):
            raise NotFound(f"no such dataset: {plan.dataset_id}")
        return (found[index] for index in indexes)

    def runs_of(self, eval_id: str, *, project: str, limit: int) -> list[RunPlan]:
        """The latest runs of an eval, newest first. One trip or two.

        Raises:
            NotFound: the project has no run of it; whether there is such an eval stays untold.
        """
        plans = [plan for plan in self._runs.list(eval_id, limit=limit, order="desc").data if plan.project == project]
        if not plans:
            raise NotFound(f"no runs of eval {eval_id}")
        return plans
