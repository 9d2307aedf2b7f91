"""The gateway, `health` and the cache over a cluster: keys of several slots in one batch, scripts that not every node knows."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis
import redis.asyncio

from common.bootstrap import async_parts, sync_parts
from common.errors import BudgetExhausted, StoreUnavailable
from common.gateway.cache_tags import invalidate
from common.gateway.gateway import Gateway
from common.schemas.completion import CompletionRequest, Message, Origin
from common.schemas.config import BudgetsConfig, GatewayConfig
from common.settings import Settings
from common.store.connect import async_client, sync_client
from common.store.scripts import Script, ScriptRunner
from functions.health.reading import Reader
from tests.support.functions import free_port
from tests.support.providers import Canned, Vendor, serving

JUDGE = "lab:judge-1"
ANSWER = {
    "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}
MODEL = {"price": {"input_per_mtok_usd": 100, "output_per_mtok_usd": 400}, "max_output_tokens": 16, "timeout_s": 5}
LIMITS = {"rpm": 60_000, "tpm": 60_000_000, "max_concurrency": 4}


@pytest.fixture
def vendor() -> Vendor:
    return Vendor(Canned(body=ANSWER))


@pytest.fixture
async def gateway(redis_url: str, vendor: Vendor, aclient: redis.asyncio.Redis) -> AsyncIterator[Gateway]:
    with serving(vendor) as url:
        raw = {
            "providers": {"lab": {"kind": "openai", "base_url": url}},
            "models": {JUDGE: {**MODEL, **LIMITS}},
            "retry": {"attempts": 1},
            "budgets": {"runs": {"default_usd": 0.1}},
            "cache": {"judges": True},
        }
        settings = Settings(redis_url=redis_url, default_deadline_s=20)
        made = Gateway(GatewayConfig.model_validate(raw), aclient, settings=settings)
        yield made
        await made.aclose()


def ask(text: str) -> CompletionRequest:
    return CompletionRequest(model=JUDGE, messages=(Message("user", text),), origin=Origin("judge", "run_1"))


def commands(nodes: list[redis.Redis]) -> int:
    """Scripts that ran on all nodes; not those that a node was asked for and did not know."""
    names = ("cmdstat_eval", "cmdstat_evalsha")
    counts = [count for node in nodes for name, count in node.info("commandstats").items() if name in names]
    return sum(count["calls"] - count["failed_calls"] for count in counts)


async def test_admission_budget_and_cache(
    gateway: Gateway, vendor: Vendor, client: redis.Redis, nodes: list[redis.Redis]
) -> None:
    """A call is admitted and settled, its cost is booked, its answer is kept, given out again and voided by a tag."""
    first, again = await gateway.complete(ask("A")), await gateway.complete(ask("A"))
    assert (first.call.cached, again.call.cached, len(vendor.seen)) == (False, True, 1)
    invalidate(client, [f"model:{JUDGE}"])
    await gateway.complete(ask("A"))
    (model,) = Reader(client).models([])
    assert (model.calls, model.in_flight, len(vendor.seen)) == (2, 0, 2)
    before = commands(nodes)
    await gateway.complete(ask("A"))
    assert commands(nodes) - before == 1, "a hit is one script, on the node that has the answer"
    before = commands(nodes)
    await gateway.complete(ask("B"))
    assert commands(nodes) - before == 4, "a look, admission, settling, and the answer"


async def test_a_hard_budget_holds(gateway: Gateway, vendor: Vendor) -> None:
    """Of many calls at once, those that the budget covers are made, and no more."""

    async def one(number: int) -> bool:
        try:
            await gateway.complete(ask(f"question {number}"))
        except BudgetExhausted:
            return False
        return True

    made = sum(await asyncio.gather(*(one(number) for number in range(60))))
    assert 0 < made == len(vendor.seen) <= 100_000 // 3000


async def test_a_batch_reaches_nodes_that_do_not_know_the_script(
    aclient: redis.asyncio.Redis, nodes: list[redis.Redis]
) -> None:
    """One batch with keys on all three nodes is answered whole, also after every node has forgotten its scripts."""
    runner, tick = ScriptRunner(aclient), Script("tick.lua", package="common.store")
    for _ in range(2):
        assert all(await asyncio.gather(*(runner.submit(tick, [f"kn:{{{number}}}:clock"], []) for number in range(30))))
        for node in nodes:
            assert node.dbsize() > 0
            node.script_flush()


async def test_health_and_readiness(redis_url: str) -> None:
    """Both runtimes say that they are ready, and `health` reads the server, models, budgets, runs and callers."""
    settings = Settings(redis_url=redis_url)
    parts, on_loop = sync_parts(settings), async_parts(settings)
    assert parts.ready() == await on_loop.ready() == {"store": True}
    reader = Reader(parts.client)
    assert reader.store().version
    assert (reader.models([JUDGE])[0].calls, reader.budgets(BudgetsConfig(), 0.0)) == (0, [])
    assert (reader.runs(0.0).active, reader.callers(None).refused, reader.dead_letters()) == (0, {}, 0)
    await on_loop.client.aclose()
    parts.client.close()


async def test_a_cluster_that_is_away_says_so() -> None:
    """Making clients connects to nothing; the first use says that the store is unavailable."""
    settings = Settings(redis_url=f"redis+cluster://127.0.0.1:{free_port()}", redis_timeout_s=0.5)
    parts, on_loop = sync_parts(settings), async_parts(settings)
    with pytest.raises(StoreUnavailable):
        parts.ready()
    with pytest.raises(StoreUnavailable):
        await on_loop.ready()
    with pytest.raises(StoreUnavailable):
        await ScriptRunner(on_loop.client).submit(Script("tick.lua", package="common.store"), ["kn:clock"], [])
    await on_loop.client.aclose()


async def test_slots_that_move_are_followed(redis_url: str, nodes: list[redis.Redis]) -> None:
    """A client that knows the slots as they were finds a key whose slot has gone to another node."""
    slot, owner, other = 0, nodes[0], nodes[1]
    key = next(name for name in map(str, range(100_000)) if owner.execute_command("CLUSTER", "KEYSLOT", name) == slot)
    on_loop = async_client(Settings(redis_url=redis_url))
    with sync_client(Settings(redis_url=redis_url)) as client:
        assert client.get(key) is await on_loop.get(key) is None
        try:
            for node in (other, owner, nodes[2]):
                node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", other.execute_command("CLUSTER", "MYID"))
            client.set(key, "x")
            assert client.get(key) == await on_loop.get(key) == other.get(key) == b"x"
        finally:
            other.flushall()
            for node in (owner, other, nodes[2]):
                node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", owner.execute_command("CLUSTER", "MYID"))
    await on_loop.aclose()
