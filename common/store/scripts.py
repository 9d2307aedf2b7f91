"""Runs Lua scripts on the shared store, those of one moment together in one round trip."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common.errors import StoreUnavailable
from common.observability.logs import log
from common.store.connect import script, store_errors
from common.store.metrics import STORE_FAILURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

_MAX_BATCH = 256
Word = str | int | float | bytes


class Script:
    """A ``.lua`` file, of the gateway unless `package` says otherwise."""

    def __init__(self, name: str, *, package: str = "common.gateway") -> None:
        self.source = script(package, name)
        # What the server calls a script by; no secret depends on it.
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class _Job:
    """A script with its keys and arguments, or without one a plain command."""

    script: Script | None
    words: Sequence[Word]
    answer: asyncio.Future[list[Any]] = field(repr=False)


class ScriptRunner:
    """Scripts submitted in the same turn of the loop, or while a batch is under way, share one pipeline.

    So 100 calls at once need one connection and a handful of trips, not 100, and one caller alone waits for nobody. Batches
    go one after the other: scripts run in the order in which they were submitted.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: list[_Job] = []
        self._sender: asyncio.Task[None] | None = None
        self._loaded: set[str] = set()

    def submit(self, script: Script, keys: Sequence[str], args: Sequence[Word]) -> asyncio.Future[list[Any]]:
        """The script's answer, to be awaited. It runs even when nobody does. Raises `StoreUnavailable`."""
        return self._enqueue(script, [len(keys), *keys, *args])

    def ask(self, *command: str) -> asyncio.Future[Any]:
        """A plain command's answer, to be awaited; it goes in the same trip as scripts submitted with it."""
        return self._enqueue(None, command)

    def send_along(self, *command: str) -> None:
        """Run a plain command in the next trip. Nobody learns whether it worked."""
        self._enqueue(None, command).add_done_callback(_forget)

    def submit_along(self, script: Script, keys: Sequence[str], args: Sequence[Word]) -> None:
        """Run a script in the next trip. Nobody learns whether it worked."""
        self.submit(script, keys, args).add_done_callback(_forget)

    def _enqueue(self, script: Script | None, words: Sequence[Word]) -> asyncio.Future[list[Any]]:
        loop = asyncio.get_running_loop()
        job = _Job(script, words, loop.create_future())
        self._waiting.append(job)
        if self._sender is None:
            self._sender = loop.create_task(self._send())
        return job.answer

    async def drain(self) -> None:
        """Return when everything submitted has run."""
        while self._sender is not None:
            await asyncio.wait([self._sender])

    async def _send(self) -> None:
        batch: list[_Job] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
                await self._send_batch(batch)
        finally:
            self._sender = None
            for job in batch:
                job.answer.cancel()  # nothing happens to those that have their answer

    async def _send_batch(self, batch: list[_Job]) -> None:
        try:
            answers = await self._run(batch)
            if forgotten := [job for job, answer in zip(batch, answers, strict=True) if _is_forgotten(answer)]:
                # A server was restarted, or is another one of the cluster than those that know the script: only the whole
                # script reaches all of them. The batch's other answers stand.
                self._loaded.clear()
                again = iter(await self._run(forgotten, in_full=True))
                answers = [next(again) if _is_forgotten(answer) else answer for answer in answers]
        except StoreUnavailable as error:
            answers = [error] * len(batch)
        failures = [answer for answer in answers if isinstance(answer, Exception)]
        if failures:
            STORE_FAILURES.inc(amount=len(failures))
            log("store.scripts.failed", level=logging.ERROR, error=failures[0], calls=len(failures))
        for job, answer in zip(batch, answers, strict=True):
            if not job.answer.done():
                _resolve(job.answer, answer)

    async def _run(self, batch: list[_Job], *, in_full: bool = False) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        fresh: set[str] = set()
        for job in batch:
            pipeline.execute_command(*self._head(job.script, fresh, in_full=in_full), *job.words)
        with store_errors():
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
        self._loaded |= fresh
        return answers

    def _head(self, script: Script | None, fresh: set[str], *, in_full: bool) -> tuple[str, ...]:
        """The command's first words. A script goes out in full once; after that the server knows it by its digest."""
        if script is None:
            return ()
        known = not in_full and (script.digest in self._loaded or script.digest in fresh)
        fresh.add(script.digest)
        return ("EVALSHA", script.digest) if known else ("EVAL", script.source)


def _is_forgotten(answer: object) -> bool:
    from redis.exceptions import NoScriptError

    return isinstance(answer, NoScriptError)


def _resolve(answer: asyncio.Future[list[Any]], value: Any) -> None:
    if not isinstance(value, Exception):
        answer.set_result(value)
        return
    try:
        with store_errors():
            raise value
    except StoreUnavailable as error:
        answer.set_exception(error)


def _forget(done: asyncio.Future[Any]) -> None:
    """Nobody waits for it; the runner has logged and counted a failure."""
    if not done.cancelled():
        done.exception()
