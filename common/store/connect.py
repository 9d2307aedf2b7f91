"""Clients of the Redis-protocol server: short timeouts, no hidden retries, foreign errors translated once."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar, cast

import hiredis
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from common.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from common.settings import Settings

C = TypeVar("C", bound=redis.asyncio.connection.AbstractConnection)


def sync_client(settings: Settings) -> redis.Redis:
    """A thread-safe client on a pool. Connects on first use."""
    timeout_s = settings.redis_timeout_s
    if (url := _cluster_url(settings.redis_url)) is not None:
        from common.store.cluster import SyncCluster

        return cast("redis.Redis", SyncCluster(url, timeout_s=timeout_s))  # repositories use what both have
    return redis.Redis.from_url(
        settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )


def async_client(settings: Settings) -> redis.asyncio.Redis:
    """A client for one event loop. Connects on first use."""
    from redis.asyncio.retry import Retry as AsyncRetry

    timeout_s = settings.redis_timeout_s
    if (url := _cluster_url(settings.redis_url)) is not None:
        from common.store.cluster import async_cluster

        return cast("redis.asyncio.Redis", async_cluster(url, timeout_s=timeout_s))  # as above
    client = redis.asyncio.Redis.from_url(
        settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=AsyncRetry(NoBackoff(), 0)
    )
    pool = client.connection_pool
    pool.connection_class = _packing(pool.connection_class)
    return client


def _packing(kind: type[C]) -> type[C]:
    """Connections of `kind` that have hiredis write their pipelines, as it reads the answers.

    redis-py does so in its blocking client only; its asyncio connections take six times as long, one word after the other.
    """
    return type(kind.__name__, (_Packing, kind), {})


class _Packing:
    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return [b"".join(hiredis.pack_command(tuple(command)) for command in commands)]


def _cluster_url(url: str) -> str | None:
    """The client library's URL of a cluster's node, for ``redis+cluster://`` and ``rediss+cluster://``; None for one server."""
    scheme, mark, rest = url.partition("+cluster://")
    return f"{scheme}://{rest}" if mark and scheme in {"redis", "rediss"} else None


@contextmanager
def store_errors() -> Iterator[None]:
    """Translate the client library's errors into `StoreUnavailable`; the cause stays attached for the log."""
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        msg = "the store is unavailable"
        raise StoreUnavailable(msg, retry_after_s=1.0) from error


@cache
def script(package: str, name: str) -> str:
    """Source of ``name`` within `package`'s ``lua`` folder."""
    return (files(package) / "lua" / name).read_text(encoding="utf-8")
