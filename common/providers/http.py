"""The HTTP client under all providers: aiohttp, made on first use, one for each event loop.

Timeouts, body limits and error translation live here, so that a provider's file holds its wire format and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from common.errors import InvalidInput, MalformedReply, ProviderError, ProviderUnavailable
from common.providers.faults import from_exception, from_status
from common.providers.rates import rate_hints

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    import aiohttp

    from common.errors import RateHints

MAX_REPLY_BYTES = 32 * 1024 * 1024
MAX_EVENT_BYTES = 8 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_MAX_CONNECTIONS = 1000
_KEEPALIVE_S = 15.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Call:
    """One exchange. ``model`` names it in errors; ``secret`` is cut out of them; ``timeout_s`` bounds all of it.

    When the answer is streamed, ``timeout_s`` bounds the first byte and then the silence between two pieces.
    """

    url: str
    headers: Mapping[str, str]
    model: str
    timeout_s: float
    body: Mapping[str, Any] | None = None
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx answer that is a JSON object; header names in lower case; ``hints`` are what they say of the provider's limits."""

    data: dict[str, Any]
    headers: Mapping[str, str]
    hints: RateHints | None = None


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event; ``hints`` came with the head of the answer."""

    event: str
    data: bytes
    hints: RateHints | None = None


class Http:
    """Nothing is imported, opened or resolved before the first call.

    Args:
        now: Unix time in seconds, for waits that a provider gives as a date.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, call: Call) -> Reply:
        """POST ``call.body`` as JSON, or GET without one. Raises `ProviderError`."""
        try:
            async with asyncio.timeout(call.timeout_s), await self._ask(call) as response:
                content = await _read(response, MAX_REPLY_BYTES, call.model)
        except _foreign() as error:
            raise from_exception(error, model=call.model) from error
        headers = _headers(response)
        return Reply(_object(content, call.model), headers, rate_hints(headers, now_s=self._now()))

    async def events(self, call: Call) -> AsyncGenerator[ServerEvent]:
        """Server-sent events of the answer to a POST. Closing the iterator closes the connection. Raises `ProviderError`."""
        # Each read has a timeout of its own, and none is open while the consumer has the word: it may take its time, and it
        # may go on in another task.
        patience_s = asyncio.get_running_loop().time() + call.timeout_s
        try:
            async with asyncio.timeout_at(patience_s):
                response = await self._ask(call)
            async with response:
                parser = EventParser(call.model, rate_hints(_headers(response), now_s=self._now()))
                chunks = response.content.iter_any()
                while chunk := await _next(chunks, patience_s):
                    for event in parser.feed(chunk):
                        yield event
                    patience_s = asyncio.get_running_loop().time() + call.timeout_s
        except _foreign() as error:
            raise from_exception(error, model=call.model) from error

    async def aclose(self) -> None:
        """Close every connection. A later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, call: Call) -> aiohttp.ClientResponse:
        """A 200, whose body is still to be read."""
        content = None if call.body is None else _encoded(call.body)
        method = "GET" if content is None else "POST"
        tls = self._tls if call.url.startswith("https:") else True
        response = await self._open().request(
            method, call.url, data=content, headers=call.headers, allow_redirects=False, ssl=tls
        )
        if response.status != _OK:
            async with response:
                raise await self._refusal(response, call)
        return response

    async def _refusal(self, response: aiohttp.ClientResponse, call: Call) -> ProviderError:
        try:
            body = orjson.loads(await _read(response, _MAX_ERROR_BYTES, call.model))
        except (orjson.JSONDecodeError, MalformedReply):
            body = None
        return from_status(
            response.status,
            body,
            headers=_headers(response),
            model=call.model,
            secret=call.secret,
            now_s=self._now(),
        )

    def error_inside(self, body: Any, call: Call) -> ProviderError:
        """The error that a vendor reports within a 200, as OpenRouter does, or as an event of a stream."""
        return from_status(0, body, headers={}, model=call.model, secret=call.secret, now_s=self._now())

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Trusts whom the system, or the file that ``SSL_CERT_FILE`` names, trusts; an image may have none: then certifi's."""
        import ssl

        import certifi

        return ssl.create_default_context(cafile=ssl.get_default_verify_paths().cafile or certifi.where())

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=_KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"user-agent": "knudge", "accept-encoding": "identity", "content-type": "application/json"},
                timeout=aiohttp.ClientTimeout(),  # asyncio.timeout above bounds the whole exchange, these would only its parts
            )
        return self._session


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidInput("the request holds what JSON cannot carry: half a character, or a number over 64 bits") from error


def _foreign() -> tuple[type[Exception], ...]:
    import aiohttp

    return (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError)


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


async def _next(chunks: AsyncIterator[bytes], read_by_s: float) -> bytes:
    async with asyncio.timeout_at(read_by_s):
        return await anext(chunks, b"")


async def _read(response: aiohttp.ClientResponse, limit: int, model: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise MalformedReply(f"{model}: the provider's answer is longer than {limit} bytes", model=model, status=_OK)
        parts.append(chunk)
    return b"".join(parts)


def _object(content: bytes, model: str) -> dict[str, Any]:
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise MalformedReply(f"{model}: the provider's answer is not JSON", model=model, status=_OK) from error
    if not isinstance(data, dict):
        raise MalformedReply(f"{model}: the provider's answer is not a JSON object", model=model, status=_OK)
    return data


class EventParser:
    """Server-sent events out of bytes cut anywhere.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html. Lines may end in LF or
    CRLF; a lone CR, which no model server sends, does not end one. Holds at most `MAX_EVENT_BYTES`.
    """

    def __init__(self, model: str, hints: RateHints | None = None) -> None:
        self._model = model
        self._hints = hints
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Events that `chunk` completes. Raises `ProviderUnavailable` when one grows without end."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._size += len(chunk)
        events = [event for line in lines if (event := self._line(line.removesuffix(b"\r")))]
        if self._size > MAX_EVENT_BYTES:
            raise ProviderUnavailable(f"{self._model}: an event of the stream has no end", model=self._model)
        return events

    def _line(self, line: bytes) -> ServerEvent | None:
        if line:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                self._data.append(value)
            elif field == b"event":
                self._name = value.decode("utf-8", "replace")
            return None
        event = ServerEvent(self._name, b"\n".join(self._data), self._hints) if self._data else None
        self._name, self._data, self._size = "", [], 0
        return event
