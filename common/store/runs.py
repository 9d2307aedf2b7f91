"""Runs: a plan that never changes, a state that only scripts change, and sums that results are folded into."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from common.errors import NotFound
from common.schemas.runs import RunPlan, RunStatus, WorstItem
from common.store import keys
from common.store.connect import script, store_errors
from common.store.datasets import DatasetStore, bucket_count, unlink_all
from common.store.idempotency import Identity
from common.store.pace import PaceStore
from common.store.paging import Page, members, position_of
from common.store.results import OUTCOMES
from common.store.runstate import Folded, Issue, RunSnapshot, RunState, read_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import redis

    from common.schemas.evaluation import Unscored
    from common.schemas.stopping import Stopped
    from common.store.paging import Order
    from common.store.runstate import FoldItem

WORST_KEPT = 20
_OVERDUE, _RETRYING = 2, 3  # what issue.lua says of a run
_SCAN = 100  # runs looked at in one trip when a list is filtered by status
_DAY_S = 86_400
_PARTS = ("leases", "attempts", "sent", "told", "waiting", "pace", "done", "sums", "dead", *OUTCOMES)


class RunStore:
    """Runs of all projects. Every change of state is one script, so any pod may die at any time."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.datasets = DatasetStore(client)
        self.pacing = PaceStore(client)
        self._issue = client.register_script(script("common.store", "issue.lua"))
        self._fold = client.register_script(script("common.store", "fold.lua"))
        self._end = client.register_script(script("common.store", "end_run.lua"))
        self._hand_back = client.register_script(script("common.store", "hand_back.lua"))
        self._confirm = client.register_script(script("common.store", "confirm_completed.lua"))

    def new_identity(self) -> Identity:
        """Of a run to come. One trip."""
        return Identity.new(self._client)

    def create(self, plan: RunPlan) -> None:
        """Keep the plan and queue the run; one without items is completed at once. ``plan.run_id`` is from `new_identity`.

        Raises:
            NotFound: the dataset is gone.
        """
        for dataset_id in _datasets_of(plan):
            self.datasets.hold(dataset_id, f"run:{plan.run_id}")
        empty = plan.position_count == 0
        state: dict[Any, Any] = {
            "status": "completed" if empty else "queued",
            "total": plan.position_count,
            "window": plan.window_items,
            "cursor": 0,
            "done": 0,
            "created_at": plan.created_at,
        }
        if empty:
            state |= {"started_at": plan.created_at, "ended_at": plan.created_at, "completed_event": "pending"}
        position = keys.tick_of(plan.run_id) or 0
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.set(keys.run(plan.run_id, "plan"), plan.model_dump_json(exclude_defaults=True))
            pipe.hset(keys.run(plan.run_id, "state"), mapping=state)
            pipe.zadd(keys.ACTIVE_RUNS, {plan.run_id: position})
            if plan.keep_days:
                pipe.zadd(keys.EXPIRING_RUNS, {plan.run_id: plan.created_at + plan.keep_days * _DAY_S})
            pipe.zadd(keys.eval_runs(plan.eval_id), {plan.run_id: position})
            pipe.execute()

    def plan(self, run_id: str) -> RunPlan:
        """The plan. Raises `NotFound`. One trip."""
        with store_errors():
            raw = self._client.get(keys.run(run_id, "plan"))
        if raw is None:
            raise NotFound(f"no such run: {run_id}")
        return RunPlan.model_validate_json(raw)

    def state(self, run_id: str) -> RunState:
        """Where the run stands. Raises `NotFound`. One trip."""
        return self.states([run_id])[0]

    def states(self, run_ids: Sequence[str]) -> list[RunState]:
        """Many at once, in one trip. Raises `NotFound` for the first that is not there."""
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            for run_id in run_ids:
                pipe.hgetall(keys.run(run_id, "state"))
                pipe.zcard(keys.run(run_id, "leases"))
            replies = pipe.execute()
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return [read_state(run_id, *pair) for run_id, pair in zip(run_ids, pairs, strict=True)]

    def counted(self, run_id: str) -> bytes:
        """Bitmap of the positions that are folded, canaries among them. One trip."""
        with store_errors():
            return cast("bytes | None", self._client.get(keys.run(run_id, "done"))) or b""

    def sums(self, run_id: str) -> dict[str, int]:
        """Everything folded so far. One trip."""
        with store_errors():
            return _integers(self._client.hgetall(keys.run(run_id, "sums")))

    def worst(self, plan: RunPlan) -> dict[int, list[WorstItem]]:
        """By grader index, the items with its lowest scores, lowest first, at most `WORST_KEPT`. One trip."""
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            for grader in range(len(plan.graders)):
                pipe.zrange(keys.run_worst(plan.run_id, grader), 0, -1, withscores=True)
            return _worst(pipe.execute())

    def snapshot(self, run_id: str) -> RunSnapshot:
        """Plan, state, sums and worst items. Raises `NotFound`. Two trips."""
        return self.snapshot_of(self.plan(run_id))

    def snapshot_of(self, plan: RunPlan) -> RunSnapshot:
        """The same for a plan at hand. One trip."""
        return self.snapshots_of([plan])[0]

    def snapshots_of(self, plans: Sequence[RunPlan]) -> list[RunSnapshot]:
        """Many at once, in one trip. Raises `NotFound` for the first that is not there."""
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            for plan in plans:
                pipe.hgetall(keys.run(plan.run_id, "state"))
                pipe.zcard(keys.run(plan.run_id, "leases"))
                pipe.hgetall(keys.run(plan.run_id, "sums"))
                for grader in range(len(plan.graders)):
                    pipe.zrange(keys.run_worst(plan.run_id, grader), 0, -1, withscores=True)
            replies = iter(pipe.execute())
        return [
            RunSnapshot(
                plan=plan,
                state=read_state(plan.run_id, next(replies), next(replies)),
                sums=_integers(next(replies)),
                worst=_worst([next(replies) for _ in plan.graders]),
            )
            for plan in plans
        ]

    def issue(
        self,
        run_id: str,
        *,
        lease_s: float,
        attempts: int,
        window: int | None = None,
        deadline_s: float | None = None,
        overtaken_s: float | None = None,
        trace_id: str = "",
    ) -> Issue:
        """Lease what may be evaluated now, and say what has used up its `attempts`. One trip.

        Nothing is issued of a run that has ended, is paused, or was started (or retried) more than `deadline_s` ago.

        Args:
            window: Items under way at most, if that is less than the run's own window.
            overtaken_s: An event is taken for lost when one that was sent so much later has come through; None: never.
            trace_id: The run's from now on, if it has none.
        """
        names = [keys.run(run_id, part) for part in ("state", "leases", "attempts", "done", "sent", "told")]
        bounds = ["" if bound is None else bound for bound in (window, deadline_s)]
        overtaken_ms = "" if overtaken_s is None else int(overtaken_s * 1000)
        with store_errors():
            stage, issued, given_up, lease, histories, *more = self._issue(
                keys=names, args=[int(lease_s * 1000), attempts, *bounds, trace_id, overtaken_ms]
            )
        trace, overtaken = more or (b"", [])
        return Issue(
            active=stage > 0,
            items=list(zip(issued[::2], issued[1::2], strict=True)),
            given_up=list(given_up),
            lease=lease.decode(),
            histories={item: text.decode() for item, text in zip(given_up, histories, strict=True)},
            overtaken=list(overtaken),
            overdue=stage == _OVERDUE,
            retrying=stage == _RETRYING,
            trace_id=trace.decode(),
        )

    def release(self, run_id: str, items: Sequence[int]) -> None:
        """Let the leases of `items` expire now; the next `issue` takes them up again. One trip."""
        if items:
            with store_errors():
                self._client.zadd(keys.run(run_id, "leases"), dict.fromkeys(map(str, items), 0), xx=True)

    def unissue(self, run_id: str, items: Sequence[int], *, lease: str = "") -> int:
        """Take back items whose events the broker refused: as `release`, and the attempt does not count. One trip."""
        if not items:
            return 0
        names = [keys.run(run_id, part) for part in ("state", "leases", "attempts", "waiting", "pace", "sent")]
        words = [word for item in items for word in (item, 0, 0, "", "broker ")]
        with store_errors():
            return int(self._hand_back(keys=names, args=[lease, *words]))

    def fold(self, plan: RunPlan, batch: Sequence[FoldItem]) -> Folded:
        """Count results, each item once, whoever brings it however often. One trip."""
        run_id = plan.run_id
        names = [keys.run(run_id, part) for part in ("state", "leases", "attempts", "done", "sums", *OUTCOMES)]
        for grader in range(len(plan.graders)):
            names += [keys.run_worst(run_id, grader), keys.run_scores(run_id, grader), keys.run_passed(run_id, grader)]
        names += [keys.run(run_id, part) for part in ("sent", "told", "pace")]
        pack = struct.Struct(f"<{len(plan.graders)}d").pack
        args: list[str | int | bytes] = [WORST_KEPT, len(batch)]
        for item in batch:
            outcome = 0 if item.outcome is None else 1 + OUTCOMES.index(item.outcome)
            args += [item.index, outcome, len(item.increments)]
            args += [part for pair in item.increments.items() for part in pair]
            args.append(pack(*(item.scores.get(grader, math.nan) for grader in range(len(plan.graders)))))
            args.append("".join("1" if grader in item.passed else "0" for grader in range(len(plan.graders))))
        with store_errors():
            new, completed, ask, status, done = self._fold(keys=names, args=args)
        return Folded(new, bool(completed), bool(ask), cast("RunStatus", status.decode()) if status else None, done)

    def cancel(self, run_id: str) -> RunStatus:
        """End the run; returns the status before, and changes nothing if that was an end already. Raises `NotFound`."""
        return self._end_as(run_id, "canceled")

    def fail(self, run_id: str, reason: Unscored) -> RunStatus:
        """End the run because of `reason`. Otherwise as `cancel`."""
        return self._end_as(run_id, "failed", {"error_code": reason.code, "error_message": reason.message})

    def stop(self, run_id: str, decided: Stopped) -> RunStatus:
        """End the run as completed, because its stop rule has decided. Otherwise as `cancel`."""
        return self._end_as(run_id, "completed", {"stopped": decided.model_dump_json()})

    def confirm_completed(self, run_id: str, *, generation: int | None = None) -> None:
        """The broker has the event about this run's end: the reconciler may forget the run. Two trips.

        Args:
            generation: Which end that was; None: the one it has come to. An earlier one settles nothing.
        """
        with store_errors():
            if self._confirm(keys=[keys.run(run_id, "state")], args=["" if generation is None else generation]):
                self._client.zrem(keys.ACTIVE_RUNS, run_id)

    def active(self) -> list[str]:
        """Runs that have not ended, or whose end was not announced yet, oldest first. One trip."""
        with store_errors():
            return [name.decode() for name in cast("list[bytes]", self._client.zrange(keys.ACTIVE_RUNS, 0, -1))]

    def issuing(self) -> list[str]:
        """Those of them that issue items: not ended, not paused. Two trips."""
        active = self.active()
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            for run_id in active:
                pipe.hmget(keys.run(run_id, "state"), "status", "paused")
            found = zip(active, pipe.execute(), strict=True)
        return [run_id for run_id, (status, paused) in found if status in (b"queued", b"in_progress") and paused is None]

    def delete(self, run_id: str) -> None:
        """Leave nothing of the run. Can be repeated after a crash. Raises `NotFound`."""
        plan = self.plan(run_id)
        with store_errors():
            self._client.delete(keys.run(run_id, "state"))  # from here on nothing can be added
            self._client.zrem(keys.ACTIVE_RUNS, run_id)
        unlink_all(self._client, _keys_of(plan))
        for dataset_id in _datasets_of(plan):
            self.datasets.drop(dataset_id, f"run:{run_id}")
        with store_errors():  # what it is found by goes last, in one trip: whoever dies has sent all of it, or nothing
            pipe = self._client.pipeline(transaction=False)
            pipe.zrem(keys.EXPIRING_RUNS, run_id)
            pipe.zrem(keys.eval_runs(plan.eval_id), run_id)
            pipe.unlink(keys.run(run_id, "plan"))
            pipe.execute()

    def due(self, now_s: float, *, limit: int) -> list[str]:
        """Runs whose time may be over at `now_s` (unix seconds), those first that have waited longest. One trip."""
        with store_errors():
            found = self._client.zrange(keys.EXPIRING_RUNS, "-inf", str(int(now_s)), byscore=True, offset=0, num=limit)
        return [name.decode() for name in cast("list[bytes]", found)]

    def look_at(self, run_id: str, at_s: float | None) -> None:
        """When `due` is to name the run again (unix seconds); None: never. One trip."""
        with store_errors():
            if at_s is None:
                self._client.zrem(keys.EXPIRING_RUNS, run_id)
            else:
                self._client.zadd(keys.EXPIRING_RUNS, {run_id: int(at_s)}, xx=True)

    def delete_all(self, eval_id: str, *, each: Callable[[str], None] | None = None) -> None:
        """`delete`, or `each`, for every run of an eval, also those whose deletion a crash has cut short."""
        index = keys.eval_runs(eval_id)
        while page := members(self._client, index, after=None, limit=_SCAN, order="asc").data:
            for run_id in page:
                with suppress(NotFound):
                    (each or self.delete)(run_id)
            with store_errors():
                self._client.zrem(index, *page)

    def _end_as(self, run_id: str, status: RunStatus, notes: Mapping[str, str] | None = None) -> RunStatus:
        fields = [part for pair in (notes or {}).items() for part in pair]
        names = [keys.run(run_id, part) for part in ("state", "leases", "attempts", "sent", "told")]
        with store_errors():
            before = self._end(keys=names, args=[status, *fields])
        if not before:
            raise NotFound(f"no such run: {run_id}")
        return cast("RunStatus", before.decode())

    def _matching(self, run_ids: Sequence[str], status: RunStatus | None) -> list[RunPlan]:
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            for run_id in run_ids:
                pipe.hget(keys.run(run_id, "state"), "status")
            found = zip(run_ids, pipe.execute(), strict=True)
            for run_id, state in found:
                if state is not None and status in (None, state.decode()):
                    pipe.get(keys.run(run_id, "plan"))
            return [RunPlan.model_validate_json(plan) for plan in pipe.execute() if plan is not None]

    def list(
        self,
        eval_id: str,
        *,
        after: str | None = None,
        limit: int = 20,
        order: Order = "asc",
        status: RunStatus | None = None,
    ) -> Page[RunPlan]:
        """A page of an eval's runs. Filtered by status it takes a trip more for every hundred runs that do not match.

        Raises:
            InvalidInput: `after` is no run's id.
        """
        position = None if after is None else position_of(after)
        step = limit + 1 if status is None else max(_SCAN, limit)
        found: list[RunPlan] = []
        while True:
            page = members(self._client, keys.eval_runs(eval_id), after=position, limit=step, order=order)
            found += self._matching(page.data, status)
            if len(found) > limit or not page.has_more:
                return Page(found[:limit], len(found) > limit)
            position = position_of(page.data[-1])


def _integers(raw: Mapping[Any, Any]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in raw.items()}


def _worst(replies: Sequence[Sequence[tuple[bytes, float]]]) -> dict[int, list[WorstItem]]:
    return {grader: [WorstItem(index=int(item), score=score) for item, score in found] for grader, found in enumerate(replies)}


def _datasets_of(plan: RunPlan) -> list[str]:
    """The run's data, and its canaries."""
    return [plan.dataset_id] if plan.canary_dataset_id is None else [plan.dataset_id, plan.canary_dataset_id]


def _keys_of(plan: RunPlan) -> Iterator[str]:
    yield from (keys.run(plan.run_id, part) for part in _PARTS)
    for grader in range(len(plan.graders)):
        yield keys.run_worst(plan.run_id, grader)
        yield keys.run_scores(plan.run_id, grader)
        yield keys.run_passed(plan.run_id, grader)
    for bucket in range(bucket_count(plan.position_count)):
        yield keys.run_samples(plan.run_id, bucket)
        yield keys.run_verdicts(plan.run_id, bucket)
