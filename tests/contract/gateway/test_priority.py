"""Urgent calls and bulk calls on a real server: who waits for whom, and that both together keep to the limit."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.gateway.admission import Admission
from common.gateway.ticket import Later, Outcome, Ticket
from common.schemas.config import GatewayConfig, ModelConfig
from common.settings import Settings
from common.store.connect import async_client

MODEL = "lab:judge-1"
EACH_S = 0.1  # of 600 requests a minute, to within the percent that the pace keeps below the limit


@pytest.fixture
async def limits(redis_url: str) -> AsyncIterator[Admission]:
    connection = async_client(Settings(redis_url=redis_url))
    yield Admission(connection, GatewayConfig())
    await connection.aclose()


def ticket(*, urgent: bool, **config: Any) -> Ticket:
    return Ticket(MODEL, ModelConfig(**config), 10, urgent=urgent)


async def admit(limits: Admission, wanted: Ticket) -> Ticket:
    answer = await limits.admit(wanted, max_wait_s=60.0, timeout_s=5.0)
    assert isinstance(answer, Ticket)
    return answer


async def backlog(limits: Admission, count: int, **config: Any) -> list[Ticket]:
    return [await admit(limits, ticket(urgent=False, **config)) for _ in range(count)]


@pytest.mark.parametrize("config", [{"rpm": 600}, {"tpm": 3000}])
async def test_an_urgent_call_passes_those_who_wait(limits: Admission, config: dict[str, int]) -> None:
    """Behind bulk calls that have all the places there are another one is sent away; an urgent one goes at once."""
    answers = [await limits.admit(ticket(urgent=False, **config), max_wait_s=60.0, timeout_s=5.0) for _ in range(40)]
    assert isinstance(answers[-1], Later)
    assert (await admit(limits, ticket(urgent=True, **config))).wait_s == 0


async def test_no_bulk_call_has_a_place_far_ahead(limits: Admission) -> None:
    """Of a hundred bulk calls those of the next two seconds get a place; the others are to ask again within that time."""
    wanted = [ticket(urgent=False, rpm=600) for _ in range(100)]
    answers = [await limits.admit(one, max_wait_s=60.0, timeout_s=5.0) for one in wanted]
    places = [answer for answer in answers if isinstance(answer, Ticket)]
    assert len(places) == pytest.approx(22, abs=2)
    assert {answer.reason for answer in answers if isinstance(answer, Later)} == {"rate_limit"}
    assert all(answer.wait_s <= 2 for answer in answers)


async def test_no_time_is_used_twice(limits: Admission) -> None:
    """Places given back by a run that was cancelled are not given out before those who came after it."""
    canceled, waiting = await backlog(limits, 10, rpm=600), await backlog(limits, 5, rpm=600)
    for one in canceled:
        await limits.settle(one, Outcome("unsent"))
    newcomer = await admit(limits, ticket(urgent=False, rpm=600))
    assert newcomer.wait_s == pytest.approx(waiting[-1].wait_s, abs=0.05)


async def test_those_who_wait_make_room(limits: Admission) -> None:
    """A bulk call whose turn has come waits as much longer as urgent calls took meanwhile, and is told so once."""
    waiting = (await backlog(limits, 20, rpm=600))[-1]
    for _ in range(7):
        await admit(limits, ticket(urgent=True, rpm=600))
    assert (await admit(limits, waiting)).wait_s == pytest.approx(7 * EACH_S, rel=0.05)
    assert (await admit(limits, waiting)).wait_s == 0


async def test_newcomers_queue_behind_both(limits: Admission) -> None:
    """What urgent calls took is in the wait of every later bulk call as well."""
    last = (await backlog(limits, 8, rpm=600))[-1].wait_s
    for _ in range(10):
        await admit(limits, ticket(urgent=True, rpm=600))
    newcomer = await admit(limits, ticket(urgent=False, rpm=600))
    assert newcomer.wait_s == pytest.approx(last + 11 * EACH_S, abs=0.1)


async def test_urgent_calls_wait_for_each_other(limits: Admission) -> None:
    """A flood of urgent calls is paced like any other: a second's worth of them takes a second."""
    await backlog(limits, 20, rpm=600)
    waits = [(await admit(limits, ticket(urgent=True, rpm=600))).wait_s for _ in range(14)]
    assert waits == sorted(waits)
    assert waits[0] == 0
    assert waits[-1] == pytest.approx(1.0, abs=0.2)


async def test_an_unsent_urgent_call_gives_its_place_back(limits: Admission) -> None:
    """An urgent call that is not made leaves the next urgent one as well off as it was."""
    config = {"rpm": 6, "tpm": 1000}
    for _ in range(3):
        granted = await admit(limits, ticket(urgent=True, **config))
        assert granted.wait_s == 0
        await limits.settle(granted, Outcome("unsent"))


async def test_the_next_permit_is_the_urgent_calls(limits: Admission) -> None:
    """Of those who wait for a permit, an urgent one that came last is first, and only one may go."""
    holding = await admit(limits, ticket(urgent=False, max_concurrency=1))
    first, second = ticket(urgent=False, max_concurrency=1), ticket(urgent=True, max_concurrency=1)
    for wanted in (first, second):
        assert isinstance(await limits.admit(wanted, max_wait_s=60.0, timeout_s=5.0), Later)
    await limits.settle(holding, Outcome("unsent"))
    assert isinstance(await limits.admit(first, max_wait_s=60.0, timeout_s=5.0), Later)
    assert (await admit(limits, second)).granted


async def test_both_together_keep_to_the_limit(limits: Admission) -> None:
    """Bulk calls that look again when their turn comes, and urgent ones among them, are no more than the pace and its burst."""
    sent: list[float] = []
    loop = asyncio.get_running_loop()

    async def bulk() -> None:
        wanted = ticket(urgent=False, rpm=6000)
        while True:
            await asyncio.sleep((await admit(limits, wanted)).wait_s)
            if wanted.wait_s == 0:
                return sent.append(loop.time())

    async def urgent(number: int) -> None:
        await asyncio.sleep(number * 0.03)
        granted = await admit(limits, ticket(urgent=True, rpm=6000))
        await asyncio.sleep(granted.wait_s)
        sent.append(loop.time())

    started = loop.time()
    await asyncio.gather(*(bulk() for _ in range(150)), *(urgent(number) for number in range(30)))
    assert len(sent) == 180
    # 0.25 s of burst, and one call that was granted before each urgent one and needed no second look.
    assert max(sent) - started >= 180 * 60 / 6000 - 0.25 - 0.3
