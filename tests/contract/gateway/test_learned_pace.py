"""The pace that refusals teach where no limit is configured: it finds a limit, and chance does not wear it down."""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.gateway.admission import Admission
from common.gateway.counters import read_breakers
from common.gateway.gateway import Gateway
from common.gateway.ticket import Outcome, Ticket
from common.schemas.completion import CompletionRequest, Message
from common.schemas.config import GatewayConfig, ModelConfig
from common.schemas.evaluation import Usage
from common.settings import Settings
from common.store.connect import async_client
from tests.support.providers import simulating

MODEL = "lab:judge-1"
STATE = "kn:{gw}:" + MODEL + ":state"
SUCCESS = Outcome("success", usage=Usage(prompt_tokens=1))
REFUSED = Outcome("limited", code="provider_rate_limited")
FIRST_RPM = 600 * 0.7  # the pace after a refusal before which nothing was answered

Answers = Callable[[float], bool]  # whether a call is answered that comes so many ms after the one before


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    connection = async_client(Settings(redis_url=redis_url))
    yield connection
    await connection.aclose()


@pytest.fixture
def limits(client: redis.asyncio.Redis) -> Admission:
    return Admission(client, GatewayConfig())


async def granted(limits: Admission) -> Ticket:
    wanted = Ticket(MODEL, ModelConfig(), 10)
    await limits.admit(wanted, max_wait_s=1e6, timeout_s=5.0)
    return wanted


async def call(limits: Admission, outcome: Outcome) -> None:
    await limits.settle(await granted(limits), outcome)


async def pace_rpm(limits: Admission) -> float:
    """Of the next call; it is not made."""
    wanted = await granted(limits)
    await limits.settle(wanted, Outcome("unsent"))
    return 60_000 / wanted.request_ms


async def calls(limits: Admission, answers: Answers, count: int) -> float:
    """Make `count` calls at the pace that is learned, in no time; the pace after them."""
    for _ in range(count):
        wanted = await granted(limits)
        await limits.settle(wanted, SUCCESS if answers(wanted.request_ms) else REFUSED)
    return await pace_rpm(limits)


class Bucket:
    """A provider with a true limit that has just refused a call."""

    def __init__(self, rpm: float, burst: int = 5) -> None:
        self.rpm, self.burst, self.left = rpm, burst, 0.0

    def __call__(self, after_ms: float) -> bool:
        self.left = min(self.burst, self.left + after_ms * self.rpm / 60_000)
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Window:
    """A provider that allows so many calls in each second, whatever came before."""

    def __init__(self, per_second: int) -> None:
        self.per_second, self.at_ms, self.second, self.seen = per_second, 0.0, 0, 0

    def __call__(self, after_ms: float) -> bool:
        self.at_ms += after_ms
        if self.at_ms // 1000 != self.second:
            self.second, self.seen = int(self.at_ms // 1000), 0
        self.seen += 1
        return self.seen <= self.per_second


async def test_refusals_teach_a_pace(limits: Admission) -> None:
    """A 429 after thirty good calls in a second or two makes everybody go seven tenths as fast."""
    for _ in range(30):
        await call(limits, SUCCESS)
    await call(limits, REFUSED)
    assert 900 * 0.7 * 0.95 < await pace_rpm(limits) < 1800 * 0.7 * 1.1


async def test_calls_of_one_burst_teach_once(limits: Admission) -> None:
    """A hundred refusals of calls that went before the first of them was told change nothing more."""
    burst = [await granted(limits) for _ in range(101)]
    for wanted in burst:
        await limits.settle(wanted, REFUSED)
    assert await pace_rpm(limits) == pytest.approx(FIRST_RPM, rel=0.05)


async def test_the_first_refusal_after_a_calm_time_slows_down(limits: Admission) -> None:
    """Fifty answers, then a 429: seven tenths of the pace at once; another one right after it does no more."""
    await call(limits, REFUSED)
    for _ in range(50):
        await call(limits, SUCCESS)
    await call(limits, REFUSED)
    assert await pace_rpm(limits) == pytest.approx(FIRST_RPM * 0.7, rel=0.05)
    await call(limits, REFUSED)
    assert await pace_rpm(limits) == pytest.approx(FIRST_RPM * 0.7, rel=0.05)


async def test_a_cut_in_vain_is_taken_back(limits: Admission) -> None:
    """When every fifth call is refused whatever the pace, a cut is tried, taken back, and not tried again for a while."""
    await call(limits, REFUSED)
    regular = iter(range(1000))

    def answers(_: float) -> bool:
        return next(regular) % 5 > 0

    assert await calls(limits, answers, 50) == pytest.approx(FIRST_RPM * 0.8 * 0.95, rel=0.05)
    assert await calls(limits, answers, 50) == pytest.approx(FIRST_RPM, rel=0.05)
    assert await calls(limits, answers, 250) == pytest.approx(FIRST_RPM, rel=0.05)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
async def test_chance_does_not_wear_the_pace_down(limits: Admission, share: float, seed: int) -> None:
    """A provider that refuses a share of all calls at random keeps a third of the first pace at least."""
    rng = Random(seed)
    await call(limits, REFUSED)
    assert await calls(limits, lambda _: rng.random() >= share, 500) > FIRST_RPM / 3


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rpm=st.floats(20, 400), kind=st.sampled_from([Bucket, lambda rpm: Window(max(1, round(rpm / 60)))]))
async def test_a_limit_is_found(redis_url: str, rpm: float, kind: Callable[[float], Answers]) -> None:
    """Whatever the limit, and of whichever kind, the pace comes to lie between half of it and a fifth above it."""
    client = async_client(Settings(redis_url=redis_url))
    await client.flushall()
    limits, provider = Admission(client, GatewayConfig()), kind(rpm)
    await call(limits, REFUSED)
    found = await calls(limits, provider, 400)
    real = provider.rpm if isinstance(provider, Bucket) else 60 * max(1, round(rpm / 60))
    await client.aclose()
    assert 0.5 * real < found < 1.2 * real


async def test_a_limit_that_falls_is_followed(limits: Admission) -> None:
    """A provider that allows only a fifth from one moment to the next is asked for that soon."""
    await call(limits, REFUSED)
    provider = Bucket(600)
    assert await calls(limits, provider, 100) == pytest.approx(FIRST_RPM, rel=0.1)
    provider.rpm = 120
    assert 60 < await calls(limits, provider, 250) < 144


async def test_what_was_learned_grows_again(limits: Admission, client: redis.asyncio.Redis) -> None:
    """A minute without a refusal doubles the pace, ten minutes forget it."""
    await call(limits, REFUSED)
    now_s, _ = await client.time()
    for minutes, factor in ((1, 2), (3, 4)):
        await client.hset(STATE, "learned_at", str((now_s - minutes * 60) * 1000))
        assert await pace_rpm(limits) == pytest.approx(FIRST_RPM * factor, rel=0.05)
    await client.hset(STATE, "learned_at", str((now_s - 601) * 1000))
    assert (await granted(limits)).request_ms == 0


async def test_refusals_do_not_open_the_breaker(limits: Admission, client: redis.asyncio.Redis) -> None:
    """A provider that says it is too much is well; everybody goes slower, and the door stays open."""
    for _ in range(20):
        await call(limits, REFUSED)
    assert (await read_breakers(client, [MODEL]))[MODEL] == "closed"


async def test_an_unknown_limit_is_found(redis_url: str) -> None:
    """Forty calls at a provider with a limit nobody configured all get their answer, without its refusals opening anything."""
    with simulating(rpm=600, window_s=1.0, retry_after_s=0.2) as (url, simulator):
        client = async_client(Settings(redis_url=redis_url))
        config = {"providers": {"lab": {"kind": "openai", "base_url": url}}, "retry": {"attempts": 10, "base_s": 0.01}}
        gateway = Gateway(GatewayConfig.model_validate(config), client, settings=Settings(redis_url=redis_url))
        request = CompletionRequest(model=MODEL, messages=(Message("user", "Hello"),), cache="no-store")
        await asyncio.gather(*(gateway.complete(request) for _ in range(40)))
        assert simulator.stats["answered"] == 40
        assert simulator.stats["calls"] > 40
        await gateway.aclose()
        await client.aclose()
