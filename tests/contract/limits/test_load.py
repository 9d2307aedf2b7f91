"""The global limit under load, read from what the rest of the system keeps in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from common.gateway.admission import Admission, Outcome, Ticket
from common.limits import keys as limit_keys
from common.limits.status import read_callers
from common.schemas.config import GatewayConfig, ModelConfig
from common.schemas.graders import StringCheckGrader
from common.settings import Settings
from common.store import keys
from common.store.connect import async_client
from common.store.runs import RunStore
from tests.support.runs import new_run

if TYPE_CHECKING:
    import redis

    from tests.contract.limits.conftest import Pod, Pods

GRADER = StringCheckGrader(type="string_check", name="a", input="", reference="", operation="eq")
CONFIG = "callers: {global: {rpm: 100, burst: 100, floor: 0.2, queue_age_from_s: 20, queue_age_to_s: 100}}"


def start_run(client: redis.Redis, *, age_s: float, issued: bool = True) -> str:
    """A run of one item that was leased, or created, `age_s` ago."""
    created_at = int(RunStore(client).new_identity().created_at - (0 if issued else age_s))
    run_id = new_run(client, 1, created_at=created_at).run_id
    if issued:
        RunStore(client).issue(run_id, lease_s=Settings().lease_s - age_s, attempts=3)
    return run_id


async def call(redis_url: str, model: str, *results: Any) -> None:
    """Calls of the real gateway's admission that end in `results`."""
    connected = async_client(Settings(redis_url=redis_url))
    admission = Admission(connected, GatewayConfig())
    for result in results:
        ticket = Ticket(model, ModelConfig(), 1)
        await admission.admit(ticket, max_wait_s=1, timeout_s=1)
        outcome = Outcome(result, code="" if result == "success" else "provider_unavailable")
        await admission.settle(ticket, outcome)
    await admission.drain()
    await connected.aclose()


async def read_again(pod: Pod, client: redis.Redis, *, later_s: float = 0.0) -> tuple[str, float]:
    """The limit as the next request is told it, and the factor, with the load read as if `later_s` after the last time."""
    read_at = client.hget(limit_keys.CALLERS_LOAD, "read_at")
    client.hset(limit_keys.CALLERS_LOAD, "due_at", 0)
    if read_at is not None:
        client.hset(limit_keys.CALLERS_LOAD, "read_at", float(read_at) - later_s * 1000)
    await pod.post()
    return (await pod.post()).headers["x-ratelimit-limit-requests"], read_callers(client).factor or 0.0


async def test_a_quiet_system_gives_the_whole_limit(pods: Pods, client: redis.Redis) -> None:
    """Without runs and calls the factor is 1, and so it is with a run whose items move."""
    pod = pods(CONFIG)
    assert await read_again(pod, client) == ("100", 1.0)
    start_run(client, age_s=5)
    assert await read_again(pod, client) == ("100", 1.0)


@pytest.mark.parametrize("issued", [True, False], ids=["leased", "queued"])
async def test_an_old_queue_tightens(pods: Pods, client: redis.Redis, *, issued: bool) -> None:
    """Half way between the two ages the limit is half way to its floor, whether items or runs wait; beyond, at its floor."""
    pod = pods(CONFIG)
    start_run(client, age_s=60, issued=issued)
    limit, factor = await read_again(pod, client)
    assert factor == pytest.approx(0.6, abs=0.03)
    assert int(limit) in (58, 59, 60)
    start_run(client, age_s=110, issued=issued)
    assert await read_again(pod, client) == ("20", 0.2)
    assert read_callers(client).queue_age_s == pytest.approx(110, abs=3)


async def test_open_breakers_tighten(pods: Pods, client: redis.Redis, redis_url: str) -> None:
    """The share of models in use whose breaker is open counts: one of two is half of the way."""
    pod = pods(CONFIG)
    await call(redis_url, "lab:dead", "success", *["failure"] * 9)
    await call(redis_url, "lab:well", "success")
    assert await read_again(pod, client) == ("60", 0.6)
    assert read_callers(client).open_share == 0.5


async def test_it_relaxes_slowly(pods: Pods, client: redis.Redis) -> None:
    """When the load is gone the limit comes back by a fiftieth of itself a second."""
    pod = pods(CONFIG)
    run_id = start_run(client, age_s=200)
    assert await read_again(pod, client) == ("20", 0.2)
    RunStore(client).cancel(run_id)
    for later_s, expected in ((1, 0.22), (10, 0.42), (60, 1.0)):
        _, factor = await read_again(pod, client, later_s=later_s)
        assert factor == pytest.approx(expected, abs=0.01)


async def test_places_shrink_with_the_limit(pods: Pods, client: redis.Redis) -> None:
    """At the floor, the burst too is a fifth: what was let in before counts against it."""
    pod = pods(CONFIG)
    start_run(client, age_s=200)
    await read_again(pod, client)
    assert await pod.passes(of=30) in (18, 19)


async def test_the_load_is_read_once_a_second(pods: Pods, client: redis.Redis) -> None:
    """However many pods and requests, one of them is asked to read the load, and it is read again when that is due."""
    three = [pods(CONFIG) for _ in range(3)]
    start_run(client, age_s=5)
    client.config_resetstat()
    for pod in three * 5:
        await pod.post()
    assert client.info("commandstats")["cmdstat_smembers"]["calls"] <= 2
    await read_again(three[0], client)
    assert client.info("commandstats")["cmdstat_smembers"]["calls"] <= 3


async def test_a_floor_of_one_never_looks(pods: Pods, client: redis.Redis) -> None:
    """Who wants a fixed limit pays for no reading of the load, and the worst load changes nothing."""
    pod = pods("callers: {global: {rpm: 100, floor: 1}}")
    start_run(client, age_s=500)
    assert (await pod.post()).headers["x-ratelimit-limit-requests"] == "100"
    assert client.exists(limit_keys.CALLERS_LOAD) == 0


async def test_odd_runs_do_no_harm(pods: Pods, client: redis.Redis) -> None:
    """A run deleted meanwhile, one that has ended and items that the broker gave back say nothing about the queue."""
    client.zadd(keys.ACTIVE_RUNS, {"run_gone": 1})
    ended, returned = start_run(client, age_s=90), start_run(client, age_s=90)
    RunStore(client).cancel(ended)
    RunStore(client).release(returned, [0])
    assert await read_again(pods(CONFIG), client) == ("100", 1.0)


async def test_refusals_are_counted_by_limit(pods: Pods, client: redis.Redis) -> None:
    """What all pods refused is there by scope, for health."""
    pod = pods("callers: {default_key: {rpm: 1, burst: 2}, global: {rpm: 1, burst: 100}}")
    assert await pod.passes(of=5) == 2
    assert read_callers(client).refused == {"key": 3}
