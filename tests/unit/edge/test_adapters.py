"""Corners of the two adapters that a well-behaved server never shows; the rest is in tests/contract/edge."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import flask
import pytest
from starlette.requests import Request as StarletteRequest

from common.edge import aio, wsgi
from common.edge.exchange import STALLED_S
from common.edge.function import Function
from common.edge.http import Request, Response, Route, json_response
from common.edge.surface import Surface
from common.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import Message


def function(handler: Any, *, streams_body: bool = False) -> Function:
    routes = [Route("POST", "/", handler, "Test", streams_body=streams_body), Route("GET", "/", handler, "Test")]
    return Function("unit", Settings(auth=False), lambda: Surface(routes), ready=dict, authenticate=lambda _token: None)


def size(request: Request) -> Response:
    return json_response({"size": len(request.body)})


class Client:
    """The other side of ASGI: what it sends, and everything it gets."""

    def __init__(self, *messages: Message, then_hangs_up: bool = False) -> None:
        self.messages = list(messages)
        self.then_hangs_up = then_hangs_up
        self.got: list[Message] = []
        self.started = asyncio.Event()

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        if self.then_hangs_up:
            await self.started.wait()
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.got.append(message)
        if message.get("body"):
            self.started.set()

    async def call(
        self, target: Function, *headers: tuple[bytes, bytes], method: str = "POST", stalled_s: float = STALLED_S
    ) -> None:
        scope = {"type": "http", "method": method, "path": "/", "query_string": b"", "headers": list(headers)}
        answer = await aio.serve(target, stalled_s=stalled_s)(StarletteRequest(scope, self.receive))
        await answer(scope, self.receive, self.send)

    @property
    def status(self) -> int:
        status: int = self.got[0]["status"]
        return status

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.got)


def piece(content: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


CHUNKED = (b"transfer-encoding", b"chunked")


async def test_targets_are_plain_functions_with_the_functions_name() -> None:
    """functions-framework finds targets by name and takes plain functions only."""
    for serve in (aio.serve, wsgi.serve):
        target = serve(function(size))
        assert type(target).__name__ == "function"
        assert target.__name__ == "unit"


async def test_bodies_come_in_pieces() -> None:
    """A body is put together from however many messages the server makes of it."""
    client = Client(piece(b"ab"), piece(b""), piece(b"c", more=False))
    await client.call(function(size), CHUNKED)
    assert json.loads(client.body) == {"size": 3}


async def test_bodies_that_never_come_are_given_up() -> None:
    """A client that stops in the middle of its body is refused when its time is over, and does not hold its place."""
    client = Client(piece(b"ab"))
    await client.call(function(size), CHUNKED, (b"x-knudge-deadline-s", b"0.05"))
    assert client.status == 400
    assert b"did not arrive" in client.body


async def test_stalled_streams_are_given_up() -> None:
    """A route that streams its body does not wait for the next piece for ever."""

    async def count(request: Request) -> Response:
        assert request.chunks is not None
        return json_response([len(chunk) async for chunk in request.chunks])

    client = Client(piece(b"ab"))
    await client.call(function(count, streams_body=True), CHUNKED, stalled_s=0.05)
    assert client.status == 400
    assert b"stalled" in client.body


async def test_repeated_headers_are_joined() -> None:
    """A header that comes twice reaches the handler as one list, as RFC 9110 has it."""

    def accepted(request: Request) -> Response:
        return json_response(request.headers["accept"])

    client = Client()
    await client.call(function(accepted), (b"Accept", b"a"), (b"accept", b"b"), method="GET")
    assert json.loads(client.body) == "a,b"


async def test_hang_ups_close_async_and_plain_iterators() -> None:
    """Whichever kind of iterator is streamed, it is closed when the client goes."""
    closed: list[str] = []

    async def lines() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0)
        finally:
            closed.append("async")

    client = Client(then_hangs_up=True)
    await client.call(function(lambda _request: Response(body=lines())), method="GET")
    assert closed == ["async"]
    assert client.got[-1].get("more_body") is True


async def test_plain_iterators_stream_too() -> None:
    """An async function may answer with a plain iterator, which does not hold up its loop."""
    client = Client()
    await client.call(function(lambda _request: Response(body=iter([b"a", b"b"]))), method="GET")
    assert client.body == b"ab"
    assert client.got[-1] == {"type": "http.response.body", "body": b""}


@pytest.mark.parametrize(("reads", "connection"), [(2, None), (1, b"close")])
async def test_a_stream_closes_the_connection_only_where_a_body_is_left(reads: int, connection: bytes | None) -> None:
    """What an answer says of its connection is decided by its first chunk: by then most bodies have been read."""

    def echoed(request: Request) -> Response:
        async def lines() -> AsyncIterator[bytes]:
            assert request.chunks is not None
            yield b"".join([await anext(request.chunks) for _ in range(reads)])

        return Response(body=lines())

    client = Client(piece(b"a"), piece(b"b", more=False))
    await client.call(function(echoed, streams_body=True), CHUNKED)
    assert client.body == b"ab"[:reads]
    assert dict(client.got[0]["headers"]).get(b"connection") == connection


async def test_answers_without_content_have_no_length() -> None:
    """204 and 304 carry no Content-Length (RFC 9110 section 8.6)."""
    client = Client()
    await client.call(function(lambda _request: Response(204, content_type="")), method="GET")
    assert b"content-length" not in dict(client.got[0]["headers"])


def answer_of(handler: Any, **options: Any) -> flask.Response:
    app = flask.Flask("unit")
    with app.test_request_context("/", **options):
        return wsgi.serve(function(handler))(flask.request)


def test_flask_answers_are_streamed() -> None:
    """functions-framework reads what is left of a request before any answer that is not streamed, so all are."""
    answer = answer_of(size, method="POST", data=b"abc")
    assert answer.is_streamed
    assert answer.headers["content-length"] == "10"
    assert answer.get_data() == b'{"size":3}'


def test_flask_answers_without_content_have_no_length() -> None:
    """204 carries no Content-Length here either."""
    assert "content-length" not in answer_of(lambda _request: Response(204, content_type="")).headers


def test_flask_streams_are_closed() -> None:
    """When the server is done with an answer, its iterator is closed, started or not."""
    closed: list[str] = []

    class Lines:
        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            return b"x"

        def close(self) -> None:
            closed.append("closed")

    answer_of(lambda _request: Response(body=Lines())).close()
    assert closed == ["closed"]


def test_flask_handlers_cannot_wait() -> None:
    """A handler that waits on a loop in a Flask function is a bug that says so."""

    async def wait(_request: Request) -> Response:
        await asyncio.sleep(0)
        return Response()

    with pytest.raises(RuntimeError, match="must not wait"):
        answer_of(wait)
