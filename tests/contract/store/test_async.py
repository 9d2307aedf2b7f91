"""What `evaluate` uses, on a real server and a real event loop."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import Conflict, DeadlineExceeded, NotFound, Overloaded
from common.ports import HandBack
from common.schemas.evaluation import EvaluationRequest, Verdict
from common.schemas.events import RunItems
from common.schemas.runs import StoredSample
from common.store import keys
from common.store.evaluations import RedisEvaluations
from common.store.scripts import ScriptRunner
from common.store.verdicts import RedisRunReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import redis
    import redis.asyncio

    from common.schemas.runs import RunPlan
    from common.store.runs import RunStore

    MakeRun = Callable[..., RunPlan]

GRADER = {"type": "string_check", "name": "a", "input": "x", "reference": "x", "operation": "eq"}
PASS = Verdict(name="a", type="string_check", score=1.0, passed=True)
FAIL = Verdict(name="a", type="string_check", score=0.0, passed=False)


def request(**changes: object) -> EvaluationRequest:
    return EvaluationRequest.model_validate({"graders": [GRADER, GRADER], "evaluation_id": "e1", **changes})


def wanted(plan: RunPlan, *items: int, lease: str = "") -> RunItems:
    return RunItems(run_id=plan.run_id, items=list(items), lease=lease)


async def until(look: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> None:
    """Look until it holds."""
    for _ in range(200):
        if holds(await look()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come about")


def soon(seconds: float = 10) -> float:
    return time.monotonic() + seconds


async def test_items_are_taken_and_kept(aclient: redis.asyncio.Redis, make_run: MakeRun) -> None:
    """Taking gives lines and what was saved before; the first write of a verdict or sample wins."""
    made = make_run(100)
    reader = RedisRunReader(aclient)
    plan = await reader.plan(made.run_id)
    assert plan == made
    assert await reader.plan(made.run_id) is plan
    async with reader.take(plan, wanted(plan, 0, 64, 99, 100)) as taken:
        assert (taken.active, taken.items) == (True, [0, 64, 99])
        assert taken.lines == {n: b'{"item":{"n":%d}}' % n for n in (0, 64, 99)}
        assert (taken.samples, taken.verdicts) == ({}, {})
        await taken.save({64: StoredSample(output_text="hi")}, {(64, 0): PASS})
        await asyncio.gather(
            taken.save({64: StoredSample(output_text="other")}, {(64, 0): FAIL}), taken.save({}, {(0, 0): FAIL})
        )
    async with reader.take(plan, wanted(plan, 0, 64)) as taken:
        assert taken.samples == {64: StoredSample(output_text="hi")}
        assert taken.verdicts == {(64, 0): PASS, (0, 0): FAIL}


async def test_an_event_is_worked_on_once_at_a_time(aclient: redis.asyncio.Redis, make_run: MakeRun) -> None:
    """A second delivery is told to come again while the first is worked on, also by another process; then it finds it done."""
    plan, one, two = make_run(3), RedisRunReader(aclient), RedisRunReader(aclient)
    async with one.take(plan, wanted(plan, 0, 1)) as taken:
        with pytest.raises(Overloaded) as refused:
            async with two.take(plan, wanted(plan, 0, 1)):
                pass
        assert refused.value.retry_after_s == 1.0
        async with two.take(plan, wanted(plan, 2)) as other:
            assert other.items == [2]
        await taken.save({}, {(0, 0): PASS})
    async with two.take(plan, wanted(plan, 0, 1)) as taken:
        assert taken.verdicts == {(0, 0): PASS}


async def test_what_a_killed_process_held_is_free_again(aclient: redis.asyncio.Redis, make_run: MakeRun) -> None:
    """A claim lives for seconds unless it is renewed, and it is renewed while the work goes on."""
    plan, reader = make_run(1), RedisRunReader(aclient)
    claim = keys.run_claim(plan.run_id, 0, "")
    async with reader.take(plan, wanted(plan, 0)):
        await aclient.pexpire(claim, 1_500)
        await until(lambda: aclient.pttl(claim), lambda left: left > 2_000)
    await until(lambda: aclient.exists(claim), lambda there: not there)


async def test_an_overtaken_event_has_no_items(aclient: redis.asyncio.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """Once items were issued again, a late delivery of the earlier event must not work on them, and cannot give them back."""
    plan, reader = make_run(2), RedisRunReader(aclient)
    first = runs.issue(plan.run_id, lease_s=100, attempts=5)
    async with reader.take(plan, wanted(plan, 0, 1, lease=first.lease)) as overtaken:
        assert overtaken.items == [0, 1]
        runs.release(plan.run_id, [1])
        second = runs.issue(plan.run_id, lease_s=200, attempts=5)
        assert second.items == [(1, 2)]
        await overtaken.hand_back({1: HandBack(0.0, counts=True, code="x")})
        assert runs.issue(plan.run_id, lease_s=200, attempts=5).items == []
    async with reader.take(plan, wanted(plan, 0, 1, lease=first.lease)) as late:
        assert late.items == [0]


async def test_whoever_takes_items_knows_how_long_they_are_his(
    aclient: redis.asyncio.Redis, runs: RunStore, make_run: MakeRun
) -> None:
    """The end of the lease is told, so that no work goes on when the items may be somebody else's; some events have none."""
    plan, reader = make_run(2), RedisRunReader(aclient)
    before_s = time.monotonic()
    lease = runs.issue(plan.run_id, lease_s=100, attempts=5).lease
    async with reader.take(plan, wanted(plan, 0, lease=lease)) as taken:
        assert before_s + 99 < taken.until_s <= time.monotonic() + 100
    async with reader.take(plan, wanted(plan, 1)) as taken:
        assert taken.until_s == math.inf


async def test_items_are_handed_back(aclient: redis.asyncio.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """What could not be finished is issued again when it is due; an attempt counts only where it was one."""
    plan, reader = make_run(3), RedisRunReader(aclient)
    lease = runs.issue(plan.run_id, lease_s=100, attempts=5).lease
    async with reader.take(plan, wanted(plan, 0, 1, 2, lease=lease)) as taken:
        await taken.hand_back(
            {
                0: HandBack(0.0, counts=False, code="overloaded"),
                1: HandBack(0.0, counts=True, code="provider_timeout"),
                2: HandBack(60.0, counts=True, code="provider_timeout"),
            }
        )
    assert runs.issue(plan.run_id, lease_s=100, attempts=5).items == [(0, 1), (1, 2)]


@pytest.mark.parametrize("change", ["cancel", "delete", "pause"])
async def test_work_learns_that_it_is_no_longer_wanted(
    aclient: redis.asyncio.Redis, runs: RunStore, make_run: MakeRun, change: str
) -> None:
    """Whoever is at work when its run is paused, canceled or deleted knows it within a second."""
    plan, reader = make_run(1), RedisRunReader(aclient)
    async with reader.take(plan, wanted(plan, 0)) as taken:
        if change == "pause":
            await aclient.hset(keys.run(plan.run_id, "state"), "paused", "1")
        else:
            getattr(runs, change)(plan.run_id)
        for _ in range(100):
            if not taken.active:
                break
            await asyncio.sleep(0.05)
        assert not taken.active


async def test_a_run_that_ended_is_inactive(aclient: redis.asyncio.Redis, runs: RunStore, make_run: MakeRun) -> None:
    """Cancelled and deleted runs want no more, also for a process that still knows the plan."""
    plan, reader = make_run(2), RedisRunReader(aclient)
    await reader.plan(plan.run_id)
    async with reader.take(plan, wanted(plan, 1)) as late:
        runs.cancel(plan.run_id)
        async with reader.take(plan, wanted(plan, 0)) as taken:
            assert (taken.active, taken.items) == (False, [])
        runs.delete(plan.run_id)
        async with reader.take(plan, wanted(plan, 0)) as taken:
            assert (taken.active, taken.items) == (False, [])
        await late.save({0: StoredSample(output_text="late")}, {})
        await late.hand_back({1: HandBack(0.0, counts=True, code="x")})
    with pytest.raises(NotFound):
        await RedisRunReader(aclient).plan(plan.run_id)
    await until(lambda: aclient.keys(f"*{plan.run_id}*"), lambda left: not left)


async def test_plans_kept_are_bounded(aclient: redis.asyncio.Redis, make_run: Callable[..., RunPlan]) -> None:
    """A process does not gather the plan of every run it ever saw."""
    reader = RedisRunReader(aclient)
    for _ in range(70):
        await reader.plan(make_run(0).run_id)
    assert len(reader._plans) == 64  # noqa: SLF001  # the bound is the point


async def test_the_same_evaluation_again_is_answered_from_the_store(aclient: redis.asyncio.Redis) -> None:
    """A repeated request finds the verdicts, a half-done one finds its half, and neither needs the claim any more."""
    evaluations = RedisEvaluations(ScriptRunner(aclient))
    async with evaluations.claim(request(), project="blue", deadline_s=soon()) as claim:
        assert claim.verdicts == {}
        await claim.save({1: PASS})
    async with evaluations.claim(request(deadline_s=5), project="blue", deadline_s=soon()) as claim:
        assert claim.verdicts == {1: PASS}
        await claim.save({0: FAIL, 1: FAIL})
    async with (
        evaluations.claim(request(), project="blue", deadline_s=soon()) as one,
        evaluations.claim(request(), project="blue", deadline_s=soon()) as two,
    ):
        assert one.verdicts == two.verdicts == {0: FAIL, 1: PASS}
    assert 0 < await aclient.ttl(keys.evaluation("blue", "e1")) <= 24 * 3600


async def test_an_id_belongs_to_one_request(aclient: redis.asyncio.Redis) -> None:
    """The same id with different contents is a conflict."""
    evaluations = RedisEvaluations(ScriptRunner(aclient))
    async with evaluations.claim(request(), project="blue", deadline_s=soon()):
        pass
    with pytest.raises(Conflict):
        async with evaluations.claim(request(item={"q": 1}), project="blue", deadline_s=soon()):
            pass


async def test_concurrent_equal_requests_pay_once(aclient: redis.asyncio.Redis) -> None:
    """Of ten equal requests at once, one judges and nine get its verdicts."""
    evaluations, judged = RedisEvaluations(ScriptRunner(aclient)), 0

    async def one() -> dict[int, Verdict]:
        nonlocal judged
        async with evaluations.claim(request(), project="blue", deadline_s=soon()) as claim:
            if claim.verdicts:
                return claim.verdicts
            judged += 1
            await asyncio.sleep(0.05)
            fresh = {0: PASS, 1: FAIL}
            await claim.save(fresh)
            return fresh

    assert await asyncio.gather(*(one() for _ in range(10))) == [{0: PASS, 1: FAIL}] * 10
    assert judged == 1


async def test_waiting_ends_at_the_deadline_or_when_the_first_fails(aclient: redis.asyncio.Redis) -> None:
    """Who waits gives up at its own deadline; a first one that fails lets the next one judge."""
    evaluations = RedisEvaluations(ScriptRunner(aclient))

    async def first() -> None:
        async with evaluations.claim(request(), project="blue", deadline_s=soon()):
            with pytest.raises(DeadlineExceeded):
                await second()
            raise ValueError("judge")

    async def second() -> None:
        async with evaluations.claim(request(), project="blue", deadline_s=soon(0.06)):
            pass

    with pytest.raises(ValueError, match="judge"):
        await first()
    async with evaluations.claim(request(), project="blue", deadline_s=soon(1)) as claim:
        assert claim.verdicts == {}


async def test_projects_do_not_share_ids(aclient: redis.asyncio.Redis) -> None:
    """The same id in another project is another evaluation: neither a conflict nor an answer that is not theirs."""
    evaluations = RedisEvaluations(ScriptRunner(aclient))
    async with evaluations.claim(request(), project="blue", deadline_s=soon()) as claim:
        await claim.save({0: Verdict(name="a", type="string_check", score=1.0, passed=True)})
    async with evaluations.claim(request(item={"q": 2}), project="red", deadline_s=soon()) as other:
        assert other.verdicts == {}
