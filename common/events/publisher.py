"""Events to the broker: many at once, from threads, over one background event loop."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import random
import threading
import uuid
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from common.errors import Overloaded
from common.events.codec import encode_binary
from common.observability.logs import log
from common.observability.metrics import EVENTS_PUBLISHED
from common.schemas.cloudevent import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import aiohttp

    Outcomes = Callable[[Sequence[tuple[Event, str]]], None]

_ATTEMPTS = 3
_RETRY_S = 0.05
_SUCCESS = range(200, 300)
_RETRIED = frozenset({429, 503})
_CONNECT_S = 2.0
_GRACE_S = 1.0


def new_event(
    type: str,  # noqa: A002  # the attribute's name in CloudEvents
    source: str,
    subject: str | None,
    data: Any,
    *,
    id: str | None = None,  # noqa: A002  # as above
    traceparent: str | None = None,
) -> Event:
    """An event that happens now. `id` defaults to a random one; ``dataschema`` follows from `type`."""
    return Event(
        id=id or str(uuid.uuid4()),
        type=type,
        source=source,
        subject=subject,
        data=data,
        dataschema=f"urn:knudge:schema:{type}",
        time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        traceparent=traceparent,
    )


class Publisher:
    """Posts events to `broker_url`, at most `max_in_flight` at a time, each within `timeout_s`.

    Some brokers answer only when every subscriber has, so events never wait for each other, and a timeout means
    *unknown*: it is logged and counted, not raised, because the item's lease stays and the reconciler decides.
    Nothing runs before the first event: a server that forks its workers afterwards finds every worker with its own loop.
    """

    def __init__(self, broker_url: str, *, timeout_s: float = 10.0, max_in_flight: int = 64, max_queued: int = 10_000) -> None:
        self._url = broker_url
        self._timeout_s = timeout_s
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._starting = threading.Lock()
        self._loop: _Loop | None = None

    def __call__(self, events: Sequence[Event], /) -> None:
        """`publish`, as the port `common.ports.Publish` has it."""
        self.publish(events)

    def publish(self, events: Sequence[Event]) -> bool:
        """Post all `events` and wait until each was accepted, refused or timed out.

        Returns:
            True when each was accepted; False when the fate of one is unknown.

        Raises:
            Overloaded: the broker refused at least one, or cannot be reached.
        """
        if not events:
            return True
        loop = self._running()
        done = asyncio.run_coroutine_threadsafe(loop.post_all([_Encoded.of(event) for event in events]), loop.loop)
        rounds = -(-len(events) // self._max_in_flight)
        try:
            outcomes = done.result(timeout=rounds * self._timeout_s + _GRACE_S)
        except FutureTimeout:
            done.cancel()
            log("events.publish_unknown", level=logging.WARNING, events=len(events))
            return False
        if refused := outcomes.count("refused"):
            msg = f"the broker did not accept {refused} of {len(events)} events"
            raise Overloaded(msg, retry_after_s=1.0)
        return outcomes.count("accepted") == len(events)

    def publish_soon(self, events: Sequence[Event], *, then: Outcomes | None = None) -> bool:
        """Queue all `events` for the background and return at once; False, and nothing queued, when there is no room.

        `then` is called in a thread, once, with each event and its outcome: ``accepted``, ``refused`` or ``unknown``.
        """
        encoded = [_Encoded.of(event) for event in events]
        loop = self._running()
        if not loop.reserve(len(encoded)):
            EVENTS_PUBLISHED.inc("queue_full", amount=len(encoded))
            log("events.queue_full", level=logging.WARNING, events=len(encoded))
            return False
        asyncio.run_coroutine_threadsafe(loop.post_reserved(encoded, then), loop.loop)
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Wait up to `timeout_s` for what is queued, then stop. The next event starts anew."""
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is not None and loop.pid == os.getpid():
            loop.stop(timeout_s)

    def _running(self) -> _Loop:
        loop = self._loop
        if loop is None or loop.pid != os.getpid():
            with self._starting:
                loop = self._loop
                if loop is None or loop.pid != os.getpid():
                    loop = self._loop = _Loop(self._url, self._timeout_s, self._max_in_flight, self._max_queued)
                    atexit.register(self.close)
        return loop


class _Loop:
    """One daemon thread with an event loop and an HTTP client that lives on it."""

    def __init__(self, url: str, timeout_s: float, max_in_flight: int, max_queued: int) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._url = url
        self._timeout_s = timeout_s
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._slots = asyncio.Semaphore(max_in_flight)
        self._queued = 0
        self._counting = threading.Condition()
        self._session: aiohttp.ClientSession | None = None
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def reserve(self, count: int) -> bool:
        """Take `count` places in the queue, or none."""
        with self._counting:
            fits = self._queued + count <= self._max_queued
            self._queued += count if fits else 0
            return fits

    async def post_reserved(self, events: Sequence[_Encoded], then: Outcomes | None) -> None:
        """Post events that have their places, tell `then`, and give the places back."""
        try:
            outcomes = await self.post_all(events)
            if then is not None:
                await _in_thread(then, [(event.event, outcome) for event, outcome in zip(events, outcomes, strict=True)])
        except Exception as error:  # noqa: BLE001  # nobody awaits this: what `then` raises would be lost
            log("events.follow_up_failed", level=logging.ERROR, error=error, events=len(events))
        finally:
            with self._counting:
                self._queued -= len(events)
                self._counting.notify_all()

    async def post_all(self, events: Sequence[_Encoded]) -> list[str]:
        """Post all, at the same time; ``accepted``, ``refused`` or ``unknown`` for each."""
        outcomes = await asyncio.gather(*(self._post(event) for event in events))
        for outcome in outcomes:
            EVENTS_PUBLISHED.inc(outcome)
        return outcomes

    async def _post(self, event: _Encoded) -> str:
        async with self._slots:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._try(event)
            except TimeoutError:
                log("events.publish_unknown", level=logging.WARNING, event_type=event.event.type, event_id=event.event.id)
                return "unknown"

    async def _try(self, event: _Encoded) -> str:
        """``accepted`` or ``refused``. Lost connections and 429 and 503 are tried again, twice: events may come double."""
        import aiohttp

        reason: object = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_RETRY_S * 4**attempt * random.random())  # noqa: S311  # jitter, no secret
            try:
                reason = await self._status(event)
            except (aiohttp.ClientError, OSError, RuntimeError) as error:  # RuntimeError: no name lookups as the process ends
                reason = type(error).__name__
                continue
            if reason in _SUCCESS:
                return "accepted"
            if reason not in _RETRIED:
                break
        log(
            "events.publish_refused", level=logging.WARNING, event_type=event.event.type, event_id=event.event.id, reason=reason
        )
        return "refused"

    async def _status(self, event: _Encoded) -> int:
        """What the broker answers. Its body is read, so that the connection can be used again."""
        async with self._http().post(self._url, data=event.body, headers=event.headers, allow_redirects=False) as response:
            await response.read()
            return response.status

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_in_flight),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def stop(self, timeout_s: float) -> None:
        """Wait for the queue to empty, close the client, end the thread."""
        with self._counting:
            self._counting.wait_for(lambda: not self._queued, timeout=timeout_s)
            left = self._queued
        if left:
            log("events.dropped_at_exit", level=logging.ERROR, events=left)
        closing = asyncio.run_coroutine_threadsafe(self._close(), self.loop)
        with contextlib.suppress(FutureTimeout, CancelledError):
            closing.result(timeout=_GRACE_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=_GRACE_S)
        if not self._thread.is_alive():
            self.loop.close()

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        await self.loop.shutdown_default_executor()


async def _in_thread(then: Outcomes, outcomes: list[tuple[Event, str]]) -> None:
    """Call `then` off the loop; a process that ends starts no more threads, and nobody waits for its loop."""
    if threading.main_thread().is_alive():
        await asyncio.to_thread(then, outcomes)
    else:
        then(outcomes)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """An event ready to be sent. Encoding happens in the caller's thread, where a mistake has somebody to go to."""

    event: Event
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, event: Event) -> _Encoded:
        headers, body = encode_binary(event)
        trace = {"traceparent": event.traceparent} if event.traceparent else {}
        return cls(event, headers | trace, body)
