"""Events that later ones overtake are taken for lost. Leases stand for the times at which events were sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from common.ports import HandBack
from common.schemas.events import RunItems
from common.store import keys
from common.store.runstate import FoldItem, Issue
from common.store.verdicts import RedisRunReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis
    import redis.asyncio

    from common.schemas.runs import RunPlan
    from common.store.runs import RunStore

    MakeRun = Callable[..., RunPlan]

OVERTAKEN_S = 5


def issue(runs: RunStore, plan: RunPlan, *, at_s: float, window: int | None = None) -> Issue:
    """What is issued `at_s` seconds into the run."""
    return runs.issue(plan.run_id, lease_s=100 + at_s, attempts=2, window=window, overtaken_s=OVERTAKEN_S)


def fold_item(index: int) -> FoldItem:
    return FoldItem(index, "pass", {})


@dataclass(frozen=True, slots=True)
class Worker:
    """What `evaluate` does with an event's items, without judging them."""

    client: redis.Redis
    reader: RedisRunReader

    async def work(self, plan: RunPlan, items: Sequence[int], issued: Issue) -> list[int]:
        """Take what is still this event's, and be done with it; which items that were."""
        async with self.reader.take(plan, RunItems(run_id=plan.run_id, items=list(items), lease=issued.lease)) as taken:
            taken.judged = taken.items
        await self.let_go(plan, items[0], issued)
        return taken.items

    async def let_go(self, plan: RunPlan, first: int, issued: Issue) -> None:
        """Return when the store knows that an event is not held any more."""
        for _ in range(500):
            if not self.client.exists(keys.run_claim(plan.run_id, first, issued.lease)):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the event is still held")


def set_back(client: redis.Redis, plan: RunPlan, item: int, seconds: float) -> None:
    """Let it be longer ago that an item's verdicts were told of."""
    assert client.zadd(keys.run(plan.run_id, "told"), {str(item): -1000 * seconds}, incr=True) is not None


@pytest.fixture
def worker(client: redis.Redis, aclient: redis.asyncio.Redis) -> Worker:
    return Worker(client, RedisRunReader(aclient))


async def test_an_event_that_was_lost_on_its_way_to_evaluate(runs: RunStore, make_run: MakeRun, worker: Worker) -> None:
    """Its item goes out again once something sent much later was taken up, as the same attempt; delivered late it is stale."""
    plan = make_run(5)
    lost = issue(runs, plan, at_s=0, window=1)
    soon = issue(runs, plan, at_s=4, window=2)
    assert await worker.work(plan, [1], soon) == [1]
    assert issue(runs, plan, at_s=4, window=2).items == []
    later = issue(runs, plan, at_s=6, window=3)
    assert (later.items, later.overtaken) == ([(2, 1)], [])
    assert await worker.work(plan, [2], later) == [2]
    again = issue(runs, plan, at_s=7, window=3)
    assert (again.items, again.overtaken) == ([(0, 1)], [0])
    assert await worker.work(plan, [0], lost) == []
    assert await worker.work(plan, [0], again) == [0]
    assert issue(runs, plan, at_s=99, window=3).items == []


async def test_an_event_that_was_lost_on_its_way_to_aggregate(
    runs: RunStore, make_run: MakeRun, worker: Worker, client: redis.Redis
) -> None:
    """Items that are judged go out again once others, judged much later, were counted; whoever counted those asks for it."""
    plan = make_run(4)
    issued = issue(runs, plan, at_s=0)
    assert await worker.work(plan, [0, 1, 2, 3], issued) == [0, 1, 2, 3]
    set_back(client, plan, 0, 9)
    set_back(client, plan, 1, 8)
    set_back(client, plan, 2, 4)
    assert not runs.fold(plan, [fold_item(1)]).ask_for_more
    assert issue(runs, plan, at_s=1).items == []
    assert runs.fold(plan, [fold_item(3)]).ask_for_more
    again = issue(runs, plan, at_s=1)
    assert (again.items, again.overtaken) == ([(0, 1)], [0])
    assert runs.fold(plan, [fold_item(0), fold_item(2)]).completed


async def test_fold_asks_for_items_that_never_arrived(runs: RunStore, make_run: MakeRun, worker: Worker) -> None:
    """Whoever counts a result asks for more when an event was overtaken, though the window has no new item to give."""
    plan = make_run(3)
    issue(runs, plan, at_s=0, window=2)
    later = issue(runs, plan, at_s=6)
    await worker.work(plan, [2], later)
    assert runs.fold(plan, [fold_item(2)]).ask_for_more


def test_a_slow_queue_is_not_taken_for_a_lossy_one(runs: RunStore, make_run: MakeRun) -> None:
    """While nothing is taken up only the last item goes out again, after ever longer waits, three times; no attempt counts."""
    plan = make_run(4)
    issue(runs, plan, at_s=0)
    sent = {at_s: issue(runs, plan, at_s=at_s).items for at_s in (4, 6, 15, 17, 36, 38, 77, 98)}
    assert sent == {4: [], 6: [(3, 1)], 15: [], 17: [(3, 1)], 36: [], 38: [(3, 1)], 77: [], 98: [(2, 1)]}


async def test_the_last_item_overtakes_the_others(runs: RunStore, make_run: MakeRun, worker: Worker) -> None:
    """At a run's end, where nothing else is sent, it is the last item's event that shows that those before it were lost."""
    plan = make_run(4)
    issue(runs, plan, at_s=0)
    last = issue(runs, plan, at_s=6)
    assert last.overtaken == [3]
    await worker.work(plan, [3], last)
    assert issue(runs, plan, at_s=7).overtaken == [0, 1, 2]


async def test_the_last_that_was_judged_is_told_again(
    runs: RunStore, make_run: MakeRun, worker: Worker, client: redis.Redis
) -> None:
    """With everything judged and nothing counted, one item goes out again, whose verdicts will be found."""
    plan = make_run(3)
    await worker.work(plan, [0, 1, 2], issue(runs, plan, at_s=0))
    assert issue(runs, plan, at_s=0).items == []
    for item, seconds in enumerate((8, 7, 9)):
        set_back(client, plan, item, seconds)
    assert issue(runs, plan, at_s=0).overtaken == [1]


async def test_who_is_overtaken_time_and_again_waits_for_its_lease(
    runs: RunStore, make_run: MakeRun, worker: Worker, client: redis.Redis
) -> None:
    """A queue that keeps no order at all cannot make an item go round for ever: three times, then its lease decides."""
    plan = make_run(40, window=40)
    issue(runs, plan, at_s=0, window=1)
    seen = []
    for step in range(1, 12):
        issued = issue(runs, plan, at_s=100 * step, window=1 + step)
        others = [item for item, _ in issued.items if item]
        await worker.work(plan, others, issued)
        seen += [step] if 0 in issued.overtaken else []
    assert len(seen) == 3
    client.zadd(keys.run(plan.run_id, "leases"), {"0": 1})
    expired = issue(runs, plan, at_s=2000, window=20)
    assert (0, 2) in expired.items
    assert 0 not in expired.overtaken


async def test_what_is_handed_back_waits_until_it_is_due(runs: RunStore, make_run: MakeRun, worker: Worker) -> None:
    """An item that a provider refused is not overtaken, whatever is taken up meanwhile."""
    plan = make_run(3)
    first = issue(runs, plan, at_s=0, window=1)
    async with worker.reader.take(plan, RunItems(run_id=plan.run_id, items=[0], lease=first.lease)) as taken:
        await taken.hand_back({0: HandBack(60.0, counts=False, code="overloaded")})
    await worker.let_go(plan, 0, first)
    await worker.work(plan, [1], issue(runs, plan, at_s=50, window=2))
    assert issue(runs, plan, at_s=60, window=2).items == []


async def test_the_broker_refuses_what_was_overtaken(runs: RunStore, make_run: MakeRun, worker: Worker) -> None:
    """An event that goes out again and is not accepted costs no attempt either."""
    plan = make_run(2)
    issue(runs, plan, at_s=0, window=1)
    await worker.work(plan, [1], issue(runs, plan, at_s=6))
    again = issue(runs, plan, at_s=7)
    assert again.overtaken == [0]
    assert runs.unissue(plan.run_id, [0], lease=again.lease) == 1
    assert issue(runs, plan, at_s=8).items == [(0, 1)]


async def test_nothing_is_left_behind(runs: RunStore, make_run: MakeRun, worker: Worker, client: redis.Redis) -> None:
    """What was sent and told is forgotten when it is counted, and when the run is canceled; late workers add nothing."""
    counted, canceled = make_run(2), make_run(2)
    for plan in (counted, canceled):
        issued = issue(runs, plan, at_s=0)
        await worker.work(plan, [0], issued)
    runs.fold(counted, [fold_item(0), fold_item(1)])
    async with worker.reader.take(canceled, RunItems(run_id=canceled.run_id, items=[1], lease=issued.lease)) as taken:
        taken.judged = [1]
        runs.cancel(canceled.run_id)
    await worker.work(canceled, [1], issued)
    assert not client.exists(*(keys.run(plan.run_id, part) for plan in (counted, canceled) for part in ("sent", "told")))
