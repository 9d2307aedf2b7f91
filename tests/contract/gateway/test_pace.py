"""What the provider's headers say moves everybody's pace; and permits go in order of arrival."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import redis.asyncio

from common.errors import ProviderRateLimited, RateHints
from common.gateway.admission import Admission
from common.gateway.gateway import Gateway
from common.gateway.ticket import Later, Outcome, Ticket
from common.schemas.completion import CompletionRequest, Message
from common.schemas.config import GatewayConfig, ModelConfig
from common.schemas.evaluation import Usage
from common.settings import Settings
from common.store.connect import async_client
from tests.support.providers import Canned, Vendor, serving

MODEL = "lab:judge-1"
SUCCESS = Outcome("success", usage=Usage(prompt_tokens=1))


@pytest.fixture
async def clients(redis_url: str) -> AsyncIterator[list[redis.asyncio.Redis]]:
    """As many processes."""
    connections = [async_client(Settings(redis_url=redis_url)) for _ in range(3)]
    yield connections
    for connection in connections:
        await connection.aclose()


@pytest.fixture
def processes(clients: list[redis.asyncio.Redis]) -> list[Admission]:
    return [Admission(client, GatewayConfig()) for client in clients]


def ticket(tokens: int = 10, **limits: Any) -> Ticket:
    return Ticket(MODEL, ModelConfig(**limits), tokens)


async def admit(limits: Admission, wanted: Ticket, *, max_wait_s: float = 60.0) -> Ticket | Later:
    return await limits.admit(wanted, max_wait_s=max_wait_s, timeout_s=5.0)


async def call(limits: Admission, outcome: Outcome, **config: Any) -> Ticket:
    granted = ticket(**config)
    await admit(limits, granted)
    await limits.settle(granted, outcome)
    return granted


async def waits(limits: Admission, count: int, **config: Any) -> list[float]:
    """How long calls that come at once are to wait."""
    return [(await admit(limits, ticket(**config))).wait_s for _ in range(count)]


def answered(**hints: Any) -> Outcome:
    return Outcome("success", usage=Usage(prompt_tokens=10), hints=RateHints(**hints))


async def test_scarce_requests_slow_everybody(processes: list[Admission]) -> None:
    """Headers that say a bucket of 60 a minute is nearly empty make the others go one a second; plenty sets them free."""
    one, other, _ = processes
    await call(one, answered(limit_requests=60, remaining_requests=1, reset_requests_s=59.0))
    late = [wait for wait in await waits(other, 6) if wait > 0]
    assert all(b - a == pytest.approx(1.0, abs=0.05) for a, b in pairwise(late))
    assert len(late) >= 4
    await call(one, answered(limit_requests=60, remaining_requests=50, reset_requests_s=10.0))
    assert all(abs(b - a) < 0.1 for a, b in pairwise(await waits(other, 4)))


async def test_scarce_tokens_slow_everybody(processes: list[Admission]) -> None:
    """The same for tokens: calls that are thought to take a hundred wait for a hundred tokens' time."""
    one, other, _ = processes
    await call(one, answered(limit_tokens=6000, remaining_tokens=0, reset_tokens_s=60.0))
    late = [wait for wait in await waits(other, 6, tokens=200) if wait > 0]
    assert all(b - a == pytest.approx(1.0, abs=0.05) for a, b in pairwise(late))


async def test_headers_only_ever_slow_down(processes: list[Admission]) -> None:
    """What is configured holds, however much the provider would allow."""
    one, other, _ = processes
    await call(one, answered(limit_requests=100_000, remaining_requests=2, reset_requests_s=60.0), rpm=60)
    late = [wait for wait in await waits(other, 4, rpm=60) if wait > 0]
    assert all(b - a > 0.95 for a, b in pairwise(late))


async def test_the_gateway_passes_on_what_headers_say(redis_url: str) -> None:
    """An answer's rate headers reach the shared bucket, those of a refusal too."""
    scarce = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60s"}
    body = {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    for number, answer in enumerate((Canned(body=body, headers=scarce), Canned(429, headers=scarce))):
        client = async_client(Settings(redis_url=redis_url))
        with serving(Vendor(answer)) as url:
            config = {"providers": {"lab": {"kind": "openai", "base_url": url}}, "retry": {"attempts": 1}}
            gateway = Gateway(GatewayConfig.model_validate(config), client, settings=Settings(redis_url=redis_url))
            request = CompletionRequest(model=f"lab:m{number}", messages=(Message("user", "Hello"),), cache="no-store")
            if answer.status == 429:
                with pytest.raises(ProviderRateLimited):
                    await gateway.complete(request)
            else:
                await gateway.complete(request)
            state = await client.hgetall("kn:{gw}:" + request.model + ":state")
            assert float(state[b"slow_request_ms"]) == pytest.approx(1000)
            await gateway.aclose()
        await client.aclose()


async def test_as_many_tokens_are_taken_as_are_used(processes: list[Admission]) -> None:
    """When calls use a tenth of what they may, about a tenth is taken of the limit, by whichever process; at first more."""
    one, other, _ = processes
    first = await call(one, answered(), tokens=100, tpm=6_000_000)
    for _ in range(100):
        await call(one, answered(), tokens=100, tpm=6_000_000)
    last = await call(other, answered(), tokens=100, tpm=6_000_000)
    assert first.taken == 50
    assert 10 <= last.taken <= 12


async def test_permits_go_in_order_of_arrival(processes: list[Admission]) -> None:
    """Whoever asks first after a permit is free, it goes to the caller who came first, whatever process that is in."""
    config = {"max_concurrency": 1}
    holder = ticket(**config)
    await admit(processes[0], holder)
    line = [(processes[number % 3], ticket(**config)) for number in range(6)]
    for one, wanted in line:
        assert isinstance(await admit(one, wanted), Later)
    for place, (one, wanted) in enumerate(line):
        await processes[0].settle(holder, SUCCESS)
        for late_one, late in reversed(line[place + 1 :]):
            assert isinstance(await admit(late_one, late), Later)
        assert isinstance(await admit(processes[2], ticket(**config)), Later)
        assert isinstance(await admit(one, wanted), Ticket)
        holder = wanted


async def test_who_leaves_the_line_holds_nobody_up(processes: list[Admission], clients: list[redis.asyncio.Redis]) -> None:
    """A caller that gives up, and one whose process was killed, make room for those behind them."""
    config = {"max_concurrency": 1}
    holder, gone, killed, last = (ticket(**config) for _ in range(4))
    await admit(processes[0], holder)
    for one, wanted in zip(processes, (gone, killed, last), strict=True):
        assert isinstance(await admit(one, wanted), Later)
    processes[0].leave(gone)
    await clients[0].zadd("kn:{gw}:" + MODEL + ":waiting", {killed.call_id: 1})
    await processes[0].settle(holder, SUCCESS)
    assert isinstance(await admit(processes[2], last), Ticket)


async def test_a_cancelled_caller_leaves_the_line(redis_url: str) -> None:
    """A call that is cancelled in the line is not waited for."""
    vendor = Vendor(Canned(wait_s=30))
    with serving(vendor) as url:
        client = async_client(Settings(redis_url=redis_url))
        config = {
            "providers": {"lab": {"kind": "openai", "base_url": url}},
            "models": {MODEL: {"max_concurrency": 1, "timeout_s": 20}},
        }
        gateway = Gateway(GatewayConfig.model_validate(config), client, settings=Settings(redis_url=redis_url))
        request = CompletionRequest(
            model=MODEL, messages=(Message("user", "Hello"),), cache="no-store", deadline_s=time.monotonic() + 60
        )
        calls = [asyncio.create_task(gateway.complete(request))]
        await asyncio.to_thread(vendor.asked.wait, 5)
        calls.append(asyncio.create_task(gateway.complete(request)))
        for _ in range(1000):
            if await client.zcard("kn:{gw}:" + MODEL + ":queue"):
                break
            await asyncio.sleep(0.005)
        for one in reversed(calls):
            one.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await gateway.aclose()
        assert await client.zcard("kn:{gw}:" + MODEL + ":queue") == 0
        assert await client.zcard("kn:{gw}:" + MODEL + ":waiting") == 0
        await client.aclose()
