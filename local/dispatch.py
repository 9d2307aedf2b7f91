"""The broker's rules: who gets an event, how often it is tried, what becomes of replies and dead letters.

These are Knative's (eventing's ``pkg/broker``, ``pkg/kncloudevents``, ``pkg/channel/fanout``), with two differences:
``Retry-After`` is respected without the ``retryAfterMax`` that is still alpha there, up to 30 s; and a subscriber gets no
more requests at a time than its Service's ``containerConcurrency``, which is the queue-proxy's part in a cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from common.observability.logs import log
from local.courier import Outcome
from local.envelope import MAX_HOPS, Envelope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from local.courier import Send
    from local.faults import Faults
    from local.manifests import Destination, Trigger, Wiring

Mode = Literal["async", "sync"]
_MAX_RETRY_AFTER_S = 30.0
_MAX_COUNTED_TYPES = 1000
_UNDELIVERED_REPLY = Outcome(500, b"the reply could not be delivered")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Broker:
    """Carries events between the functions of one machine.

    ``addresses`` maps functions to base URLs, and ``broker`` to its own, for dead letters. In mode ``async`` an event is
    accepted first and delivered after; in ``sync`` the publisher waits until every subscriber, and every reply's own way
    through the broker, is done, as with Knative's in-memory channel by default. At most ``capacity`` accepted events are
    under way. ``further`` has the base URLs of the other processes of functions that have several, which take turns.
    """

    wiring: Wiring
    addresses: Mapping[str, str]
    send: Send
    faults: Faults
    mode: Mode = "async"
    capacity: int = 10_000
    further: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], datetime] = _utc_now
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    trigger_counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._in_flight = 0
        self._types: set[str] = set()
        self._turns: Counter[str] = Counter()
        self._slots = {
            name: asyncio.Semaphore(service.concurrency * (1 + len(self.further.get(name, ()))))
            for name, service in self.wiring.functions.items()
            if service.concurrency > 0
        }

    @property
    def full(self) -> bool:
        """True when no further event is accepted now."""
        return max(self._in_flight, len(self._tasks)) >= self.capacity

    async def accept(self, envelope: Envelope) -> bool:
        """Take an event from a publisher. False: somebody did not get it, and it is no dead letter either (``sync`` only)."""
        self._count(envelope, "received")
        log("broker.received", level=logging.DEBUG, event_type=envelope.type, event_id=envelope.attributes["id"])
        work = self.publish(envelope.arrived(self.now()))
        if self.mode == "sync":
            return await work
        self._spawn(work)
        return True

    def refuse(self, envelope: Envelope) -> None:
        """Count an event that found the broker full."""
        self._count(envelope, "refused")

    async def publish(self, envelope: Envelope) -> bool:
        """Deliver to every subscriber at once; True when each took it, or its dead-letter sink did."""
        if envelope.hops > MAX_HOPS:
            self._count(envelope, "looped")
            return True
        triggers = [trigger for trigger in self.wiring.triggers if trigger.matches(envelope.attributes)]
        if not triggers:
            self._count(envelope, "unmatched")
            return True
        self._in_flight += 1
        try:
            if len(triggers) == 1:
                return await self._hand_over(triggers[0], envelope)
            return all(await asyncio.gather(*(self._hand_over(trigger, envelope) for trigger in triggers)))
        finally:
            self._in_flight -= 1

    async def tick(self) -> None:
        """Publish every PingSource's events, for ever."""
        await asyncio.gather(*(self._tick(index) for index in range(len(self.wiring.ticks))))

    async def close(self) -> None:
        """Give up what is under way: like the in-memory channel, a broker that stops forgets."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stats(self) -> dict[str, Any]:
        """Counts by event type and by trigger since the start, and how many events are under way."""
        return {
            "mode": self.mode,
            "in_flight": self._in_flight,
            "capacity": self.capacity,
            "types": _nested(self.counts),
            "triggers": _nested(self.trigger_counts),
        }

    async def _hand_over(self, trigger: Trigger, envelope: Envelope) -> bool:
        copies = self.faults.times()
        if copies != 1:
            self._tally(trigger, envelope, "lost" if copies == 0 else "duplicated")
        if delay_s := self.faults.delay_s():
            self._tally(trigger, envelope, "reordered")
            await self.sleep(delay_s)
        results = [await self._deliver(trigger, envelope) for _ in range(copies)]
        return all(results)

    async def _deliver(self, trigger: Trigger, envelope: Envelope) -> bool:
        outcome = await self._tried(trigger, envelope, lambda: self._post(trigger, trigger.subscriber, envelope))
        if not outcome.delivered:
            return await self._bury(trigger, envelope, self._url(trigger.subscriber), outcome)
        self._tally(trigger, envelope, "delivered")
        if outcome.reply is None:
            return True
        reply = outcome.reply
        self._tally(trigger, envelope, "replied")
        if await self._spawn(self.accept(reply)):  # a task of its own, so that a long chain is no deep stack
            return True
        return await self._bury(trigger, envelope, self.addresses.get("broker", ""), _UNDELIVERED_REPLY)

    async def _bury(self, trigger: Trigger, envelope: Envelope, failed_url: str, outcome: Outcome) -> bool:
        sink = trigger.delivery.dead_letter
        log(
            "broker.delivery_failed",
            level=logging.WARNING,
            trigger=trigger.name,
            event_type=envelope.type,
            event_id=envelope.attributes["id"],
            status=outcome.status,
        )
        if sink is not None:
            letter = envelope.failed(destination=failed_url, code=outcome.status, answer=outcome.answer)
            burial = await self._tried(trigger, letter, lambda: self._post(trigger, sink, letter, prefer_reply=False))
            if burial.delivered:
                self._tally(trigger, envelope, "dead_lettered")
                return True
        self._tally(trigger, envelope, "dropped")
        return False

    async def _tried(self, trigger: Trigger, envelope: Envelope, once: Callable[[], Awaitable[Outcome]]) -> Outcome:
        delivery = trigger.delivery
        for attempt in range(delivery.retry):
            outcome = await once()
            if outcome.delivered or not outcome.retryable:
                return outcome
            self._tally(trigger, envelope, "retried")
            await self.sleep(max(delivery.wait_s(attempt), min(outcome.retry_after_s, _MAX_RETRY_AFTER_S)))
        return await once()

    async def _post(self, trigger: Trigger, to: Destination, envelope: Envelope, *, prefer_reply: bool = True) -> Outcome:
        timeout_s = trigger.delivery.timeout_s
        async with self._slots.get(to.function) or contextlib.nullcontext():
            for url in self._next_urls(to):
                outcome = await self.send(url, envelope, timeout_s=timeout_s, prefer_reply=prefer_reply)
                if outcome.reached:
                    break
            return outcome

    def _url(self, to: Destination) -> str:
        return f"{self.addresses[to.function]}{to.uri}"

    def _next_urls(self, to: Destination) -> list[str]:
        """A function's processes, in turn: a retry goes to another one. The others are for when that is away."""
        places = [self.addresses[to.function], *self.further.get(to.function, ())]
        self._turns[to.function] += 1
        first = self._turns[to.function] % len(places)
        return [f"{place}{to.uri}" for place in (*places[first:], *places[:first])]

    async def _tick(self, index: int) -> None:
        tick = self.wiring.ticks[index]
        while True:
            now = self.now()
            await self.sleep(max(0.0, (tick.schedule.after(now) - now).total_seconds()))
            moment = self.now()
            attributes = {
                "specversion": "1.0",
                "id": f"{tick.name}-{moment.timestamp():.3f}",
                "type": "dev.knative.sources.ping",
                "source": f"/apis/v1/namespaces/local/pingsources/{tick.name}",
                "time": moment.isoformat().replace("+00:00", "Z"),
            }
            envelope = Envelope(attributes, tick.data, tick.content_type)
            self._count(envelope, "received")
            self._spawn(self.publish(envelope.arrived(moment)))

    def _spawn(self, work: Coroutine[Any, Any, bool]) -> asyncio.Task[bool]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _tally(self, trigger: Trigger, envelope: Envelope, what: str) -> None:
        self._count(envelope, what)
        self.trigger_counts[trigger.name, what] += 1

    def _count(self, envelope: Envelope, what: str) -> None:
        kind = envelope.type
        if kind not in self._types:
            if len(self._types) >= _MAX_COUNTED_TYPES:
                kind = "other"
            self._types.add(kind)
        self.counts[kind, what] += 1


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (name, what), count in sorted(counts.items()):
        nested.setdefault(name, {})[what] = count
    return nested
