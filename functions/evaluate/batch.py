"""Many evaluations in one request: NDJSON in, NDJSON out, each result as soon as it is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from common.edge.validation import parse
from common.errors import KnudgeError, PayloadTooLarge
from common.schemas.evaluation import EvaluationRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from common.schemas.evaluation import EvaluationResult

    Evaluate = Callable[[EvaluationRequest], Awaitable[EvaluationResult]]
    TakeTurn = Callable[[], Awaitable[None]]


async def evaluate_lines(
    chunks: AsyncIterator[bytes], evaluate: Evaluate, *, take_turn: TakeTurn, concurrency: int, max_line_bytes: int
) -> AsyncIterator[bytes]:
    """Result lines in the order they finish, those of one moment together; ``line`` counts input lines from 1.

    The first line is the request that its caller's limits have let in; each further one waits for its turn under them, and
    the body is not read on meanwhile.

    Reads on only while fewer than `concurrency` evaluations are under way. A line that is wrong, or fails, gives a line
    with an ``error`` and harms no other. Closing the iterator cancels what is under way.
    """
    finished: asyncio.Queue[bytes] = asyncio.Queue()  # b"" is the end
    slots = asyncio.Semaphore(concurrency)

    async def one(number: int, line: bytes) -> None:
        try:
            finished.put_nowait(await _result_line(number, line, evaluate, max_line_bytes=max_line_bytes))
        finally:
            slots.release()

    async def start_all(group: asyncio.TaskGroup) -> None:
        number, is_first = 0, True
        async for line in _lines(chunks, max_line_bytes):
            number += 1
            if line.strip() and (is_first or await may_go(number)):
                await slots.acquire()
                group.create_task(one(number, line))
            is_first = is_first and not line.strip()

    async def may_go(number: int) -> bool:
        try:
            await take_turn()
        except KnudgeError as error:
            finished.put_nowait(_error_line(number, error))
            return False
        return True

    async def read() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await start_all(group)
                except KnudgeError as error:  # the body itself is wrong: what was started before still counts
                    finished.put_nowait(_error_line(None, error))
        finally:
            finished.put_nowait(b"")

    reader = asyncio.create_task(read())
    try:
        async for chunk in _together(finished):
            yield chunk
        await reader
    finally:
        reader.cancel()


async def _together(finished: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    """What has finished at a moment in one piece, until the end."""
    is_over = False
    while not is_over:
        lines = [await finished.get()]
        while not finished.empty():
            lines.append(finished.get_nowait())
        is_over = not lines[-1]
        if any(lines):
            yield b"".join(lines)


async def _result_line(number: int, line: bytes, evaluate: Evaluate, *, max_line_bytes: int) -> bytes:
    if len(line) > max_line_bytes:
        return _error_line(number, PayloadTooLarge(f"the line is longer than {max_line_bytes} bytes"))
    try:
        result = await evaluate(parse(line, EvaluationRequest))
    except KnudgeError as error:
        return _error_line(number, error)
    return b'{"line":%d,' % number + result.model_dump_json().encode()[1:] + b"\n"


def _error_line(number: int | None, error: KnudgeError) -> bytes:
    problem = {"code": error.code, "message": error.message, "retryable": error.retryable, "pointer": error.pointer}
    return orjson.dumps({"line": number, "error": problem}) + b"\n"


async def _lines(chunks: AsyncIterator[bytes], max_line_bytes: int) -> AsyncIterator[bytes]:
    """Lines; of one that is too long no more is held than shows that it is."""
    held, enough = b"", max_line_bytes + 1
    async for chunk in chunks:
        *whole, rest = (held + chunk).split(b"\n")
        for line in whole:
            yield line[:enough]
        held = rest[:enough]
    if held:
        yield held
