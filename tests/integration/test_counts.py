"""Counts that no machine changes: modules imported before a pod is ready, trips to the store, bytes kept.

They are upper bounds, close above what is there: whoever needs more says so here. Times are measured by ``bin/bench``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from common.schemas.events import RunItems
from common.schemas.graders import StringCheckGrader
from common.settings import Settings
from common.store.connect import async_client, sync_client
from common.store.results import ResultStore
from common.store.runs import RunStore
from common.store.verdicts import RedisRunReader
from functions.aggregate.counting.fold import fold_items
from functions.aggregate.records import Records
from functions.evaluate.items import evaluate_items
from functions.evaluate.single import Judging
from tests.support.runs import new_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import redis
    import redis.asyncio

    from common.schemas.completion import Completion, CompletionRequest
    from common.schemas.runs import RunPlan

IMPORTS = """
import json, sys, {framework}
before = set(sys.modules)
import functions.{name}.main
print(json.dumps(sorted(set(sys.modules) - before)))
"""
ASYNC, FLASK = "functions_framework.aio", "functions_framework"
WHAT_READINESS_NEEDS = {"common", "functions", "orjson"}
BATCH = 50
GRADERS = [
    StringCheckGrader(type="string_check", name=name, input="{{item.n}}", reference="{{item.n}}", operation="eq")
    for name in ("first", "second")
]


@pytest.mark.parametrize(
    ("name", "framework", "most"),
    [
        ("evaluate", ASYNC, 40),
        ("completions", ASYNC, 40),
        ("tasks", FLASK, 50),
        ("aggregate", FLASK, 50),
        ("health", FLASK, 50),
    ],
)
def test_readiness_needs_little(name: str, framework: str, most: int) -> None:
    """Beyond its framework and the standard library, a starting pod imports a few modules of ours, no client of the store."""
    program = IMPORTS.format(name=name, framework=framework)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = json.loads(done.stdout)
    foreign = {module.partition(".")[0] for module in imported} - sys.stdlib_module_names
    assert foreign <= WHAT_READINESS_NEEDS
    assert len(imported) <= most


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with sync_client(Settings(redis_url=redis_url)) as connected:
        yield connected


@pytest.fixture
async def aclient(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    connected = async_client(Settings(redis_url=redis_url))
    yield connected
    await connected.aclose()


def issued_run(client: redis.Redis, items: int) -> RunPlan:
    plan = new_run(client, ({"item": {"n": str(number)}} for number in range(items)), graders=GRADERS, window_items=items)
    RunStore(client).issue(plan.run_id, lease_s=60, attempts=3)
    return plan


async def nobody(_request: CompletionRequest, /) -> Completion:
    raise AssertionError("there is no judge")


async def evaluate(client: redis.asyncio.Redis, plan: RunPlan, reader: RedisRunReader) -> None:
    items = list(range(plan.item_count))
    wanted, judging = RunItems(run_id=plan.run_id, items=items), Judging(complete=nobody, marker=lambda: "m")
    done = await evaluate_items(wanted, judging, reader, deadline_s=time.monotonic() + 30)
    assert done is not None
    assert done.items == items
    await client.ping()  # after it, what nobody waits for has been sent as well


def reads(client: redis.Redis) -> int:
    """How often clients have sent something; what goes in one piece counts once."""
    return int(client.info("stats")["total_reads_processed"])


@pytest.mark.parametrize("items", [1, BATCH])
async def test_an_event_costs_evaluate_the_same_trips_whatever_it_carries(
    client: redis.Redis, aclient: redis.asyncio.Redis, items: int
) -> None:
    """It reads the plan, takes the items, keeps the verdicts, and lets go; but for the first ones, which connect."""
    reader, counts = RedisRunReader(aclient), []
    for _ in range(6):
        plan = issued_run(client, items)
        before = reads(client)
        await evaluate(aclient, plan, reader)
        counts.append(reads(client) - before)
    assert min(counts) <= 4 + 2, "beside the ping and the count itself"


@pytest.mark.parametrize("items", [1, BATCH])
async def test_an_event_costs_aggregate_the_same_trips_whatever_it_carries(
    client: redis.Redis, aclient: redis.asyncio.Redis, items: int
) -> None:
    """It reads the plan and the verdicts, and folds; but for the first one, which teaches the server the script."""
    runs, reader, counts = RunStore(client), RedisRunReader(aclient), []
    records = Records(runs, ResultStore(client), public_url="")
    for _ in range(3):
        plan = issued_run(client, items)
        await evaluate(aclient, plan, reader)
        before = reads(client)
        assert fold_items(RunItems(run_id=plan.run_id, items=list(range(items))), runs, records).completed
        counts.append(reads(client) - before)
    assert min(counts) <= 4 + 1, "beside the count itself; the fold of a batch arrives in two pieces"


async def test_a_result_is_small(client: redis.Redis, aclient: redis.asyncio.Redis) -> None:
    """What the store keeps of a deterministic verdict is less than a line of text."""
    plan = issued_run(client, BATCH)
    await evaluate(aclient, plan, RedisRunReader(aclient))
    found = [value for key in client.scan_iter(f"*{plan.run_id}*:v:*") for value in client.hvals(key)]
    assert sum(map(len, found)) / (BATCH * len(GRADERS)) <= 64
