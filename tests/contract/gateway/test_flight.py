"""Single flight on a real store: one asks for all, whatever becomes of it; in this process and across processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from random import Random

import pytest
import redis.asyncio
from redis.crc import key_slot

from common.gateway import cache_keys
from common.gateway.flight import Flight, Said, look_again_s
from common.settings import Settings
from common.store.connect import async_client
from common.store.scripts import ScriptRunner
from tests.support.functions import ROOT
from tests.support.providers import Canned, Vendor, serving, simulating

ANSWER = {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
VALUE = b"0123456789abcdefHi"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    connection = async_client(Settings(redis_url=redis_url))
    yield connection
    await connection.aclose()


@pytest.fixture
def runner(client: redis.asyncio.Redis) -> ScriptRunner:
    return ScriptRunner(client)


def flight(runner: ScriptRunner, *, lease_s: float = 5.0, joins: bool = True) -> Flight:
    return Flight(runner, "digest", lease_s=lease_s, joins=joins)


async def look(one: Flight, *, drop: bytes = b"") -> tuple[Said, bytes]:
    return one.heard(await one.seek(drop=drop))


async def test_one_leads_and_the_others_wait(runner: ScriptRunner) -> None:
    """Of fifty that want the same answer one is to ask; when it is kept, all have it."""
    flights = [flight(runner) for _ in range(50)]
    said = [(await look(each))[0] for each in flights]
    assert said == ["lead"] + ["wait"] * 49
    assert flights[0].keep(VALUE, ttl_s=5)
    assert [await look(each) for each in flights[1:]] == [("hit", VALUE)] * 49


async def test_who_leads_keeps_leading(runner: ScriptRunner) -> None:
    """The one that asks may look again: it still leads."""
    leader = flight(runner)
    assert [(await look(leader))[0] for _ in range(2)] == ["lead", "lead"]
    leader.hand_over()
    await runner.drain()


async def test_handing_over_makes_one_other_lead(runner: ScriptRunner) -> None:
    """After the leader has gone exactly one of the others leads; a second farewell changes nothing."""
    flights = [flight(runner) for _ in range(3)]
    await look(flights[0])
    flights[0].hand_over()
    assert [(await look(each))[0] for each in flights[1:]] == ["lead", "wait"]
    flights[0].hand_over()
    flights[0].leave()
    assert (await look(flights[2]))[0] == "wait"
    flights[1].hand_over()
    await runner.drain()


async def test_leaving_sets_everybody_free(client: redis.asyncio.Redis, runner: ScriptRunner) -> None:
    """Without an answer for others all that wait ask for themselves, and so do those who come within two seconds."""
    flights = [flight(runner) for _ in range(3)]
    await look(flights[0])
    flights[0].leave()
    assert [(await look(each))[0] for each in flights[1:]] == ["alone", "alone"]
    assert 0 < await client.pttl("kn:cache:{digest}:flight") <= 2000
    flights[1].leave()
    assert flights[2].keep(VALUE, ttl_s=5)
    assert await look(flight(runner)) == ("hit", VALUE)


async def test_an_unwanted_answer_is_dropped_once(runner: ScriptRunner) -> None:
    """An answer named as out of date is dropped and asked for again; one that came in its place is not."""
    leader = flight(runner)
    await look(leader)
    leader.keep(VALUE, ttl_s=5)
    one, other = flight(runner), flight(runner)
    assert await look(one, drop=VALUE[:16]) == ("lead", b"")
    newer = b"fedcba9876543210Ho"
    one.keep(newer, ttl_s=5)
    assert await look(other, drop=VALUE[:16]) == ("hit", newer)


async def test_lookers_take_no_part(client: redis.asyncio.Redis, runner: ScriptRunner) -> None:
    """Who only looks neither leads nor waits nor keeps, and leaves others' flights alone."""
    looker = flight(runner, joins=False)
    assert (await look(looker))[0] == "alone"
    assert not looker.keep(VALUE, ttl_s=5)
    leader = flight(runner)
    await look(leader)
    looker.leave()
    looker.hand_over()
    assert (await look(looker))[0] == "alone"
    assert (await look(flight(runner)))[0] == "wait"
    assert await client.exists("kn:cache:{digest}:answer") == 0
    leader.hand_over()
    await runner.drain()


async def test_a_lease_is_renewed_while_the_leader_lives(runner: ScriptRunner) -> None:
    """A call may take many times the lease; nobody else asks meanwhile."""
    leader, other = flight(runner, lease_s=0.09), flight(runner)
    await look(leader)
    for _ in range(10):
        await asyncio.sleep(0.03)
        assert (await look(other))[0] == "wait"
    leader.hand_over()
    assert (await look(other))[0] == "lead"
    other.hand_over()
    await runner.drain()


async def test_a_late_answer_is_kept_and_harms_nobody(runner: ScriptRunner) -> None:
    """A leader that lost its lease may still bring its answer; the lease of who took over stays."""
    late = flight(runner, lease_s=0.05)
    late.heard(await late.seek())
    late._renewal.cancel() if late._renewal else None  # noqa: SLF001 -- a process that stands still
    await asyncio.sleep(0.08)
    second = flight(runner)
    assert (await look(second))[0] == "lead"
    late.leave()
    assert (await look(flight(runner)))[0] == "wait"
    late.keep(VALUE, ttl_s=5)
    assert await look(second) == ("hit", VALUE)


async def test_leaving_while_asking_holds_nothing(runner: ScriptRunner) -> None:
    """A caller cancelled before it heard that it leads does not keep the others waiting."""
    gone = flight(runner)
    asking = asyncio.ensure_future(gone.seek())
    await asyncio.sleep(0)
    asking.cancel()
    gone.hand_over()
    next_one = flight(runner)
    assert (await look(next_one))[0] == "lead"
    next_one.hand_over()
    await runner.drain()


def test_what_a_script_touches_is_in_one_slot() -> None:
    """On a cluster the answer and its flight lie together, whatever characters a digest has."""
    for digest in ("digest", "-_-_", "Ab9_-"):
        assert key_slot(cache_keys.answer(digest).encode()) == key_slot(cache_keys.flight(digest).encode())


def test_looking_gets_rarer() -> None:
    """The first looks come quickly, later ones never more than 0.4 seconds apart, and no two callers in step."""
    waits = [look_again_s(number, Random(1)) for number in range(40)]
    assert waits[0] < 0.04
    assert waits == sorted(waits)
    assert waits[-1] < 0.4
    assert look_again_s(5, Random(2)) != look_again_s(5, Random(3))


@contextmanager
def process(redis_url: str, model_url: str, number: int, *, lease_s: float = 5.0) -> Iterator[subprocess.Popen[str]]:
    """A ready process with a gateway; it asks when it gets a line."""
    command = [sys.executable, "tests/support/gateway_process.py", redis_url, model_url, str(number), str(lease_s)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def begin(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    started.stdin.write("\n")
    started.stdin.flush()


def line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline()


def test_a_hundred_requests_in_four_processes_make_one_call(redis_url: str) -> None:
    """Equal judgements at the same time in four processes, each with its own marker, are one call that is paid once."""
    with simulating(latency_ms=200) as (url, simulator), ExitStack() as stack:
        processes = [stack.enter_context(process(redis_url, url, 25)) for _ in range(4)]
        assert [line(each) for each in processes] == ["ready\n"] * 4
        for each in processes:
            begin(each)
        told = [answer for each in processes for answer in json.loads(line(each))]
        assert simulator.stats["answered"] == 1
    assert len(told) == 100
    assert len({text for text, _, _ in told}) == 1
    costs = sorted(cost for _, cached, cost in told if not cached)
    assert len(costs) == 1
    assert costs[0] > 0
    assert sum(cost for _, _, cost in told) == costs[0]


def test_a_killed_process_hands_over(redis_url: str) -> None:
    """When the process that asks is killed, one of the others asks as soon as its lease is over, and all get that answer."""
    vendor = Vendor(Canned(wait_s=30), Canned(body=ANSWER))
    with serving(vendor) as url, process(redis_url, url, 1, lease_s=0.5) as first, process(redis_url, url, 10) as second:
        assert [line(each) for each in (first, second)] == ["ready\n"] * 2
        begin(first)
        assert vendor.asked.wait(10)
        begin(second)
        first.send_signal(signal.SIGKILL)
        told = json.loads(line(second))
    assert [text for text, _, _ in told] == ["Hi"] * 10
    assert sum(not cached for _, cached, _ in told) == 1
    assert len(vendor.seen) == 2
