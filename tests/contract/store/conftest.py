"""A client on an empty database, and runs to play with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.schemas.graders import StringCheckGrader
from common.schemas.runs import RunPlan
from common.settings import Settings
from common.store.connect import async_client, sync_client
from common.store.datasets import DatasetStore
from common.store.runs import RunStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import redis
    import redis.asyncio

GRADERS = [StringCheckGrader(type="string_check", name=name, input="", reference="", operation="eq") for name in ("a", "b")]

MakeRun = "Callable[..., RunPlan]"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with sync_client(Settings(redis_url=redis_url)) as connected:
        yield connected


@pytest.fixture
async def aclient(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    connected = async_client(Settings(redis_url=redis_url))
    yield connected
    await connected.aclose()


@pytest.fixture
def runs(client: redis.Redis) -> RunStore:
    return RunStore(client)


@pytest.fixture
def make_run(client: redis.Redis, runs: RunStore) -> Callable[..., RunPlan]:
    def make(items: int = 10, *, window: int = 4, eval_id: str = "eval_1") -> RunPlan:
        identity = runs.new_identity()
        run_id, created_at = identity.id("run"), identity.created_at
        with DatasetStore(client).writer(max_bytes=1 << 20) as writer:
            for number in range(items):
                writer.write_object({"item": {"n": number}})
            dataset = writer.finish(f"run:{run_id}")
        plan = RunPlan(
            run_id=run_id,
            eval_id=eval_id,
            eval_version=1,
            name="r",
            created_at=created_at,
            dataset_id=dataset.dataset_id,
            item_count=items,
            graders=list(GRADERS),
            data_source={},
            window_items=window,
        )
        runs.create(plan)
        return plan

    return make
