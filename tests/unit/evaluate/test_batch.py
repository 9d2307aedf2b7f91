"""NDJSON in, NDJSON out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from common.edge.limiting import unmetered
from common.errors import Overloaded, RateLimited
from common.schemas.evaluation import EvaluationRequest, EvaluationResult, Verdict
from functions.evaluate.batch import evaluate_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GRADER = {"type": "string_check", "name": "same", "input": "a", "reference": "a", "operation": "eq"}


def line(number: int) -> bytes:
    return orjson.dumps({"item": {"n": number}, "graders": [GRADER]}) + b"\n"


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def judged(request: EvaluationRequest) -> EvaluationResult:
    verdict = Verdict(name="same", type="string_check", score=float(request.item["n"]), passed=True)
    return EvaluationResult(evaluation_id="evl", verdicts=[verdict])


async def results(chunks: AsyncIterator[bytes], **options: Any) -> list[dict[str, Any]]:
    limits = {"concurrency": 4, "max_line_bytes": 10_000, "evaluate": judged, "take_turn": unmetered, **options}
    found = b"".join([chunk async for chunk in evaluate_lines(chunks, **limits)])
    return [orjson.loads(result) for result in found.splitlines()]


@given(st.integers(0, 20), st.integers(1, 400))
def test_every_line_has_one_result_however_the_body_is_cut(count: int, size: int) -> None:
    """Each input line gives exactly one result with its number, whatever the chunks."""
    body = b"".join(line(n) for n in range(1, count + 1))
    cut = [body[i : i + size] for i in range(0, len(body), size)]
    found = asyncio.run(results(pieces(*cut)))
    assert sorted((r["line"], r["score"]) for r in found) == [(n, float(n)) for n in range(1, count + 1)]


async def test_a_bad_line_harms_no_other() -> None:
    """A line that is no evaluation gives an error with its pointer; its neighbours are judged."""
    found = await results(pieces(line(1), b'{"graders": []}\n', b"nonsense\n", b"\n", line(5)))
    by_line = {result["line"]: result for result in found}
    assert by_line[2]["error"]["code"] == "invalid_input"
    assert by_line[2]["error"]["pointer"] == "/graders"
    assert by_line[3]["error"]["code"] == "invalid_input"
    assert (by_line[1]["score"], by_line[5]["score"]) == (1.0, 5.0)
    assert set(by_line) == {1, 2, 3, 5}


async def test_results_stream_before_the_body_ends() -> None:
    """The first result is there while the second line has not been sent yet."""
    first_result = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield line(1)
        await first_result.wait()
        yield line(2)

    seen = []
    async for result in evaluate_lines(chunks(), judged, take_turn=unmetered, concurrency=2, max_line_bytes=10_000):
        seen.append(orjson.loads(result)["line"])
        first_result.set()
    assert seen == [1, 2]


async def test_results_of_one_moment_go_together() -> None:
    """What finishes while nobody reads is sent in one piece, whole lines only."""
    stream = evaluate_lines(
        pieces(*(line(n) for n in range(3))), judged, take_turn=unmetered, concurrency=3, max_line_bytes=10_000
    )
    chunks = [chunk async for chunk in stream]
    assert len(chunks) < 3
    assert all(chunk.endswith(b"\n") for chunk in chunks)


async def test_concurrency_is_bounded() -> None:
    """No more evaluations are under way than asked for, and the bound is reached."""
    running, most = 0, 0

    async def slow(request: EvaluationRequest) -> EvaluationResult:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return await judged(request)

    found = await results(pieces(*(line(n) for n in range(30))), concurrency=3, evaluate=slow)
    assert len(found) == 30
    assert most == 3


async def test_an_error_of_one_evaluation_is_its_result() -> None:
    """A retryable failure is told as such on its own line."""

    async def overloaded(_request: EvaluationRequest) -> EvaluationResult:
        raise Overloaded("all places are taken")

    (only,) = await results(pieces(line(1)), evaluate=overloaded)
    assert only["error"] == {"code": "overloaded", "message": "all places are taken", "retryable": True, "pointer": None}


async def test_a_line_that_is_too_long_harms_no_other() -> None:
    """A line over the limit, whole or in pieces, is an error with its number; its neighbours are judged."""
    long = b"x" * 9_000
    found = await results(pieces(line(1) + long + long + b"\n" + line(3), long, long, long + b"\n" + line(5), long, long))
    assert sorted(result["line"] for result in found if "error" not in result) == [1, 3, 5]
    assert {result["line"]: result["error"]["code"] for result in found if "error" in result} == dict.fromkeys(
        (2, 4, 6), "payload_too_large"
    )


async def test_closing_the_results_cancels_what_is_under_way() -> None:
    """A client that hangs up leaves no evaluation running."""
    cancelled = asyncio.Event()

    async def endless(request: EvaluationRequest) -> EvaluationResult:
        if request.item["n"] == 1:
            return await judged(request)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    stream = evaluate_lines(pieces(line(1), line(2)), endless, take_turn=unmetered, concurrency=2, max_line_bytes=10_000)
    assert orjson.loads(await anext(stream))["line"] == 1
    await stream.aclose()
    await asyncio.wait_for(cancelled.wait(), 2)


async def test_each_further_line_waits_for_its_turn() -> None:
    """The first line came in with the request; every other one is counted, and one refused is an error that harms no other."""
    turns = 0

    async def take_turn() -> None:
        nonlocal turns
        turns += 1
        if turns == 2:
            raise RateLimited("slower", retry_after_s=5)

    found = await results(pieces(b"\n", line(1), b"\n", line(2), line(3), line(4)), take_turn=take_turn)
    assert turns == 3
    codes = {result["line"]: result.get("error", {}).get("code") for result in found}
    assert codes == {2: None, 4: None, 5: "rate_limited", 6: None}
