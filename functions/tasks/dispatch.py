"""Keeping runs going: issue what may be evaluated, give up what cannot, announce what has ended.

Nothing here waits for the broker. What became of an event is told afterwards, in a thread; if this process dies before
that, the item's lease, or the note about the run's end, stays as it is and the next tick goes on from there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from common.crashpoints import crash_point
from common.errors import InvalidInput, NotFound
from common.events.completed import run_completed
from common.events.publisher import new_event
from common.observability import trace
from common.observability.logs import log
from common.schemas.evaluation import Unscored, Verdict
from common.schemas.events import EVALUATION_COMPLETED, EVALUATION_REQUESTED, RUN_ADVANCE, RunItems, RunReference
from common.schemas.runs import ENDED, StoredSample, run_deadline_s
from functions.tasks.control.forking import take_over
from functions.tasks.runs.shares import Shares, batch_size
from functions.tasks.views import summary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from common.schemas.cloudevent import Event
    from common.schemas.runs import RunPlan
    from common.store.results import ResultStore
    from common.store.runs import RunStore
    from common.store.runstate import Issue
    from functions.tasks.control.retrying import Retrier

SOURCE = "/knudge/tasks"
MAX_ITEMS = 50  # of an event, as `RunItems` has it


class PublishSoon(Protocol):
    """`common.events.publisher.Publisher.publish_soon`."""

    def __call__(
        self, events: Sequence[Event], *, then: Callable[[Sequence[tuple[Event, str]]], None] | None = None
    ) -> bool: ...


@dataclass(frozen=True, slots=True)
class Leasing:
    """How long an item may be under way (seconds), how often it is tried, and how long a run may take that does not say.

    ``overtaken_s``: an event is taken for lost when one that was sent so much later has come through; 0: never.
    """

    lease_s: float
    attempts: int
    deadline_s: float
    overtaken_s: float


class Dispatcher:
    """The use cases behind ``run.advance``, the reconciler's tick, and a run's start and end."""

    def __init__(
        self,
        runs: RunStore,
        results: ResultStore,
        retrier: Retrier,
        *,
        publish_soon: PublishSoon,
        leasing: Leasing,
        report_base: str,
    ) -> None:
        self._runs = runs
        self._results = results
        self._retrier = retrier
        self._shares = Shares(runs)
        self._publish_soon = publish_soon
        self._leasing = leasing
        self._report_base = report_base
        self._plan = lru_cache(maxsize=64)(runs.plan)  # plans never change; an unknown run is asked for again

    def advance(self, run_id: str, *, traceparent: str | None = None) -> None:
        """Send out what may be evaluated now; if the run has ended, see that everybody knows. Raises `NotFound`."""
        plan = self._plan(run_id)
        issue, window = self._issue(plan, traceparent)
        crash_point("tasks.issued")
        if issue.retrying:
            self._go_on_with_retry(plan, traceparent)
            return
        if issue.overdue:
            self._end_overdue(plan)
        if issue.overdue or not issue.active:
            self.announce(run_id, traceparent=traceparent)
            return
        traceparent = trace.within(issue.trace_id)  # whoever asked: what happens to an item is found under one trace
        take_over(plan, [item for item, _ in issue.items], self._results)
        for items in _in_events(issue.overtaken):
            log("tasks.items_overtaken", level=logging.WARNING, run_id=run_id, items=items, trace_id=issue.trace_id)
        size = batch_size(plan, len(issue.items), window=window)
        events = [_requested(plan, batch, issue.lease, traceparent) for batch in batches(issue.items, size)]
        for event in events:
            _log("tasks.items_issued", event)
        if events and not self._publish_soon(events, then=self._take_back):
            self._take_back([(event, "refused") for event in events])
        if issue.given_up:
            self._give_up(plan, issue, traceparent)

    def reconcile(self) -> None:
        """The tick: advance every run that has not ended, announce every end that was not."""
        for run_id in self._runs.active():
            try:
                self.advance(run_id)
            except NotFound:
                self._runs.confirm_completed(run_id)  # deleted: there is nobody to tell

    def announce(self, run_id: str, *, traceparent: str | None = None) -> None:
        """Publish ``run.completed`` for a run that has ended, unless the broker has it already. Raises `NotFound`."""
        snapshot = self._runs.snapshot_of(self._plan(run_id))
        if not snapshot.state.ended:
            return
        if snapshot.state.completed_event == "sent":
            self._runs.confirm_completed(run_id)  # a crash between the note and the list of active runs
            return
        summary = summary_of(snapshot, report_base=self._report_base)
        event = run_completed(summary, traceparent=traceparent)
        self._publish_soon([event], then=self._confirm)

    def count_again(self, plan: RunPlan, items: Sequence[int], *, traceparent: str | None = None) -> None:
        """Have `aggregate` count items whose verdicts are there, in case it never heard of them."""
        groups = _in_events(items)
        self._publish_soon([_event(EVALUATION_COMPLETED, plan, group, f"{group[0]}/redriven", traceparent) for group in groups])

    def _issue(self, plan: RunPlan, traceparent: str | None) -> tuple[Issue, int]:
        """What may be evaluated now, and the run's share of its project's window."""
        leasing, window = self._leasing, self._shares.window(plan)
        deadline_s = self._deadline_s(plan)
        issue = self._runs.issue(
            plan.run_id,
            lease_s=leasing.lease_s,
            attempts=leasing.attempts,
            window=window,
            deadline_s=deadline_s,
            overtaken_s=leasing.overtaken_s or None,
            trace_id=trace.trace_id(trace.child_of(traceparent)),
        )
        return issue, window

    def _deadline_s(self, plan: RunPlan) -> float:
        """What the run says, if that makes sense: an imported run's metadata was never checked."""
        try:
            return run_deadline_s(plan.metadata) or self._leasing.deadline_s
        except InvalidInput:
            return self._leasing.deadline_s

    def _end_overdue(self, plan: RunPlan) -> None:
        deadline_s = self._deadline_s(plan)
        state = self._runs.state(plan.run_id)
        message = f"not completed within {deadline_s:g} s: {state.done} of {state.total} items are done"
        if self._runs.fail(plan.run_id, Unscored(code="run_deadline", message=message)) not in ENDED:
            log("tasks.run_overdue", level=logging.WARNING, run_id=plan.run_id, done=state.done, total=state.total)

    def _go_on_with_retry(self, plan: RunPlan, traceparent: str | None) -> None:
        """Prepare a part of the retry; the rest is asked for by an event, and if that is lost, by the next tick."""
        if self._retrier.walk(plan):
            self.advance(plan.run_id, traceparent=traceparent)
            return
        start = self._runs.state(plan.run_id).retry
        data = RunReference(run_id=plan.run_id).model_dump()
        name = f"{plan.run_id}/retry/{start.start if start else 0}"
        self._publish_soon([new_event(RUN_ADVANCE, SOURCE, plan.run_id, data, id=name, traceparent=traceparent)])

    def _confirm(self, outcomes: Sequence[tuple[Event, str]]) -> None:
        crash_point("tasks.announced")
        for event, outcome in outcomes:
            if outcome == "accepted":
                self._runs.confirm_completed(event.data["run_id"], generation=event.data["generation"])

    def _take_back(self, outcomes: Sequence[tuple[Event, str]]) -> None:
        """Items whose events were certainly not delivered lose no attempt."""
        crash_point("tasks.published")
        for event, outcome in outcomes:
            if outcome == "refused":
                self._runs.unissue(event.data["run_id"], event.data["items"], lease=event.data["lease"])
                _log("tasks.items_taken_back", event, level=logging.WARNING)

    def _give_up(self, plan: RunPlan, issue: Issue, traceparent: str | None) -> None:
        """Unscored verdicts for what could not be judged, and the event that lets `aggregate` count them."""
        items = issue.given_up
        reasons = {item: _exhausted(self._leasing.attempts, issue.histories.get(item, "")) for item in items}
        known = self._results.load(plan, items, lines=False)
        samples = {i: StoredSample(unscored=reasons[i]) for i in items if plan.target is not None and i not in known.samples}
        verdicts = {
            (item, number): Verdict(name=grader.name, type=grader.type, unscored=reasons[item])
            for item in items
            for number, grader in enumerate(plan.graders)
            if (item, number) not in known.verdicts
        }
        self._results.save(plan, samples, verdicts)
        crash_point("tasks.given_up")
        events = [_given_up(plan, group, traceparent) for group in _in_events(items)]
        for event in events:
            _log("tasks.items_given_up", event, level=logging.WARNING)
        self._publish_soon(events)


def batches(items: Sequence[tuple[int, int]], size: int) -> list[tuple[int, list[int]]]:
    """(attempt, items) of each event.

    From attempt to attempt the batches get four times smaller, so that one item that kills whoever takes it up ends alone
    and does not take its neighbours along.
    """
    by_attempt: dict[int, list[int]] = {}
    for item, attempt in sorted(items):
        by_attempt.setdefault(attempt, []).append(item)
    found: list[tuple[int, list[int]]] = []
    for attempt, group in sorted(by_attempt.items()):
        step = max(1, size >> 2 * (attempt - 1))
        found += [(attempt, group[at : at + step]) for at in range(0, len(group), step)]
    return found


def _in_events(items: Sequence[int]) -> list[Sequence[int]]:
    """As few groups as events can carry."""
    return [items[at : at + MAX_ITEMS] for at in range(0, len(items), MAX_ITEMS)]


def _requested(plan: RunPlan, batch: tuple[int, list[int]], lease: str, traceparent: str | None) -> Event:
    attempt, items = batch
    return _event(EVALUATION_REQUESTED, plan, items, f"{items[0]}/{attempt}/{lease}", traceparent, lease=lease)


def _given_up(plan: RunPlan, items: Sequence[int], traceparent: str | None) -> Event:
    return _event(EVALUATION_COMPLETED, plan, items, f"{items[0]}/given-up", traceparent)


def _event(kind: str, plan: RunPlan, items: Sequence[int], name: str, traceparent: str | None, *, lease: str = "") -> Event:
    data = RunItems(run_id=plan.run_id, items=list(items), lease=lease).model_dump(exclude_defaults=True)
    return new_event(kind, SOURCE, f"{plan.run_id}/{items[0]}", data, id=f"{plan.run_id}/{name}", traceparent=traceparent)


def _log(name: str, event: Event, *, level: int = logging.INFO) -> None:
    """A line for the items of an event, in its trace: the one of the request at hand may be a tick's."""
    found = trace.trace_id(event.traceparent or "")
    log(name, level=level, run_id=event.data["run_id"], items=event.data["items"], event_id=event.id, trace_id=found)


def _exhausted(attempts: int, history: str) -> Unscored:
    """With what became of the attempts, as issue.lua kept it: ``<unix seconds> <code>;`` for each."""
    told = [entry.partition(" ") for entry in history.split(";") if entry]
    failed = ", ".join(f"{datetime.fromtimestamp(int(at), UTC):%Y-%m-%d %H:%M:%S} {code}" for at, _, code in told)
    return Unscored(
        code="attempts_exhausted", message=f"not judged in {attempts} attempts" + (f": {failed} (UTC)" if failed else "")
    )
