"""Asks the shared store whether a caller's request may come in: one round trip, and none where nothing is limited."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from common.errors import StoreUnavailable
from common.limits import keys
from common.limits.load import EVERY_MS, KEEP_MS, follow_load
from common.limits.metrics import UNCHECKED
from common.limits.policy import Policies
from common.observability.logs import log
from common.store.connect import script, store_errors
from common.store.scripts import Script, ScriptRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis
    import redis.asyncio

    from common.limits.load import Command
    from common.limits.policy import Bucket, Policy, Scope
    from common.schemas.caller import Caller
    from common.schemas.config import GlobalLimit
    from common.settings import Settings

_KEEP_REFUSED_MS = 30 * 24 * 3_600_000
_AWAY_S = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request stands with the tightest of its limits.

    ``limit`` is the requests a minute of right now; ``remaining`` of its burst could come at once, the whole burst again in
    ``reset_s``. With a ``wait_s`` above 0 the request is refused, and would fit after so long.
    """

    scope: Scope
    limit: int
    remaining: int
    reset_s: float
    wait_s: float


class Callers:
    """Limits for callers, over a client of either runtime: with a blocking one, no coroutine here ever waits."""

    def __init__(self, settings: Settings, store: SharedStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._policies = Policies(settings, clock=clock)
        self._lease_s = settings.lease_s
        self._store = store
        self._clock = clock
        self._away_until_s = float("-inf")

    async def check(self, caller: Caller) -> Standing | None:
        """Take one request of `caller` out of its buckets, or say how long until that is possible. None: nothing limits it.

        One trip; once a second one caller in the cluster makes three more, if there is a global limit that follows the load.

        Raises:
            StoreUnavailable: nobody knows, and limits fail closed.
            Misconfigured: the limits cannot be read.
        """
        policy = self._policies.current()
        buckets = policy.buckets(caller)
        if not buckets:
            return None
        if self._clock() < self._away_until_s:
            UNCHECKED.inc("open")
            return None
        try:
            answer = await self._store.run(*_question(buckets))
        except StoreUnavailable as error:
            self._unchecked(policy, error)
            return None
        wait_ms, number, limit, remaining, reset_ms, factor, elapsed_ms = answer
        if factor and policy.tightened is not None:
            await self._follow_load(policy.tightened, float(factor), elapsed_ms / 1000)
        return Standing(buckets[number - 1].scope, limit, remaining, reset_ms / 1000, wait_ms / 1000)

    def _unchecked(self, policy: Policy, error: StoreUnavailable) -> None:
        """Let the request in, or raise. Who lets in does not wait for an absent store again and again."""
        how = "open" if policy.fails_open else "closed"
        UNCHECKED.inc(how)
        log("limits.unchecked", level=logging.ERROR, reason=error.message, policy=how)
        if not policy.fails_open:
            msg = "limits cannot be checked: the store is unavailable"
            raise StoreUnavailable(msg, retry_after_s=error.retry_after_s) from error
        self._away_until_s = self._clock() + _AWAY_S

    async def _follow_load(self, limit: GlobalLimit, factor: float, elapsed_s: float) -> None:
        """The request is decided by now: whatever happens here does not change that."""
        try:
            await follow_load(self._store.send, limit, factor, elapsed_s=elapsed_s, lease_s=self._lease_s)
        except StoreUnavailable as error:
            log("limits.load_unknown", level=logging.WARNING, error=error)


class SharedStore(Protocol):
    """What `Callers` needs of the store. Both raise `StoreUnavailable`, and are one trip."""

    async def run(self, names: list[str], arguments: list[str | int], /) -> list[Any]:
        """The script's answer."""
        ...

    async def send(self, commands: Sequence[Command], /) -> list[Any]:
        """The replies to `commands`."""
        ...


class AsyncStore:
    """On an event loop; scripts of one moment share a trip."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._runner = ScriptRunner(client)
        self._script = Script("callers.lua", package="common.limits")

    async def run(self, names: list[str], arguments: list[str | int], /) -> list[Any]:
        return await self._runner.submit(self._script, names, arguments)

    async def send(self, commands: Sequence[Command], /) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        with store_errors():
            replies: list[Any] = await pipeline.execute()
        return replies


class BlockingStore:
    """In threads; its coroutines never wait."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._script = client.register_script(script("common.limits", "callers.lua"))

    async def run(self, names: list[str], arguments: list[str | int], /) -> list[Any]:
        with store_errors():
            answer: list[Any] = self._script(keys=names, args=arguments)
        return answer

    async def send(self, commands: Sequence[Command], /) -> list[Any]:
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]  # not annotated there
            return pipeline.execute()


def _question(buckets: Sequence[Bucket]) -> tuple[list[str], list[str | int]]:
    names = [keys.bucket(bucket.scope, bucket.name) for bucket in buckets]
    every_ms = EVERY_MS if any(bucket.follows_load for bucket in buckets) else 0
    limits = [part for b in buckets for part in (b.scope, b.rpm, b.burst, int(b.follows_load))]
    return [keys.CALLERS_LOAD, keys.CALLERS_REFUSED, *names], [every_ms, KEEP_MS, _KEEP_REFUSED_MS, *limits]
