"""``python -m bench.rig.model_server --port N``: stands in for a model and costs next to nothing, so as to be no bottleneck.

It does not read what it is asked. ``POST /<reply>/<latency ms>/v1/chat/completions`` answers with the chat completion of that
name in `REPLIES` after that latency; ``GET /livez`` answers 200. The bytes of an answer are made once.
"""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any

import click
import httptools
import uvloop

_GOOD = "The answer names the same city as the reference, and adds nothing that is wrong."
_BACKLOG = 2048


def _said(**fields: object) -> dict[str, Any]:
    return {"content": json.dumps(fields)}


def _called(name: str, **arguments: object) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}


# What a judge says that finds the sample right, in the form that each program asks for.
REPLIES: dict[str, dict[str, Any]] = {
    "knudge": _said(reason=_GOOD, score=5),
    "autoevals": _called("select_choice", reasons=_GOOD, choice="C"),
    "deepeval": _said(reason=_GOOD, score=10),
    "inspect": {"content": f"{_GOOD}\n\nGRADE: C"},
    "promptfoo": _said(reason=_GOOD, score=1, **{"pass": True}),
    "pydantic_evals": _called("final_result", reason=_GOOD, score=1, **{"pass": True}),
    "ragas": _said(reason=_GOOD, verdict=1),
}


@cache
def answer(reply: str) -> bytes:
    """The HTTP answer named `reply`, whole; a 404 if there is none of that name."""
    if reply not in REPLIES:
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
    message = {"role": "assistant", "refusal": None, **REPLIES[reply]}
    finish = "tool_calls" if "tool_calls" in message else "stop"
    completion = {
        "id": "chatcmpl-stand-in",
        "object": "chat.completion",
        "created": 1_767_225_600,
        "model": "stand-in",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {"prompt_tokens": 180, "completion_tokens": 30, "total_tokens": 210},
        "system_fingerprint": "simulated",
    }
    body = json.dumps(completion).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@cache
def _route(url: bytes) -> tuple[bytes, float]:
    """The answer to `url`, and the seconds before it."""
    if url == b"/livez":
        return b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 0.0
    reply, _, rest = url.decode("latin-1").removeprefix("/").partition("/")
    latency_ms = rest.partition("/")[0]
    return answer(reply), int(latency_ms) / 1000 if latency_ms.isdecimal() else 0.0


class _Connection(asyncio.Protocol):
    """One request after the other, as HTTP/1.1 without pipelining has it."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._transport: Any = None
        self._later = asyncio.get_running_loop().call_later

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_complete(self) -> None:
        said, after_s = _route(self._url)
        if after_s:
            self._later(after_s, self._transport.write, said)
        else:
            self._transport.write(said)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", port, backlog=_BACKLOG)
    await server.serve_forever()


@click.command()
@click.option("--port", type=int, required=True)
def main(port: int) -> None:
    """Serve until interrupted."""
    uvloop.run(_serve(port))


if __name__ == "__main__":
    main()
