"""One of several gateway processes: ``python -m bench.gateway.member``, started by `bench.gateway.fleet`.

Reads its job as a line of JSON, says ``ready``, begins when the next line comes, stops beginning calls at the one after that
or when standard input ends, and writes what became of every call as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import count
from random import Random
from typing import Any

import uvloop

from common.errors import KnudgeError
from common.gateway.gateway import Gateway
from common.schemas.completion import CompletionRequest, Message, Origin
from common.schemas.config import GatewayConfig
from common.settings import Settings
from common.store.connect import async_client


@dataclass(frozen=True, slots=True)
class Job:
    """What a member does: each of ``callers`` makes one call after the other until told to stop, or ``calls`` of them.

    Callers take ``models`` in turn. ``pause_s`` is slept after each call, half of it to one and a half. ``same`` makes all
    requests equal; otherwise each prompt is its own. A code in ``enough`` ends its caller.
    """

    redis_url: str
    config: dict[str, Any]
    models: list[str]
    callers: int = 1
    calls: int | None = None
    deadline_s: float = 30.0
    pause_s: float = 0.0
    max_tokens: int = 64
    words: int = 20
    same: bool = False
    enough: list[str] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A call that ended at ``ended_s`` (unix time) after ``latency_ms``; ``code`` is ``ok`` or the error's."""

    process: int
    model: str
    ended_s: float
    latency_ms: float
    code: str
    cost_microusd: int | None = None


class Member:
    """A gateway and its callers."""

    def __init__(self, job: Job, gateway: Gateway) -> None:
        self._job = job
        self._gateway = gateway
        self._rng = Random(job.seed)
        self._stopped = asyncio.Event()
        self.made: list[Made] = []

    async def work(self) -> None:
        """Let all callers call until they are done."""
        await asyncio.gather(*(self._call_on(number) for number in range(self._job.callers)))

    def stop(self) -> None:
        """Begin no more calls."""
        self._stopped.set()

    async def _call_on(self, caller: int) -> None:
        model = self._job.models[caller % len(self._job.models)]
        for number in count():
            if self._stopped.is_set() or number == self._job.calls:
                return
            made = await self._call(model, f"{self._job.seed} {caller} {number}")
            self.made.append(made)
            if made.code in self._job.enough:
                return
            if self._job.pause_s:
                await asyncio.sleep(self._job.pause_s * (0.5 + self._rng.random()))

    async def _call(self, model: str, name: str) -> Made:
        text = " ".join(["Say", "" if self._job.same else name, *["hello"] * self._job.words])
        began_s = time.monotonic()
        request = CompletionRequest(
            model=model,
            messages=(Message("user", text),),
            max_tokens=self._job.max_tokens,
            deadline_s=began_s + self._job.deadline_s,
            origin=Origin(**self._job.origin),
        )
        code, cost = "ok", None
        try:
            cost = (await self._gateway.complete(request)).call.cost_microusd
        except KnudgeError as error:
            code = error.code
        return Made(self._job.seed, model, time.time(), (time.monotonic() - began_s) * 1000, code, cost)


async def _main() -> None:
    lines = await _stdin()
    job = Job(**json.loads(await lines.readline()))
    client = async_client(Settings(redis_url=job.redis_url))
    gateway = Gateway(GatewayConfig.model_validate(job.config), client, settings=Settings())
    member = Member(job, gateway)
    await client.ping()
    print("ready", flush=True)
    await lines.readline()
    working = asyncio.create_task(member.work())
    told = asyncio.create_task(lines.readline())
    await asyncio.wait([working, told], return_when=asyncio.FIRST_COMPLETED)
    member.stop()
    await working
    told.cancel()
    await gateway.aclose()
    await client.aclose()
    print(json.dumps([asdict(made) for made in member.made]), flush=True)


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # refusals by the hundred are what some benches are about
    uvloop.run(_main())
