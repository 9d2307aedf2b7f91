"""Hard and soft budgets over real HTTP and a real store: never a micro-dollar more, and hardly any less."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import pytest
import redis
import redis.asyncio

from common.errors import BudgetExhausted, Overloaded, PriceUnknown, ProviderTimeout, ProviderUnavailable, StoreUnavailable
from common.gateway.admission import Admission
from common.gateway.budgets import Budget, Reservation
from common.gateway.gateway import Gateway
from common.gateway.spending import read_budgets
from common.gateway.ticket import Later, Outcome, Ticket
from common.schemas.completion import CompletionRequest, Message, Origin
from common.schemas.config import GatewayConfig, ModelConfig
from common.schemas.evaluation import Usage
from common.settings import Settings
from common.store.connect import async_client
from tests.support.providers import Canned, Vendor, serving, sse

JUDGE = "lab:judge-1"
PRICE = {"input_per_mtok_usd": 100.0, "output_per_mtok_usd": 400.0}
RUN = Origin(run_id="run_1")
Build = Callable[..., Gateway]


class Meter(Vendor):
    """A vendor that keeps the bill: any prompt up to its bytes, any answer up to the limit."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(Canned())
        self._rng = Random(seed)
        self.bill_microusd = 0

    async def _answer(self, _: Canned, scope: Any, receive: Any, send: Any) -> None:
        body = self.seen[-1].body
        prompt = self._rng.randint(1, len(body["messages"][0]["content"]))
        completion = self._rng.randint(0, body["max_tokens"])
        self.bill_microusd += 100 * prompt + 400 * completion
        content = {
            "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion},
        }
        await super()._answer(Canned(body=content, wait_s=0.002), scope, receive, send)


def answering(prompt: int = 10, completion: int = 5, finish_reason: str = "stop") -> Canned:
    choice = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": finish_reason}
    return Canned(body={"choices": [choice], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})


@pytest.fixture
async def build(redis_url: str) -> AsyncIterator[Build]:
    """Makes gateways, each with a connection of its own: as many processes."""
    made: list[tuple[Gateway, redis.asyncio.Redis]] = []

    def make(url: str, *, budgets: dict[str, Any], price: dict[str, float] | None = PRICE, **limits: Any) -> Gateway:
        config = {
            "providers": {"lab": {"kind": "openai", "base_url": url}},
            "models": {JUDGE: {"max_output_tokens": 16, **({"price": price} if price else {}), **limits}},
            "retry": {"attempts": 1},
            "budgets": budgets,
        }
        settings = Settings(redis_url=redis_url, default_deadline_s=20)
        client = async_client(settings)
        made.append((Gateway(GatewayConfig.model_validate(config), client, settings=settings), client))
        return made[-1][0]

    yield make
    for gateway, client in made:
        await gateway.aclose()
        await client.aclose()


def ask(origin: Origin = RUN, **more: Any) -> CompletionRequest:
    return CompletionRequest(model=JUDGE, messages=(Message("user", "Hello"),), origin=origin, cache="no-store", **more)


def spent(redis_url: str, scope: str = "run:run_1") -> tuple[int, int]:
    """What is spent and what is reserved."""
    with redis.Redis.from_url(redis_url) as client:
        (level,) = read_budgets(client, [scope])
        return level.spent, level.reserved


@pytest.mark.parametrize("seed", [1, 2])
async def test_two_hundred_callers_spend_a_dollar_and_no_more(build: Build, redis_url: str, seed: int) -> None:
    """Whatever each call costs, 200 callers of four processes together spend between 95 and 100 % of $1.00 hard."""
    meter = Meter(seed)
    with serving(meter) as url:
        gateways = [build(url, budgets={"runs": {"default_usd": 1.0}}) for _ in range(4)]

        async def caller(gateway: Gateway) -> None:
            while True:
                try:
                    await gateway.complete(ask())
                except BudgetExhausted:
                    return

        await asyncio.gather(*(caller(gateways[number % 4]) for number in range(200)))
    assert 950_000 <= meter.bill_microusd <= 1_000_000
    assert spent(redis_url) == (meter.bill_microusd, 0)


async def test_the_call_says_what_its_budgets_are(build: Build) -> None:
    """A result carries every budget that held for it, after it: a key's, a project's, a run's of its own."""
    budgets = {"keys": {"key_1": {"soft_usd": 0.002}}, "projects": {"blue": {"hard_usd": 5, "soft_usd": 2, "per": "month"}}}
    with serving(Vendor(answering())) as url:
        gateway = build(url, budgets=budgets)
        completion = await gateway.complete(ask(Origin(project="blue", key_id="key_1", run_id="run_9", budget_microusd=90_000)))
        assert (await gateway.complete(ask(Origin(project="red")))).budgets == ()
    run, key, project = completion.budgets
    assert (run.scope, run.spent, run.soft, run.hard) == ("run:run_9", 3000, 72_000, 90_000)
    assert (key.scope, key.spent, key.hard, key.over_soft) == ("key:key_1", 3000, None, True)
    assert project.scope == f"project:blue:{time.strftime('%Y-%m', time.gmtime())}"
    assert (project.spent, project.reserved, project.soft, project.hard) == (3000, 0, 2_000_000, 5_000_000)


async def test_without_a_price_a_hard_budget_refuses(build: Build, redis_url: str) -> None:
    """What cannot be reckoned is not asked, and the message names the fix; a soft budget counts what it cannot reckon."""
    vendor = Vendor(answering())
    with serving(vendor) as url:
        with pytest.raises(PriceUnknown, match=r"models\.lab:judge-1\.price") as caught:
            await build(url, budgets={"runs": {"default_usd": 1.0}}, price=None).complete(ask())
        assert not caught.value.retryable
        assert vendor.seen == []
        assert (await build(url, budgets={"runs": {"soft_usd": 1.0}}, price=None).complete(ask())).budgets[0].spent == 0
    with redis.Redis.from_url(redis_url) as client:
        assert read_budgets(client, ["run:run_1"])[0].unpriced_calls == 1


async def test_a_call_that_may_cost_more_than_is_left_is_cut(build: Build) -> None:
    """The last of a budget buys a shorter answer; one that is whole is as good as any, one that is not is not given out."""
    # 5 bytes and 48 tokens around them at 100, 16 tokens at 400: 11,700 at most, 6,900 with a quarter of the answer.
    vendor = Vendor(answering(), answering(finish_reason="length"), answering())
    with serving(vendor) as url:
        gateway = build(url, budgets={"runs": {"default_usd": 0.0132}})
        await gateway.complete(ask())
        with pytest.raises(BudgetExhausted, match="ended before the answer"):
            await gateway.complete(ask())
        await gateway.complete(ask())
    assert [seen.body["max_tokens"] for seen in vendor.seen] == [16, 12, 4]


async def test_a_stream_that_is_cut_says_so(build: Build) -> None:
    """A stream that ends where the budget does ends in an error."""
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "length"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    with serving(Vendor(sse(chunk, usage))) as url, pytest.raises(BudgetExhausted):
        _ = [chunk async for chunk in build(url, budgets={"runs": {"default_usd": 0.0101}}).stream(ask())]


async def test_too_little_is_refused_at_once(build: Build) -> None:
    """When not even a short answer is affordable nobody is asked, and no retry would help."""
    vendor = Vendor(answering())
    with serving(vendor) as url, pytest.raises(BudgetExhausted, match="run:run_1") as caught:
        await build(url, budgets={"runs": {"default_usd": 0.006}}).complete(ask())
    assert (vendor.seen, caught.value.retryable) == ([], False)


async def test_what_calls_under_way_may_give_back_is_waited_for(build: Build) -> None:
    """A call that a reservation stands in the way of goes when that is settled; with no time left it may come again."""
    vendor = Vendor(Canned(**{**answering().__dict__, "wait_s": 0.3}), answering())
    with serving(vendor) as url:
        gateway = build(url, budgets={"runs": {"default_usd": 0.02}})
        first = asyncio.create_task(gateway.complete(ask()))
        await asyncio.to_thread(vendor.asked.wait, 5)
        with pytest.raises(Overloaded, match="reserved"):
            await gateway.complete(ask(deadline_s=time.monotonic() + 0.05))
        assert (await gateway.complete(ask())).budgets[0].spent == 6000
        assert (await first).budgets[0].spent == 3000


async def test_what_was_sent_and_not_answered_counts_as_spent(build: Build, redis_url: str) -> None:
    """A call whose bill nobody will ever see takes its whole reservation, so that hard stays hard; a refused one nothing."""
    with serving(Vendor(Canned(503), Canned(wait_s=30))) as url:
        gateway = build(url, budgets={"runs": {"default_usd": 1.0}}, timeout_s=0.5)
        with pytest.raises(ProviderUnavailable):
            await gateway.complete(ask())
        assert spent(redis_url) == (0, 0)
        with pytest.raises(ProviderTimeout):
            await gateway.complete(ask())
    assert spent(redis_url) == (11_700, 0)


@pytest.mark.parametrize("nonsense", [1e30, -5, 3.5, 10**12, "9"])
async def test_a_usage_nobody_can_read_counts_as_the_reservation(build: Build, redis_url: str, nonsense: Any) -> None:
    """An answer whose tokens are no count has no known cost, and takes all that was reserved for it."""
    answer = answering()
    answer.body["usage"]["prompt_tokens"] = nonsense
    with serving(Vendor(answer)) as url:
        completion = await build(url, budgets={"runs": {"default_usd": 1.0}}).complete(ask())
    assert completion.call.cost_microusd is None
    assert spent(redis_url) == (11_700, 0)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    connection = async_client(Settings(redis_url=redis_url))
    yield connection
    await connection.aclose()


def ticket(microusd: int, *, hard: int | None = 1000, soft: int | None = None, least: int = 1, **limits: Any) -> Ticket:
    budget = Budget("run:run_1", hard, soft, 60_000)
    return Ticket(JUDGE, ModelConfig(**limits), 10, reservation=Reservation((budget,), microusd, least, longest=1))


async def admit(limits: Admission, wanted: Ticket, *, timeout_s: float = 5.0) -> Ticket | Later:
    return await limits.admit(wanted, max_wait_s=60, timeout_s=timeout_s)


def paid(microusd: int) -> Outcome:
    return Outcome("success", usage=Usage(prompt_tokens=1), cost_microusd=microusd)


async def test_one_process_tells_of_the_soft_limit(client: redis.asyncio.Redis, caplog: pytest.LogCaptureFixture) -> None:
    """Of all calls past a soft limit exactly one announces it; a soft limit that was moved is announced again."""
    limits = Admission(client, GatewayConfig())

    async def spend(soft: int) -> None:
        granted = ticket(10, soft=soft)
        await admit(limits, granted)
        await limits.settle(granted, paid(10))

    for _ in range(8):
        await spend(50)
    told = [record for record in caplog.records if record.message == "gateway.budget.soft_limit_reached"]
    assert len(told) == 1
    await spend(60)
    told = [record for record in caplog.records if record.message == "gateway.budget.soft_limit_reached"]
    assert len(told) == 2


async def test_the_reservation_of_a_killed_process_counts_as_spent(client: redis.asyncio.Redis, redis_url: str) -> None:
    """Its call may have been made; should it settle after all, the truth takes the assumption's place."""
    limits = Admission(client, GatewayConfig())
    lost = ticket(900)
    await admit(limits, lost, timeout_s=-4.99)
    await asyncio.sleep(0.02)
    with pytest.raises(BudgetExhausted):
        await admit(limits, ticket(200, least=200))
    assert spent(redis_url) == (900, 0)
    await limits.settle(lost, paid(30))
    assert spent(redis_url) == (30, 0)
    assert isinstance(await admit(limits, ticket(200, least=200)), Ticket)


@pytest.mark.parametrize("hard", [1000, None])
@pytest.mark.parametrize("again", ["the next call", "the end"])
async def test_a_full_store_forgets_no_cost(redis_url: str, hard: int | None, again: str) -> None:
    """What a call cost while the store refused writes is entered with the process's next call, or at its end, once."""
    other = async_client(Settings(redis_url=redis_url))
    limits = Admission(other, GatewayConfig())
    granted = ticket(900 if hard else 0, soft=500, hard=hard)
    await admit(limits, granted)
    await other.config_set("maxmemory", "1")
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await admit(limits, ticket(10))
        with pytest.raises(StoreUnavailable):
            await limits.settle(granted, paid(30))
        assert spent(redis_url) == (0, 900 if hard else 0)
    finally:
        await other.config_set("maxmemory", "0")
    if again == "the next call":
        await admit(limits, ticket(0, least=0))
    await limits.drain()
    await limits.drain()
    assert spent(redis_url) == (30, 0)
    await other.aclose()


async def test_all_budgets_or_none(client: redis.asyncio.Redis, redis_url: str) -> None:
    """A call that one of its budgets refuses reserves nothing of the others, no request and no permit."""
    limits = Admission(client, GatewayConfig())
    poor = Budget("key:poor", 5, None, 60_000)
    for _ in range(3):
        refused = ticket(100, max_concurrency=1, rpm=60)
        refused.reservation = Reservation((*refused.reservation.budgets, poor), 100, 100, longest=1)
        with pytest.raises(BudgetExhausted, match="key:poor"):
            await admit(limits, refused)
    assert spent(redis_url) == (0, 0)
    granted = await admit(limits, ticket(100, max_concurrency=1, rpm=60))
    assert isinstance(granted, Ticket)
    assert granted.wait_s == 0


async def test_an_unsent_call_gives_its_money_back(client: redis.asyncio.Redis, redis_url: str) -> None:
    """What was reserved for a call that was never made is there for the next one; an overspent budget gives nothing."""
    limits = Admission(client, GatewayConfig())
    for _ in range(3):
        granted = ticket(1000)
        await admit(limits, granted)
        await limits.settle(granted, Outcome("unsent"))
    assert spent(redis_url) == (0, 0)
    granted = ticket(1000)
    await admit(limits, granted)
    await limits.settle(granted, paid(1500))
    with pytest.raises(BudgetExhausted):
        await admit(limits, ticket(1))
    assert isinstance(await admit(limits, ticket(0, least=0)), Ticket)


async def test_budgets_lapse_with_their_run(client: redis.asyncio.Redis) -> None:
    """A run's budget does not stay for ever."""
    limits = Admission(client, GatewayConfig())
    await admit(limits, ticket(10))
    granted = ticket(10)
    await admit(limits, granted)
    await limits.settle(granted, paid(10))
    keys = await client.keys("kn:{gw}:budget:*")
    assert len(keys) == 2
    assert all([await client.pttl(key) > 0 for key in keys])
