"""The gateway over real HTTP and a real store: what a caller of `complete` and `stream` may rely on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
import redis
import redis.asyncio

from common.errors import (
    BreakerOpen,
    DeadlineExceeded,
    MalformedReply,
    ModelNotFound,
    Overloaded,
    ProviderAuthFailed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    StoreUnavailable,
    Unsupported,
)
from common.gateway.counters import ModelCounters, read_counters
from common.gateway.gateway import Gateway
from common.schemas.completion import CompletionRequest, Message
from common.schemas.config import GatewayConfig
from common.settings import Settings
from common.store.connect import async_client
from tests.support.providers import Canned, Vendor, serving, simulating, sse

JUDGE = "lab:judge-1"
PRICE = {"input_per_mtok_usd": 1.0, "output_per_mtok_usd": 4.0}
OK = {
    "model": "judge-1-0613",
    "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}
Build = Callable[..., Gateway]


@pytest.fixture
async def build(redis_url: str) -> AsyncIterator[Build]:
    """Makes gateways that are closed at the end of the test, each with a connection of its own: as many processes."""
    made: list[tuple[Gateway, redis.asyncio.Redis]] = []

    def make(url: str = "http://127.0.0.1:9", **options: Any) -> Gateway:
        config = {
            "providers": {"lab": {"kind": "openai", "base_url": url}, **options.pop("providers", {})},
            "models": {JUDGE: {"price": PRICE, "timeout_s": 5, **options.pop("limits", {})}, **options.pop("models", {})},
            "retry": {"attempts": 3, "base_s": 0.001, "cap_s": 0.002},
            **options.pop("config", {}),
        }
        settings = Settings(redis_url=options.pop("redis_url", redis_url), default_deadline_s=20)
        client = async_client(settings)
        gateway = Gateway(GatewayConfig.model_validate(config), client, settings=settings, **options)
        made.append((gateway, client))
        return gateway

    yield make
    for gateway, client in made:
        await gateway.aclose()
        await client.aclose()


def ask(model: str = JUDGE, **more: Any) -> CompletionRequest:
    return CompletionRequest(model=model, messages=(Message("user", "Hello"),), **more)


def counted(redis_url: str, model: str = JUDGE) -> ModelCounters:
    with redis.Redis.from_url(redis_url) as client:
        return next(row for row in read_counters(client, [model]) if row.model == model)


def trips(redis_url: str) -> int:
    """Commands that clients sent; what scripts call inside the server is none of them."""
    with redis.Redis.from_url(redis_url) as client:
        stats = client.info("commandstats")
        return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("eval", "evalsha", "sadd"))


async def test_a_call_is_answered_and_accounted_for(build: Build, redis_url: str) -> None:
    """The answer says who gave it, what it cost in whole micro-dollars and how long it took; the cluster's counters agree."""
    with serving(Vendor(Canned(body=OK))) as url:
        completion = await build(url).complete(ask())
    call = completion.call
    assert (completion.text, completion.tried) == ("Hi", ())
    assert (call.model, call.reported_model, call.cost_microusd) == (JUDGE, "judge-1-0613", 30)
    assert call.latency_ms > 0
    row = counted(redis_url)
    assert (row.calls, row.prompt_tokens, row.completion_tokens, row.cost_microusd, row.unpriced_calls) == (1, 10, 5, 30, 0)


async def test_an_unknown_price_stays_unknown(build: Build, redis_url: str) -> None:
    """A model without a price costs None, and is counted as unpriced, not as free."""
    with serving(Vendor(Canned(body=OK))) as url:
        completion = await build(url).complete(ask("lab:other"))
    assert completion.call.cost_microusd is None
    row = counted(redis_url, "lab:other")
    assert (row.cost_microusd, row.unpriced_calls) == (0, 1)


@pytest.mark.parametrize("limits", [{}, {"rpm": 60_000, "tpm": 60_000_000, "max_concurrency": 8}], ids=["none", "all"])
async def test_a_call_costs_two_round_trips(build: Build, redis_url: str, limits: dict[str, int]) -> None:
    """Once a model is known, a successful call sends exactly two commands to the store, with limits or without."""
    with serving(Vendor(Canned(body=OK))) as url:
        gateway = build(url, limits=limits)
        await gateway.complete(ask())
        before = trips(redis_url)
        for _ in range(10):
            await gateway.complete(ask())
        assert trips(redis_url) - before == 20


async def test_simultaneous_calls_share_connections(build: Build, redis_url: str) -> None:
    """Three hundred calls at once need no three hundred connections to the store."""
    with simulating() as (url, simulator):
        gateway = build(url)
        await asyncio.gather(*(gateway.complete(ask()) for _ in range(300)))
        assert simulator.stats["answered"] == 300
    with redis.Redis.from_url(redis_url) as client:
        assert client.info("clients")["connected_clients"] < 10
    assert counted(redis_url).calls == 300


async def test_simulated_answers_say_so(build: Build) -> None:
    """An answer of the simulator is marked, even when the configuration calls it a plain server."""
    with simulating() as (url, _):
        gateway = build(url, providers={"sim": {"kind": "simulator", "base_url": url}})
        assert (await gateway.complete(ask("sim:judge"))).call.simulated
        assert (await gateway.complete(ask())).call.simulated
    with serving(Vendor(Canned(body=OK))) as url:
        assert not (await build(url).complete(ask())).call.simulated


async def test_a_failure_that_passes_is_tried_again(build: Build, redis_url: str) -> None:
    """Two failures and an answer are an answer, which says what was tried before."""
    vendor = Vendor(Canned(503), Canned(pieces=[b"{"], sever="reset"), Canned(body=OK))
    with serving(vendor) as url:
        completion = await build(url).complete(ask())
    assert completion.tried == (f"{JUDGE}: provider_unavailable",) * 2
    assert len(vendor.seen) == 3
    assert counted(redis_url).errors == {"provider_unavailable": 2}


@pytest.mark.parametrize(
    ("status", "calls", "expected"),
    [(500, 3, ProviderUnavailable), (429, 3, ProviderRateLimited), (401, 1, ProviderAuthFailed), (422, 1, ProviderRejected)],
)
async def test_attempts_are_bounded(build: Build, status: int, calls: int, expected: type[Exception]) -> None:
    """What may pass is tried as often as configured, what cannot is tried once, and the error is the provider's."""
    vendor = Vendor(Canned(status))
    with serving(vendor) as url, pytest.raises(expected):
        await build(url).complete(ask())
    assert len(vendor.seen) == calls


async def test_retry_after_is_kept_within_the_deadline(build: Build) -> None:
    """A second's pause that fits is made; one that does not fit the deadline ends the call at once, saying how long."""
    slow_down = Canned(429, headers={"retry-after-ms": "120"})
    with serving(Vendor(slow_down, Canned(body=OK))) as url:
        began = time.monotonic()
        assert (await build(url).complete(ask())).text == "Hi"
        assert time.monotonic() - began > 0.12
    vendor = Vendor(Canned(429, headers={"retry-after": "50"}))
    with serving(vendor) as url, pytest.raises(ProviderRateLimited) as caught:
        await build(url, providers={"two": {"kind": "openai", "base_url": url}}).complete(ask("two:m"))
    assert caught.value.retry_after_s == 50
    assert len(vendor.seen) == 1


async def test_the_deadline_bounds_the_attempt(build: Build, redis_url: str) -> None:
    """With little time left an attempt gets just that, and its end says nothing about the provider."""
    vendor = Vendor(Canned(wait_s=30))
    with serving(vendor) as url, pytest.raises(ProviderTimeout):
        await build(url).complete(ask(deadline_s=time.monotonic() + 1.0))
    assert len(vendor.seen) == 1
    assert counted(redis_url).cancelled == 1


async def test_a_passed_deadline_makes_no_call(build: Build) -> None:
    """Nobody waits for the answer, so nobody is asked."""
    vendor = Vendor(Canned(body=OK))
    with serving(vendor) as url, pytest.raises(DeadlineExceeded):
        await build(url).complete(ask(deadline_s=time.monotonic() - 1))
    assert vendor.seen == []


async def test_a_queue_longer_than_the_deadline_is_refused(build: Build) -> None:
    """A call whose turn would come too late is told so at once, with the time when it would."""
    with serving(Vendor(Canned(body=OK))) as url:
        gateway = build(url, limits={"rpm": 1})
        await gateway.complete(ask())
        with pytest.raises(Overloaded) as caught:
            await gateway.complete(ask())
    assert 50 < (caught.value.retry_after_s or 0) <= 61


async def test_permits_bound_what_reaches_the_provider(build: Build) -> None:
    """Two gateways with twenty callers each never have more than three calls under way together."""
    with simulating(latency_ms=5) as (url, simulator):
        gateways = [build(url, limits={"max_concurrency": 3}) for _ in range(2)]
        await asyncio.gather(*(gateway.complete(ask()) for gateway in gateways for _ in range(20)))
        assert simulator.stats["answered"] == 40
        assert simulator.stats["most_in_flight"] <= 3


async def test_an_open_breaker_spares_the_provider(build: Build) -> None:
    """After enough failures other gateways refuse without a call, and say when the next try is due."""
    with simulating(server_error=1.0) as (url, simulator):
        options = {"config": {"breaker": {"min_calls": 6, "reset_s": 30}, "retry": {"attempts": 1}}}
        first, second = build(url, **options), build(url, **options)
        for _ in range(6):
            with pytest.raises(ProviderUnavailable):
                await first.complete(ask())
        for gateway in (first, second):
            with pytest.raises(BreakerOpen) as caught:
                await gateway.complete(ask())
            assert 0 < (caught.value.retry_after_s or 0) <= 30
        assert simulator.stats["calls"] == 6


async def test_a_provider_that_recovers_is_used_again(build: Build) -> None:
    """After the reset time one probe goes through, and with its success everybody's calls."""
    with simulating(server_error=1.0) as (url, simulator):
        gateway = build(url, config={"breaker": {"min_calls": 3, "reset_s": 0.1}, "retry": {"attempts": 1}})
        for _ in range(3):
            with pytest.raises(ProviderUnavailable):
                await gateway.complete(ask())
        simulator._behave(b'{"server_error": 0}')  # noqa: SLF001 -- what POST /faults calls
        await asyncio.sleep(0.11)
        for _ in range(5):
            await gateway.complete(ask())
        assert (await gateway.models(discover=False))[0].breaker == "closed"


ROUTES = {
    "routes": {
        "judge": {"models": [JUDGE, "spare:m"], "on_failure": "fallback"},
        "fixed": {"models": [JUDGE, "spare:m"], "on_failure": "strict"},
    },
    "retry": {"attempts": 1},
}


@pytest.mark.parametrize("status", [500, 429, 401, 404, 422])
async def test_a_route_falls_back(build: Build, status: int) -> None:
    """When the first model fails, whatever the reason, the next one answers and the answer says who was tried."""
    with serving(Vendor(Canned(status))) as url, serving(Vendor(Canned(body=OK))) as spare:
        gateway = build(url, providers={"spare": {"kind": "openai", "base_url": spare}}, config=ROUTES)
        completion = await gateway.complete(ask("judge"))
    assert completion.call.model == "spare:m"
    assert len(completion.tried) == 1
    assert completion.tried[0].startswith(f"{JUDGE}: ")


async def test_a_strict_route_never_falls_back(build: Build) -> None:
    """A run keeps its judge: the second model is not asked, and the error is the first one's."""
    spare = Vendor(Canned(body=OK))
    with serving(Vendor(Canned(500))) as url, serving(spare) as spare_url:
        gateway = build(url, providers={"spare": {"kind": "openai", "base_url": spare_url}}, config=ROUTES)
        with pytest.raises(ProviderUnavailable):
            await gateway.complete(ask("fixed"))
    assert spare.seen == []


async def test_a_full_queue_falls_back(build: Build) -> None:
    """A model without capacity within the deadline is left for the next one."""
    with serving(Vendor(Canned(body=OK))) as url:
        gateway = build(url, limits={"rpm": 1}, providers={"spare": {"kind": "openai", "base_url": url}}, config=ROUTES)
        await gateway.complete(ask())
        completion = await gateway.complete(ask("judge"))
    assert (completion.call.model, completion.tried) == ("spare:m", (f"{JUDGE}: overloaded",))


async def test_the_last_error_is_raised(build: Build) -> None:
    """When every model of a route fails, the caller gets the last one's error."""
    with serving(Vendor(Canned(500))) as url, serving(Vendor(Canned(401))) as spare:
        gateway = build(url, providers={"spare": {"kind": "openai", "base_url": spare}}, config=ROUTES)
        with pytest.raises(ProviderAuthFailed):
            await gateway.complete(ask("judge"))


async def test_a_model_may_stand_twice_in_a_route(build: Build) -> None:
    """A route that comes back to its first model goes all its way."""
    routes = {"routes": {"judge": {"models": [JUDGE, "spare:m", JUDGE], "on_failure": "fallback"}}, "retry": {"attempts": 1}}
    with serving(Vendor(Canned(500), Canned(body=OK))) as url, serving(Vendor(Canned(500))) as spare:
        gateway = build(url, providers={"spare": {"kind": "openai", "base_url": spare}}, config=routes)
        completion = await gateway.complete(ask("judge"))
    assert completion.tried == (f"{JUDGE}: provider_unavailable", "spare:m: provider_unavailable")


async def test_no_free_permit_within_the_deadline_is_refused(build: Build) -> None:
    """When every permit stays taken until there is no time left, the call ends as overloaded, and nothing was sent."""
    vendor = Vendor(Canned(wait_s=30))
    with serving(vendor) as url:
        gateway = build(url, limits={"max_concurrency": 1})
        holding = asyncio.create_task(gateway.complete(ask()))
        await asyncio.to_thread(vendor.asked.wait, 5)
        with pytest.raises(Overloaded, match="permits"):
            await gateway.complete(ask(deadline_s=time.monotonic() + 0.3))
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
    assert len(vendor.seen) == 1


async def test_a_settlement_that_is_lost_does_not_lose_the_answer(build: Build, redis_url: str) -> None:
    """When the store goes away during the call, its paid answer is returned all the same."""
    vendor = Vendor(Canned(body=OK, wait_s=0.2))
    with serving(vendor) as url:
        gateway = build(url)
        call = asyncio.create_task(gateway.complete(ask()))
        await asyncio.to_thread(vendor.asked.wait, 5)
        with redis.Redis.from_url(redis_url) as client:
            client.config_set("maxmemory", "1")
            try:
                assert (await call).text == "Hi"
            finally:
                client.config_set("maxmemory", "0")


@pytest.mark.parametrize(
    ("trouble", "end"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
)
async def test_no_call_is_made_that_the_store_could_not_count(
    build: Build, redis_url: str, trouble: tuple[str, ...], end: tuple[str, ...]
) -> None:
    """A store that is full or read-only refuses calls of models without any limit, too: nobody would learn of their cost."""
    vendor = Vendor(Canned(body=OK))
    with serving(vendor) as url, redis.Redis.from_url(redis_url) as client:
        gateway = build(url)
        client.execute_command(*trouble)
        try:
            with pytest.raises(StoreUnavailable):
                await gateway.complete(ask())
        finally:
            client.execute_command(*end)
    assert vendor.seen == []


async def test_what_a_vendor_cannot_do_is_the_callers_error(build: Build, redis_url: str) -> None:
    """A field without counterpart is refused without a call, and the reservation goes back."""
    vendor = Vendor(Canned(body=OK))
    with serving(vendor) as url:
        gateway = build(
            url,
            providers={"other": {"kind": "anthropic", "base_url": url}},
            models={"other:m": {"rpm": 1}},
        )
        for _ in range(3):
            with pytest.raises(Unsupported, match="logprobs"):
                await gateway.complete(ask("other:m", passthrough={"logprobs": True}))
    assert vendor.seen == []
    assert counted(redis_url, "other:m").calls == 0


async def test_an_unknown_name_costs_nothing(build: Build, redis_url: str) -> None:
    """A name that resolves to nothing is refused before the store is asked."""
    before = trips(redis_url)
    with pytest.raises(ModelNotFound):
        await build().complete(ask("nowhere:m"))
    assert trips(redis_url) == before


async def test_without_the_store_no_call_is_made(build: Build) -> None:
    """Limits that cannot be checked fail closed."""
    vendor = Vendor(Canned(body=OK))
    with serving(vendor) as url, pytest.raises(StoreUnavailable):
        await build(url, redis_url="redis://127.0.0.1:1/0").complete(ask())
    assert vendor.seen == []


async def test_a_cancelled_call_gives_its_permit_back(build: Build, redis_url: str) -> None:
    """A caller who leaves in mid-call leaves no permit behind."""
    vendor = Vendor(Canned(wait_s=30), Canned(body=OK))
    with serving(vendor) as url:
        gateway = build(url, limits={"max_concurrency": 1})
        call = asyncio.create_task(gateway.complete(ask()))
        await asyncio.to_thread(vendor.asked.wait, 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await gateway.complete(ask())).text == "Hi"
    assert counted(redis_url).cancelled == 1


async def test_a_caller_that_leaves_the_queue_frees_its_place(build: Build) -> None:
    """A call cancelled while it waits for its turn gives the turn to the next one."""
    with serving(Vendor(Canned(body=OK))) as url:
        gateway = build(url, limits={"rpm": 10})
        await gateway.complete(ask())
        for _ in range(5):
            waiting = asyncio.create_task(gateway.complete(ask()))
            await asyncio.sleep(0.02)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        turn = asyncio.create_task(gateway.complete(ask(deadline_s=time.monotonic() + 19)))
        await asyncio.sleep(0.02)
        assert not turn.done()
        turn.cancel()


class Sleeps:
    """Waits that only note how long they were to be."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)


async def test_a_long_wait_is_checked_again(build: Build, redis_url: str) -> None:
    """A call that slept for more than a second asks again before it goes, and keeps its place."""
    sleeps = Sleeps()
    with serving(Vendor(Canned(body=OK))) as url:
        gateway = build(url, limits={"rpm": 20}, sleep=sleeps)
        await gateway.complete(ask())
        before = trips(redis_url)
        await gateway.complete(ask())
        assert trips(redis_url) - before == 3
    assert len(sleeps.waited) == 1
    assert 2 < sleeps.waited[0] <= 3


def delta(content: str) -> dict[str, Any]:
    return {"model": "judge-1-0613", "choices": [{"index": 0, "delta": {"content": content}}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}


async def test_a_stream_is_accounted_for(build: Build, redis_url: str) -> None:
    """Words pass as they come; the last chunk says what was paid, and the counters agree."""
    with serving(Vendor(sse(delta("Hel"), delta("lo"), END, USAGE))) as url:
        chunks = [chunk async for chunk in build(url).stream(ask())]
    assert [chunk.delta.get("content") for chunk in chunks[:2]] == ["Hel", "lo"]
    call = chunks[-1].call
    assert call is not None
    assert (call.model, call.reported_model, call.cost_microusd) == (JUDGE, "judge-1-0613", 30)
    row = counted(redis_url)
    assert (row.calls, row.cost_microusd) == (1, 30)


async def test_hanging_up_is_counted(build: Build, redis_url: str) -> None:
    """A consumer who stops closes the provider's call; what was received is counted, and the permit is free."""
    answer = sse(*[delta("word ") for _ in range(500)])
    answer.pause_s = 0.01
    vendor = Vendor(answer)
    with serving(vendor) as url:
        gateway = build(url, limits={"max_concurrency": 1})
        stream = gateway.stream(ask())
        for _ in range(3):
            await anext(stream)
        await stream.aclose()
        assert await asyncio.to_thread(vendor.hung_up.wait, 5)
        row = counted(redis_url)
        assert (row.calls, row.completion_tokens) == (1, 4)
        vendor.answers = [Canned(body=OK)]
        await gateway.complete(ask())


async def test_a_stream_is_retried_until_its_first_piece(build: Build) -> None:
    """Failures before the first piece are tried again and fall back; nobody sees half an answer twice."""
    broken = sse(delta("Hel"), done=False)
    vendor, spare = Vendor(Canned(503)), Vendor(sse(delta("Hi"), END))
    with serving(vendor) as url, serving(spare) as spare_url:
        gateway = build(url, providers={"spare": {"kind": "openai", "base_url": spare_url}}, config=ROUTES)
        chunks = [chunk async for chunk in gateway.stream(ask("judge"))]
        assert [chunk.delta.get("content") for chunk in chunks if chunk.raw] == ["Hi", None]
        vendor.answers = [broken]
        with pytest.raises(ProviderUnavailable):
            _ = [chunk async for chunk in gateway.stream(ask("judge"))]
    assert len(vendor.seen) == 2
    assert len(spare.seen) == 1


async def test_an_empty_stream_is_malformed(build: Build) -> None:
    """A stream without a single piece is no answer."""
    with serving(Vendor(sse())) as url, pytest.raises(MalformedReply):
        _ = [chunk async for chunk in build(url).stream(ask())]


async def test_streams_are_retried(build: Build) -> None:
    """The same model is asked again when it failed before the first piece."""
    vendor = Vendor(Canned(503), sse(delta("Hi"), END))
    with serving(vendor) as url:
        async with aclosing(build(url).stream(ask())) as stream:
            assert (await anext(stream)).delta == {"content": "Hi"}
    assert len(vendor.seen) == 2


async def test_models_are_listed(build: Build) -> None:
    """Configured models, aliases, routes and what providers list stand side by side; silent providers are left out."""
    with simulating() as (url, _):
        gateway = build(
            url,
            providers={"dead": {"kind": "anthropic", "base_url": "http://127.0.0.1:9"}},
            limits={"rpm": 60},
            config={"aliases": {"gpt-5.6": JUDGE}, "routes": {"judge": {"models": [JUDGE]}}},
        )
        models = {model.name: model for model in await gateway.models()}
        again = await gateway.models()
    assert {name: model.source for name, model in models.items()} == {
        JUDGE: "configured",
        "gpt-5.6": "alias",
        "judge": "route",
        "lab:simulated-judge": "listed",
    }
    assert (models["judge"].limits.rpm, models["judge"].structured_output, models["judge"].breaker) == (
        60,
        "json_schema",
        "closed",
    )
    assert [model.name for model in again] == sorted(models)


async def test_counters_are_the_clusters(build: Build, redis_url: str) -> None:
    """What two gateways did adds up, and models without a call are listed when they are configured."""
    with serving(Vendor(Canned(body=OK))) as url:
        await asyncio.gather(*(build(url).complete(ask()) for _ in range(2)))
    with redis.Redis.from_url(redis_url) as client:
        rows = {row.model: row for row in read_counters(client, ["lab:idle"])}
    assert (rows[JUDGE].calls, rows["lab:idle"].calls) == (2, 0)
