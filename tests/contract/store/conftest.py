"""A client on an empty database, and runs to play with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from common.settings import Settings
from common.store.connect import async_client, sync_client
from common.store.runs import RunStore
from tests.support.runs import new_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import redis
    import redis.asyncio

    from common.schemas.runs import RunPlan

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
def make_run(client: redis.Redis) -> Callable[..., RunPlan]:
    def make(items: int = 10, *, window: int = 4, **fields: Any) -> RunPlan:
        return new_run(client, items, window_items=window, **fields)

    return make
