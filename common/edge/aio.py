"""Functions on functions-framework's async signature: Starlette in, ASGI out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from common.edge.exchange import STALLED_S, Incoming
from common.errors import InvalidInput, PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from starlette.requests import Request as StarletteRequest
    from starlette.types import Message, Receive, Scope, Send

    from common.edge.exchange import Outgoing
    from common.edge.function import Function

_BODILESS = frozenset({204, 304})
_LINGER_S = 1.0
_LINGER_BYTES = 4 * 1024 * 1024


def serve(function: Function, *, stalled_s: float = STALLED_S) -> Callable[[StarletteRequest], Awaitable[Answer]]:
    """The target for functions-framework: ``evaluate = functions_framework.aio.http(serve(function))``."""

    async def target(request: StarletteRequest) -> Answer:
        scope = request.scope
        headers = _joined(scope["headers"])
        body = _Body(request.receive, empty=_has_no_body(headers), stalled_s=stalled_s)
        incoming = Incoming(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, body)
        return Answer(await function.handle(incoming), body)

    target.__name__ = target.__qualname__ = function.name
    return target


def _joined(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name; repeated ones joined by commas (RFC 9110 section 5.3)."""
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1").lower(), value_bytes.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _has_no_body(headers: dict[str, str]) -> bool:
    return "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"


class _Body:
    """The request's body from ASGI messages."""

    def __init__(self, receive: Receive, *, empty: bool, stalled_s: float) -> None:
        self._receive = receive
        self._stalled_s = stalled_s
        self._gone = False
        self.complete = asyncio.Event()
        if empty:
            self.complete.set()

    async def read(self, limit: int, *, timeout_s: float) -> bytes:
        if self.complete.is_set():
            return b""
        try:
            async with asyncio.timeout(timeout_s):
                parts = [chunk async for chunk in self.chunks(limit)]
        except TimeoutError:
            msg = f"the body did not arrive within {timeout_s:g} s"
            raise InvalidInput(msg) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self, limit: int) -> AsyncIterator[bytes]:
        size = 0
        while not self.complete.is_set():
            chunk: bytes = (await self._next()).get("body", b"")
            size += len(chunk)
            if size > limit:
                msg = f"the body has more than {limit} bytes"
                raise PayloadTooLarge(msg)
            if chunk:
                yield chunk

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(self._stalled_s):
                message = await self._receive()
        except TimeoutError:
            msg = f"the body stalled for {self._stalled_s:g} s"
            raise InvalidInput(msg) from None
        if message["type"] == "http.disconnect":
            self._gone = True
            self.complete.set()
            msg = "the body ended early"
            raise InvalidInput(msg)
        if not message.get("more_body", False):
            self.complete.set()
        return message

    async def hang_up(self) -> None:
        """Return when the client has gone; nobody else may read at that time."""
        await self.complete.wait()
        while not self._gone:
            self._gone = (await self._receive())["type"] == "http.disconnect"

    async def linger(self) -> None:
        """Throw away what a refused client still sends, for a moment: closed at once, it would lose the answer to a reset."""
        with contextlib.suppress(TimeoutError, InvalidInput, PayloadTooLarge):
            async with asyncio.timeout(_LINGER_S):
                async for _ in self.chunks(_LINGER_BYTES):
                    pass


class Answer:
    """An ASGI application that sends one answer."""

    def __init__(self, outgoing: Outgoing, body: _Body) -> None:
        self._outgoing = outgoing
        self._body = body

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        broken: BaseException | None = None
        try:
            await self._send(send)
        except Exception as error:  # noqa: BLE001  # headers are out: all that is left is to break the connection and log
            broken = error
        finally:
            self._outgoing.finish(broken)

    async def _send(self, send: Send) -> None:
        out = self._outgoing
        if not isinstance(out.body, bytes):
            await self._stream(out.body, send)
            return
        unread = not self._body.complete.is_set()
        length = () if out.status in _BODILESS else ((b"content-length", str(len(out.body)).encode()),)
        await send(self._head(*length))
        await send({"type": "http.response.body", "body": out.body, "more_body": unread})
        if unread:
            await self._body.linger()
            await send({"type": "http.response.body", "body": b""})

    def _head(self, *more: tuple[bytes, bytes]) -> Message:
        """Of the answer as it begins now: a connection with a body that nobody has read is of no more use."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._outgoing.headers]
        if not self._body.complete.is_set():
            headers.append((b"connection", b"close"))
        return {"type": "http.response.start", "status": self._outgoing.status, "headers": [*headers, *more]}

    async def _stream(self, body: Iterator[bytes] | AsyncIterator[bytes], send: Send) -> None:
        """Send chunks until the end, or until the client hangs up: then the iterator is closed at once."""
        pump = asyncio.create_task(self._pump(body, send))
        watch = asyncio.create_task(self._body.hang_up())
        try:
            await asyncio.wait({pump, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pump.cancel()
            watch.cancel()
            await asyncio.gather(pump, watch, return_exceptions=True)
        if not pump.cancelled():
            pump.result()

    async def _pump(self, body: Any, send: Send) -> None:
        """The head goes with the first chunk where the body is still being read: it may have been read to its end by then."""
        chunks = _chunks(body)
        try:
            first = b"" if self._body.complete.is_set() else await anext(chunks, b"")
            await send(self._head())
            if first:
                await send({"type": "http.response.body", "body": first, "more_body": True})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            if hasattr(chunks, "aclose"):
                await chunks.aclose()
        await send({"type": "http.response.body", "body": b""})


def _chunks(body: Any) -> AsyncIterator[bytes]:
    if hasattr(body, "__aiter__"):
        chunks: AsyncIterator[bytes] = body
        return chunks
    from starlette.concurrency import iterate_in_threadpool

    return iterate_in_threadpool(body)
