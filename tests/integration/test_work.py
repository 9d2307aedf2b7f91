"""How much work a judgement is, counted in calls of functions: a bound that no machine changes.

It is close above what is there: whoever needs more says so here. Times are measured by ``bin/bench``.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request as StarletteRequest

from common.bootstrap import async_parts
from common.edge import aio
from common.edge.function import Function
from common.edge.surface import Surface
from common.settings import Settings
from functions.evaluate.handler import Handler
from functions.evaluate.single import Judging
from tests.support.providers import simulating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BATCH = 50
SCORE = {
    "type": "score_model",
    "name": "correct",
    "model": "sim:judge",
    "input": [{"role": "user", "content": "Reference: {{item.expected}}\nAnswer: {{sample.output_text}}"}],
    "range": [1, 5],
    "pass_threshold": 4,
}


@pytest.fixture
async def judging(redis_url: str, tmp_path: Path) -> AsyncIterator[Function]:
    """`evaluate` in this process, with a hard budget, and the simulator over HTTP for a judge."""
    with simulating() as (url, _):
        config = {
            "providers": {"sim": {"kind": "simulator", "base_url": url}},
            "models": {"sim:judge": {"rpm": 10**9, "price": {"input_per_mtok_usd": 1.0, "output_per_mtok_usd": 4.0}}},
            "budgets": {"projects": {"default": 10**9}},
        }
        (tmp_path / "gateway.json").write_text(json.dumps(config))
        parts = async_parts(Settings(redis_url=redis_url, auth=False, config_path=tmp_path / "gateway.json"))
        handler = Handler(parts.settings, Judging(parts.complete, parts.marker), parts.runs, parts.evaluations)
        surface = Surface(handler.routes(), handler.events())
        yield Function("evaluate", parts.settings, lambda: surface, ready=parts.ready, authenticate=parts.authenticate)
        await parts.gateway.aclose()
        await parts.client.aclose()


async def post(function: Function, path: str, body: bytes) -> bytes:
    """What `function` answers; ASGI as a server speaks it, without one."""
    messages, sent = [{"type": "http.request", "body": body}], asyncio.Queue[bytes]()

    async def receive() -> Any:
        return messages.pop() if messages else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.put_nowait(message.get("body", b""))

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    answer = await aio.serve(function)(StarletteRequest(scope, receive))
    await answer(scope, receive, send)
    return b"".join(sent.get_nowait() for _ in range(sent.qsize()))


def evaluations(count: int) -> list[bytes]:
    ids = [secrets.token_hex(8) for _ in range(count)]
    return [
        json.dumps(
            {"item": {"expected": f"Rome {i}"}, "sample": {"output_text": "Rome"}, "graders": [SCORE], "evaluation_id": i}
        ).encode()
        for i in ids
    ]


async def in_batches(function: Function, bodies: list[bytes]) -> bytes:
    batches = [b"\n".join(bodies[i : i + BATCH]) for i in range(0, len(bodies), BATCH)]
    return b"".join([await post(function, "/batch", batch) for batch in batches])


async def singly(function: Function, bodies: list[bytes]) -> bytes:
    return b"".join([await post(function, "/", body) for body in bodies])


@pytest.mark.parametrize(("ask", "most"), [(in_batches, 2050), (singly, 4500)])
async def test_a_judgement_takes_few_calls_of_functions(judging: Function, ask: Any, most: int) -> None:
    """From the bytes of a request to those of its answer, libraries included; going on with a coroutine is a call, too."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    await ask(judging, evaluations(BATCH))  # imports, connections
    bodies = evaluations(4 * BATCH)
    sys.setprofile(count)
    try:
        found = await ask(judging, bodies)
    finally:
        sys.setprofile(None)
    assert found.count(b'"score":') == 2 * len(bodies)  # of the verdict, and of the evaluation
    assert calls / len(bodies) <= most
