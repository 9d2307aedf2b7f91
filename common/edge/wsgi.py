"""Functions on functions-framework's plain signature: Flask in, Flask out."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any

from flask import Response as FlaskResponse
from werkzeug.exceptions import ClientDisconnected

from common.edge.exchange import STALLED_S, Incoming
from common.errors import InvalidInput, PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from flask import Request as FlaskRequest

    from common.edge.exchange import Outgoing
    from common.edge.function import Function

_CHUNK = 64 * 1024
_LINGER_S = 1.0
_LINGER_BYTES = 4 * 1024 * 1024
_BODILESS = frozenset({204, 304})


def serve(function: Function) -> Callable[[FlaskRequest], FlaskResponse]:
    """The target for functions-framework: ``tasks = functions_framework.http(serve(function))``."""

    def target(request: FlaskRequest) -> FlaskResponse:
        body = _Body(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        incoming = Incoming(request.method, request.path, request.query_string.decode("latin-1"), headers, body)
        return _respond(_run(function.handle(incoming)), body)

    target.__name__ = target.__qualname__ = function.name
    return target


def _run(coroutine: Coroutine[Any, Any, Outgoing]) -> Outgoing:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: Outgoing = stop.value
        return result
    coroutine.close()
    msg = "a Flask function's handler, probe or key lookup must not wait on an event loop"
    raise RuntimeError(msg)


class _Body:
    """The request's body from the WSGI stream."""

    def __init__(self, request: FlaskRequest) -> None:
        self._request = request
        self._socket = request.environ.get("gunicorn.socket")
        self.complete = not request.content_length and "transfer-encoding" not in request.headers

    async def read(self, limit: int, *, timeout_s: float) -> bytes:  # noqa: ARG002  # a thread waits at most STALLED_S a piece
        return b"".join(self.chunks(limit))

    def chunks(self, limit: int) -> Iterator[bytes]:
        size = 0
        while not self.complete:
            chunk = self._next()
            size += len(chunk)
            if size > limit:
                msg = f"the body has more than {limit} bytes"
                raise PayloadTooLarge(msg)
            if chunk:
                yield chunk

    def _next(self) -> bytes:
        self._wait_at_most(STALLED_S)
        try:
            chunk = self._request.stream.read(_CHUNK)
        except (ClientDisconnected, OSError) as error:
            self.complete = True
            msg = "the body ended early or stalled"
            raise InvalidInput(msg) from error
        finally:
            self._wait_at_most(None)
        self.complete = not chunk
        return chunk

    def linger(self) -> None:
        """Throw away what a refused client still sends, for a moment: closed at once, it would lose the answer to a reset."""
        until_s = time.monotonic() + _LINGER_S
        left = _LINGER_BYTES
        try:
            while self._socket is not None and left > 0 and not self.complete and (wait_s := until_s - time.monotonic()) > 0:
                self._wait_at_most(wait_s)
                chunk = self._request.stream.read(min(left, _CHUNK))
                left -= len(chunk)
                self.complete = not chunk
        except (ClientDisconnected, OSError):
            self.complete = True
        finally:
            self._wait_at_most(None)

    def _wait_at_most(self, timeout_s: float | None) -> None:
        """Gunicorn's threads read with no timeout of their own, so that slow clients could take all of them."""
        if self._socket is not None:
            self._socket.settimeout(timeout_s)


def _respond(outgoing: Outgoing, body: _Body) -> FlaskResponse:
    """Always streamed: functions-framework reads what is left of a request into memory before any other kind of answer."""
    response = _Answer(_Chunks(outgoing, body), status=outgoing.status)
    response.headers.clear()
    for name, value in outgoing.headers:
        response.headers.add(name, value)
    if isinstance(outgoing.body, bytes) and outgoing.status not in _BODILESS:
        response.headers["content-length"] = str(len(outgoing.body))
    if not body.complete:
        response.headers["connection"] = "close"
    return response


class _Answer(FlaskResponse):
    """Gunicorn drops an answer's ``connection: close``; it closes, and says so, when its own object is told to."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        server: Any = getattr(start_response, "__self__", None)
        if self.headers.get("connection") == "close" and hasattr(server, "force_close"):
            server.force_close()
        return super().__call__(environ, start_response)


class _Chunks:
    """The answer's bytes. A WSGI server calls `close` in the end, whatever happened."""

    def __init__(self, outgoing: Outgoing, body: _Body) -> None:
        self._outgoing = outgoing
        self._body = body
        self._parts: Any = iter((outgoing.body,)) if isinstance(outgoing.body, bytes) else outgoing.body

    def __iter__(self) -> _Chunks:
        return self

    def __next__(self) -> bytes:
        try:
            part: bytes = next(self._parts)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001  # headers are out: all that is left is to break the connection and log
            self._outgoing.finish(error)
            raise ConnectionResetError(errno.ECONNRESET, "the answer broke off") from None
        return part

    def close(self) -> None:
        if hasattr(self._parts, "close"):
            self._parts.close()
        self._body.linger()
        self._outgoing.finish(None)
