"""One delivery over HTTP, and what its answer means to a broker."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol, Self

from common.errors import KnudgeError
from local.envelope import Envelope, from_http, is_event

if TYPE_CHECKING:
    from types import TracebackType

    import aiohttp

_RETRIED = frozenset({404, 408, 409, 429})  # and 5xx: eventing's pkg/kncloudevents/retries.go, SelectiveRetry
_BAD_GATEWAY = 502
_CONNECTION_FAILED = 500  # what Knative records when there was no answer at all
_MAX_REPLY_BYTES = 1024 * 1024
_KEPT_ALIVE_S = 1.0  # shorter than a server's own keep-alive, so that no request meets a connection being closed
_DEFAULT_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """``status`` is the subscriber's, 500 when it did not answer, 502 when its answer was no event; ``answer`` its body.

    ``reached`` is False when nobody took the connection.
    """

    status: int
    answer: bytes = b""
    reply: Envelope | None = None
    retry_after_s: float = 0.0
    reached: bool = True

    @property
    def delivered(self) -> bool:
        """True for a success; a redirection is none."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the range of success in HTTP

    @property
    def retryable(self) -> bool:
        """True when Knative would try again."""
        return self.status >= 500 or self.status in _RETRIED  # noqa: PLR2004 - server errors in HTTP


class Send(Protocol):
    """Delivers once."""

    async def __call__(self, url: str, envelope: Envelope, /, *, timeout_s: float | None, prefer_reply: bool) -> Outcome:
        """Post `envelope` to `url`; never raises for what the network or the subscriber does."""
        ...


class Courier:
    """`Send` over one pool of connections; an async context manager."""

    def __init__(self, *, max_connections: int = 512) -> None:
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        connector = aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=_KEPT_ALIVE_S)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def __call__(self, url: str, envelope: Envelope, /, *, timeout_s: float | None, prefer_reply: bool) -> Outcome:
        """See `Send`. Without `timeout_s` 600 s, the longest that Knative Serving lets a request take."""
        import aiohttp

        if self._session is None:
            msg = "a courier is used inside its context"
            raise RuntimeError(msg)
        headers = envelope.headers()
        if prefer_reply:
            headers["prefer"] = "reply"
        timeout = aiohttp.ClientTimeout(total=timeout_s or _DEFAULT_TIMEOUT_S)
        try:
            async with self._session.post(
                url, data=envelope.body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                answer = await _bounded(response)
                return _outcome(response.status, dict(_lowered(response)), answer, envelope)
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            reached = not isinstance(error, aiohttp.ClientConnectorError)
            return Outcome(_CONNECTION_FAILED, f"dispatch error: {type(error).__name__}".encode(), reached=reached)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_REPLY_BYTES:
            response.close()
            break
    return bytes(body)


def _lowered(response: aiohttp.ClientResponse) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in response.headers.items()]


def _outcome(status: int, headers: dict[str, str], answer: bytes, envelope: Envelope) -> Outcome:
    outcome = Outcome(status, answer, retry_after_s=_retry_after_s(headers.get("retry-after", "")))
    if not outcome.delivered:
        return outcome
    if len(answer) > _MAX_REPLY_BYTES:
        return Outcome(_BAD_GATEWAY, b"the reply is larger than 1 MiB")
    if is_event(headers):
        try:
            return Outcome(status, reply=from_http(headers, answer, hops=envelope.hops + 1))
        except KnudgeError as error:
            return Outcome(_BAD_GATEWAY, error.message.encode())
    if answer:  # eventing's broker filter: a reply is empty or an event
        return Outcome(_BAD_GATEWAY, answer)
    return outcome


def _retry_after_s(text: str) -> float:
    """Seconds in a ``Retry-After`` header, whichever of its two forms; 0 when there is none or it is unreadable."""
    if text.isdigit():
        return float(text)
    with contextlib.suppress(ValueError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return 0.0
