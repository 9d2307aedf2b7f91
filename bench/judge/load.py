"""``python -m bench.judge.load``: asks `evaluate` for judgements, with the protocol of ``drivers/driving.py``.

A line of its input is a `Wanted` as JSON, whose messages it makes; the next line, whatever it says, has them sent. Connections
are kept, and each has one request under way.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httptools
import uvloop

from bench.judge.drivers.driving import CRITERION, Case, cases

_RIGHT = b'"passed":true,"usage"'  # of the whole evaluation, not of a verdict
_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """``count`` judgements by ``model``, ``lines`` a request (1: ``POST /``, more: ``POST /batch``), ``in_flight`` at once.

    With ``keeps`` each has an ``evaluation_id``, so that its verdict goes to the store before it is answered. The first
    requests of all connections are spread over ``spread_s``.
    """

    base_url: str
    model: str
    key: str
    count: int
    in_flight: int
    lines: int
    keeps: bool = True
    spread_s: float = 0.0


def evaluation(case: Case, model: str) -> dict[str, Any]:
    """A 1-5 judgement of one answer against its reference."""
    shown = (
        f"{CRITERION}\nQuestion: {{{{item.question}}}}\nReference: {{{{item.expected}}}}\nAnswer: {{{{sample.output_text}}}}"
    )
    grader = {
        "type": "score_model",
        "name": "correct",
        "model": model,
        "input": [{"role": "user", "content": shown}],
        "range": [1, 5],
        "pass_threshold": 4,
    }
    item = {"question": case.question, "expected": case.expected}
    return {"item": item, "sample": {"output_text": case.answer}, "graders": [grader]}


def _messages(wanted: Wanted) -> list[bytes]:
    once = uuid.uuid4().hex
    bodies = [
        json.dumps({**evaluation(case, wanted.model), **({"evaluation_id": f"{once}-{i}"} if wanted.keeps else {})})
        for i, case in enumerate(cases(wanted.count))
    ]
    chunks = ["\n".join(bodies[i : i + wanted.lines]) for i in range(0, len(bodies), wanted.lines)]
    path, kind = ("/", "application/json") if wanted.lines == 1 else ("/batch", "application/x-ndjson")
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {urlsplit(wanted.base_url).netloc}\r\n"
        f"authorization: Bearer {wanted.key}\r\ncontent-type: {kind}\r\ncontent-length: "
    )
    return [f"{head}{len(chunk.encode())}\r\n\r\n{chunk}".encode() for chunk in chunks]


class _Connection(asyncio.Protocol):
    """A connection with one request under way; ``keeps`` says whether the server takes another one."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._parser: Any = None
        self._parts: list[bytes] = []
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.keeps = True

    def ask(self, message: bytes) -> asyncio.Future[bytes]:
        """Send; the answer's body, to be awaited."""
        self._answer = asyncio.get_running_loop().create_future()
        self._parser, self._parts = httptools.HttpResponseParser(self), []
        self._transport.write(message)
        return self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.keeps = False
        if not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.keeps = False
            self._transport.close()
        self._answer.set_result(b"".join(self._parts))


async def _judge(wanted: Wanted, messages: list[bytes]) -> int:
    where, waiting = urlsplit(wanted.base_url), iter(messages)
    host, port = where.hostname or "127.0.0.1", where.port or 80
    loop = asyncio.get_running_loop()

    opened = max(1, wanted.in_flight // wanted.lines)

    async def work(number: int) -> int:
        right, connection = 0, None
        await asyncio.sleep(number / opened * wanted.spread_s)
        for message in waiting:
            if connection is None or not connection.keeps:
                _, connection = await loop.create_connection(_Connection, host, port)
            right += (await connection.ask(message)).count(_RIGHT)
        return right

    async with asyncio.timeout(_LIMIT_S):
        return sum(await asyncio.gather(*(work(number) for number in range(opened))))


def main() -> None:
    """Serve lines until the input ends: one to make messages for, one to send them."""
    for line in sys.stdin:
        wanted = Wanted(**json.loads(line))
        messages = _messages(wanted)
        print(json.dumps({"made": len(messages)}), flush=True)
        sys.stdin.readline()
        print(json.dumps({"right": uvloop.run(_judge(wanted, messages))}), flush=True)


if __name__ == "__main__":
    main()
