"""How a run gets on, as the scripts keep it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from common.ports import HandBack
from common.schemas.events import RunItems
from common.store import keys
from common.store.runstate import FoldItem
from common.store.verdicts import RedisRunReader
from common.store.working import Waits

if TYPE_CHECKING:
    import redis
    import redis.asyncio

    from common.store.pace import PaceReading
    from common.store.runs import RunStore
    from tests.contract.store.conftest import MakeRun


def read(runs: RunStore, run_id: str) -> PaceReading:
    reading = runs.pacing.read(run_id)
    assert reading is not None
    return reading


def test_a_run_that_is_not_there_has_no_pace(runs: RunStore) -> None:
    """Nothing is told of a run that was deleted."""
    assert runs.pacing.read("run_none") is None


def test_what_is_folded_is_counted_by_time(runs: RunStore, make_run: MakeRun) -> None:
    """Each item is counted once, in the stretch in which it came; what comes again is not."""
    plan = make_run(9)
    runs.issue(plan.run_id, lease_s=100, attempts=5)
    for items in ([0, 1, 2], [2, 3], [3]):
        runs.fold(plan, [FoldItem(index, "pass", {}) for index in items])
    reading = read(runs, plan.run_id)
    assert (reading.done, reading.total, reading.outstanding) == (4, 9, 0)
    assert sum(reading.stretches.values()) == 4
    assert reading.folded_s is not None
    assert reading.started_s is not None


def test_stretches_are_few(runs: RunStore, make_run: MakeRun, client: redis.Redis) -> None:
    """What was counted long ago gives its place to what is counted now, so that a long run keeps no more than a short one."""
    plan = make_run(2)
    key = keys.run(plan.run_id, "pace")
    client.hset(key, mapping={f"done:{place}": "17 500" for place in range(12)})
    runs.fold(plan, [FoldItem(0, "pass", {})])
    stretches = read(runs, plan.run_id).stretches
    assert sorted(stretches.values()) == [1, 500]
    assert client.hlen(key) == 13


async def test_items_handed_back_are_told_with_their_reason(
    aclient: redis.asyncio.Redis, runs: RunStore, make_run: MakeRun
) -> None:
    """Those not due yet are counted, and for each reason and model since when, until when and how often."""
    plan, reader = make_run(4), RedisRunReader(aclient)
    lease = runs.issue(plan.run_id, lease_s=100, attempts=5).lease
    limited = HandBack(30.0, counts=False, code="provider_rate_limited", reason="rate_limit", model="lab:a")
    async with reader.take(plan, RunItems(run_id=plan.run_id, items=[0, 1, 2, 3], lease=lease)) as taken:
        await taken.hand_back({0: limited, 1: HandBack(0.0, counts=True, code="provider_timeout", model="lab:b")})
        await taken.hand_back({2: limited})
    reading = read(runs, plan.run_id)
    assert (reading.outstanding, reading.handed_back, reading.expired) == (4, 2, 1)
    backs = {(back.reason, back.model): back for back in reading.backs}
    assert {which: back.items for which, back in backs.items()} == {("rate_limit", "lab:a"): 2, ("provider", "lab:b"): 1}
    assert backs["rate_limit", "lab:a"].until_s > reading.now_s >= backs["rate_limit", "lab:a"].since_s


async def test_an_attempt_that_failed_is_remembered_by_its_code(
    aclient: redis.asyncio.Redis, runs: RunStore, make_run: MakeRun
) -> None:
    """An item that is given up says what became of every attempt that counted."""
    plan, reader = make_run(1), RedisRunReader(aclient)
    for _ in range(2):
        issue = runs.issue(plan.run_id, lease_s=100, attempts=2)
        async with reader.take(plan, RunItems(run_id=plan.run_id, items=[0], lease=issue.lease)) as taken:
            await taken.hand_back({0: HandBack(0.0, counts=True, code="provider_timeout")})
    given_up = runs.issue(plan.run_id, lease_s=100, attempts=2)
    assert given_up.given_up == [0]
    assert [entry.split()[1] for entry in given_up.histories[0].split(";") if entry] == ["provider_timeout"] * 2


async def test_work_under_way_is_told_while_it_lasts(aclient: redis.asyncio.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """A process says how many items it has and what their calls wait for, if they wait for long."""
    plan, reader = make_run(3), RedisRunReader(aclient)
    async with reader.take(plan, RunItems(run_id=plan.run_id, items=[0, 1])) as taken:
        taken.waits("lab:a", "concurrency", 60.0)
        taken.waits("lab:a", "concurrency", 60.0)
        taken.waits("lab:b", "rate_limit", 0.1)
        for _ in range(500):
            reading = read(runs, plan.run_id)
            if reading.under_way:
                break
            await asyncio.sleep(0.02)
    assert reading.under_way == 2
    assert [(wait.reason, wait.model, wait.items) for wait in reading.calls] == [("concurrency", "lab:a", 2)]


def test_who_says_nothing_any_more_works_on_nothing(runs: RunStore, make_run: MakeRun, client: redis.Redis) -> None:
    """What a process told that was killed is void after seconds."""
    plan = make_run(3)
    client.hset(keys.run(plan.run_id, "pace"), "work:dead", '1700000000000 50 [["rate_limit","lab:a",50,7]]')
    reading = read(runs, plan.run_id)
    assert (reading.under_way, reading.calls) == (0, ())


def test_short_waits_that_follow_each_other_are_one() -> None:
    """A call that is told again and again to come back waits since it first was; a pause ends that."""
    clock = [100.0]
    waits = Waits(lambda: clock[0])
    for _ in range(10):
        waits.begin("lab:a", "concurrency", 0.5)
        clock[0] += 0.6
    assert [(model, round(seconds, 3)) for _, model, _, seconds in waits.long()] == [("lab:a", 6.0)]
    clock[0] += 5
    assert waits.long() == []
    waits.begin("lab:a", "concurrency", 0.5)
    assert waits.long() == []
