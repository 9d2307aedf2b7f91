"""The local broker against real HTTP subscribers that misbehave in every way it has a rule for."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from local.broker import create_app
from local.courier import Courier
from local.dispatch import Broker, Mode
from local.envelope import Envelope
from local.faults import Faults
from local.manifests import Delivery, Destination, FunctionService, Tick, Trigger, Wiring
from local.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

CE = {"ce-specversion": "1.0", "ce-id": "r1", "ce-source": "/test"}
SINK = Destination("sink", "/dead-letters")


@dataclass
class Subscriber:
    """An HTTP server whose paths answer as they are told, one answer a request; the last one repeats. Keeps what came."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    got: dict[str, list[tuple[dict[str, str], bytes]]] = field(default_factory=lambda: defaultdict(list))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.got[request.path].append(({name.lower(): value for name, value in request.headers.items()}, body))
        answers = self.answers.get(request.path, [])
        if not answers:
            return web.Response(status=204)
        return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    made = Subscriber()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


def reply(kind: str, data: str = "{}", **attributes: str) -> Answer:
    extra = {f"ce-{name}": value for name, value in attributes.items()}
    headers = {**CE, "ce-type": kind, "content-type": "application/json", **extra}

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=data, headers=headers)

    return answer


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def trigger(kind: str, path: str, delivery: Delivery | None = None) -> Trigger:
    return Trigger(f"to{path}", {"type": kind}, Destination("evaluate", path), delivery or Delivery())


def event(kind: str, data: bytes = b"{}", **attributes: str) -> Envelope:
    return Envelope({"specversion": "1.0", "id": "e1", "type": kind, "source": "/s", **attributes}, data, "application/json")


@dataclass
class Clock:
    """Time that passes only where the broker sleeps."""

    moment: datetime = datetime(2026, 11, 21, tzinfo=UTC)
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    def now(self) -> datetime:
        return self.moment


@pytest.fixture
async def courier() -> AsyncIterator[Courier]:
    async with Courier() as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker_of(subscriber: Subscriber, courier: Courier, clock: Clock) -> Callable[..., Broker]:
    def make(*triggers: Trigger, mode: Mode = "sync", concurrency: int = 100, **options: Any) -> Broker:
        services = {name: FunctionService(name, {}, concurrency, 60) for name in ("evaluate", "sink")}
        options.setdefault("faults", Faults())
        ticks = options.pop("ticks", ())
        wiring = Wiring("knudge", triggers, services, ticks)
        urls = {**dict.fromkeys(services, subscriber.url), "broker": "http://broker"}
        return Broker(wiring, urls, courier, mode=mode, sleep=clock.sleep, now=clock.now, **options)

    return make


async def test_delivers_to_every_matching_trigger(broker_of: Callable[..., Broker], subscriber: Subscriber) -> None:
    """An event goes to each subscriber whose filter it passes, and to no other."""
    broker = broker_of(trigger("a", "/1"), trigger("a", "/2"), trigger("b", "/3"))
    assert await broker.accept(event("a", b'{"n":1}', subject="run/1"))
    assert set(subscriber.got) == {"/1", "/2"}
    headers, body = subscriber.got["/1"][0]
    assert body == b'{"n":1}'
    assert headers["ce-subject"] == "run/1"
    assert headers["prefer"] == "reply"
    assert headers["ce-knativearrivaltime"] == "2026-11-21T00:00:00Z"
    assert broker.stats()["types"] == {"a": {"delivered": 2, "received": 1}}


async def test_an_event_nobody_wants_is_accepted(broker_of: Callable[..., Broker]) -> None:
    """Events without a trigger are dropped without an error, and counted."""
    broker = broker_of()
    assert await broker.accept(event("a"))
    assert broker.stats()["types"] == {"a": {"received": 1, "unmatched": 1}}


@pytest.mark.parametrize("code", [500, 502, 503, 404, 408, 409, 429])
async def test_retried_statuses(broker_of: Callable[..., Broker], subscriber: Subscriber, clock: Clock, code: int) -> None:
    """5xx and the four retryable 4xx are tried again, with waits that double, until one try succeeds."""
    subscriber.answers["/1"] = [status(code), status(code), status(code), status(204)]
    broker = broker_of(trigger("a", "/1", Delivery(retry=5, backoff_delay_s=0.5)))
    assert await broker.accept(event("a"))
    assert clock.slept == [0.5, 1.0, 2.0]
    assert broker.stats()["triggers"]["to/1"] == {"delivered": 1, "retried": 3}


@pytest.mark.parametrize("code", [400, 401, 403, 413, 422, 301, 307])
async def test_statuses_that_are_final(broker_of: Callable[..., Broker], subscriber: Subscriber, code: int) -> None:
    """Other 4xx and redirections are tried once and become dead letters at once."""
    subscriber.answers["/1"] = [status(code, b"no thanks", location="/2")]
    broker = broker_of(trigger("a", "/1", Delivery(retry=5, dead_letter=SINK)))
    assert await broker.accept(event("a"))
    assert len(subscriber.got["/1"]) == 1
    assert "/2" not in subscriber.got
    letter, body = subscriber.got["/dead-letters"][0]
    assert body == b"{}"
    assert letter["ce-type"] == "a"
    assert letter["ce-knativeerrorcode"] == str(code)
    assert letter["ce-knativeerrordest"] == f"{subscriber.url}/1"
    assert letter["ce-knativeerrordata"] == "bm8gdGhhbmtz"
    assert "prefer" not in letter


@pytest.mark.parametrize("answer", [hang, reset])
async def test_no_answer_is_retried(broker_of: Callable[..., Broker], subscriber: Subscriber, answer: Answer) -> None:
    """A subscriber that hangs past the delivery's timeout or drops the connection gets the event again."""
    subscriber.answers["/1"] = [answer, status(200)]
    broker = broker_of(trigger("a", "/1", Delivery(retry=1, timeout_s=0.2)))
    assert await broker.accept(event("a"))
    assert len(subscriber.got["/1"]) == 2


async def test_nobody_listens(broker_of: Callable[..., Broker], subscriber: Subscriber, unused_tcp_port: int) -> None:
    """A refused connection counts as 500, is retried, and ends as a dead letter that says so."""
    broker = broker_of(trigger("a", "/1", Delivery(retry=2, dead_letter=SINK)))
    broker.addresses = {**broker.addresses, "evaluate": f"http://127.0.0.1:{unused_tcp_port}"}
    assert await broker.accept(event("a"))
    assert subscriber.got["/dead-letters"][0][0]["ce-knativeerrorcode"] == "500"
    assert broker.stats()["types"]["a"] == {"dead_lettered": 1, "received": 1, "retried": 2}


async def test_processes_of_a_function_take_turns(broker_of: Callable[..., Broker], subscriber: Subscriber) -> None:
    """Deliveries go to the processes of a function in turn, and a retry goes to another one than the try that failed."""
    subscriber.answers["/second/1"] = [status(503), status(204)]
    broker = broker_of(trigger("a", "/1", Delivery(retry=1)), further={"evaluate": [f"{subscriber.url}/second"]})
    for _ in range(3):
        assert await broker.accept(event("a"))
    assert (len(subscriber.got["/1"]), len(subscriber.got["/second/1"])) == (2, 2)


async def test_a_process_that_is_away_is_gone_round(
    broker_of: Callable[..., Broker], subscriber: Subscriber, unused_tcp_port: int
) -> None:
    """What nobody takes at one process of a function goes to the next at once: a Service has no pods that are gone."""
    broker = broker_of(trigger("a", "/1"), further={"evaluate": [f"http://127.0.0.1:{unused_tcp_port}"]})
    for _ in range(3):
        assert await broker.accept(event("a"))
    assert len(subscriber.got["/1"]) == 3
    assert "retried" not in broker.stats()["types"]["a"]


async def test_retry_after_is_respected_and_bounded(
    broker_of: Callable[..., Broker], subscriber: Subscriber, clock: Clock
) -> None:
    """A subscriber's Retry-After lengthens the wait, up to 30 s; a shorter or unreadable one changes nothing."""
    waits = ["7", "0", "86400", "soon", "Fri, 01 Jan 2100 00:00:00 GMT"]
    subscriber.answers["/1"] = [*(status(503, Retry_After=wait) for wait in waits), status(204)]
    broker = broker_of(trigger("a", "/1", Delivery(retry=5, backoff_policy="linear", backoff_delay_s=0.5)))
    assert await broker.accept(event("a"))
    assert clock.slept == [7.0, 0.5, 30.0, 1.5, 30.0]


async def test_replies_are_published(broker_of: Callable[..., Broker], subscriber: Subscriber) -> None:
    """A CloudEvent in the answer goes back into the broker and to its own subscribers."""
    subscriber.answers["/1"] = [reply("b", '{"done":true}')]
    broker = broker_of(trigger("a", "/1"), trigger("b", "/2"))
    assert await broker.accept(event("a"))
    headers, body = subscriber.got["/2"][0]
    assert (headers["ce-type"], headers["ce-id"], json.loads(body)) == ("b", "r1", {"done": True})
    assert broker.stats()["types"] == {
        "a": {"delivered": 1, "received": 1, "replied": 1},
        "b": {"delivered": 1, "received": 1},
    }


@pytest.mark.parametrize(
    "answer",
    [
        status(200, b"OK"),
        status(200, b"{}", Content_Type="application/json"),
        status(200, b"[]", Content_Type="application/cloudevents+json"),
        status(200, b"x" * (1024 * 1024 + 1)),
    ],
    ids=["text", "json", "no event", "too large"],
)
async def test_an_answer_that_is_no_event_is_a_failure(
    broker_of: Callable[..., Broker], subscriber: Subscriber, answer: Answer
) -> None:
    """A success with a body that is no CloudEvent counts as 502: tried again, then dead-lettered, as in Knative."""
    subscriber.answers["/1"] = [answer]
    broker = broker_of(trigger("a", "/1", Delivery(retry=1, dead_letter=SINK)))
    assert await broker.accept(event("a"))
    assert len(subscriber.got["/1"]) == 2
    assert subscriber.got["/dead-letters"][0][0]["ce-knativeerrorcode"] == "502"


async def test_dead_letters_are_retried_too(broker_of: Callable[..., Broker], subscriber: Subscriber) -> None:
    """The sink gets as many tries as the subscriber; when it fails as well, a synchronous publisher learns of it."""
    subscriber.answers = {"/1": [status(500)], "/dead-letters": [status(503), status(204)]}
    broker = broker_of(trigger("a", "/1", Delivery(retry=1, dead_letter=SINK)))
    assert await broker.accept(event("a"))
    subscriber.answers["/dead-letters"] = [status(500)]
    assert not await broker.accept(event("a"))
    assert broker.stats()["types"]["a"]["dropped"] == 1


async def test_sync_fails_when_a_subscriber_of_the_reply_fails(
    broker_of: Callable[..., Broker], subscriber: Subscriber
) -> None:
    """Without a dead-letter sink on the way, a failure anywhere down the chain reaches the synchronous publisher."""
    subscriber.answers = {"/1": [reply("b")], "/2": [status(500)]}
    assert not await broker_of(trigger("a", "/1"), trigger("b", "/2")).accept(event("a"))
    broker = broker_of(trigger("a", "/1", Delivery(dead_letter=SINK)), trigger("b", "/2"))
    assert await broker.accept(event("a"))
    assert subscriber.got["/dead-letters"][0][0]["ce-knativeerrordest"] == "http://broker"


async def test_async_answers_before_delivery(broker_of: Callable[..., Broker], subscriber: Subscriber) -> None:
    """In asynchronous mode the publisher does not wait, the chain of replies completes all the same."""
    subscriber.answers = {"/1": [reply("b")], "/2": [status(500), status(204)]}
    broker = broker_of(trigger("a", "/1"), trigger("b", "/2", Delivery(retry=1)), mode="async")
    assert await broker.accept(event("a"))
    assert subscriber.got == {}
    await _until(lambda: broker.stats()["types"].get("b", {}).get("delivered") == 1)
    assert broker.stats()["in_flight"] == 0


async def test_replies_cannot_circle_for_ever(broker_of: Callable[..., Broker], subscriber: Subscriber) -> None:
    """An event that keeps coming back as a reply is dropped after 255 rounds."""
    subscriber.answers["/1"] = [reply("a")]
    broker = broker_of(trigger("a", "/1"))
    assert await broker.accept(event("a"))
    assert len(subscriber.got["/1"]) == 256
    assert broker.stats()["types"]["a"]["looped"] == 1


async def test_a_subscriber_gets_no_more_than_it_can_hold(broker_of: Callable[..., Broker], subscriber: Subscriber) -> None:
    """No more requests reach a function at a time than its containerConcurrency, however many events are under way."""
    running, most = 0, 0

    async def count(_: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return web.Response(status=204)

    subscriber.answers["/1"] = [count]
    broker = broker_of(trigger("a", "/1"), concurrency=3)
    assert all(await asyncio.gather(*(broker.accept(event("a")) for _ in range(12))))
    assert most == 3


async def test_faults_lose_double_and_delay(broker_of: Callable[..., Broker], subscriber: Subscriber, clock: Clock) -> None:
    """With faults on, events vanish, arrive twice or late, at the seeded rates and visibly in the counts."""
    faults = Faults(lose=0.2, duplicate=0.3, reorder=0.5, late_s=4, rng=random.Random(1))
    broker = broker_of(trigger("a", "/1"), faults=faults)
    for _ in range(60):
        assert await broker.accept(event("a"))
    counts = broker.stats()["types"]["a"]
    assert counts["delivered"] == 60 - counts["lost"] + counts["duplicated"] == len(subscriber.got["/1"])
    assert min(counts["lost"], counts["duplicated"], counts["reordered"]) > 5
    assert len(clock.slept) == counts["reordered"]
    assert all(0 <= late_s <= 4 for late_s in clock.slept)


async def test_ticks(broker_of: Callable[..., Broker], subscriber: Subscriber, clock: Clock) -> None:
    """A PingSource's schedule publishes its event, each with its own id, through the same triggers."""
    tick = Tick("reconciler", Schedule.parse("*/30 * * * * *"), b"{}", "application/json")
    broker = broker_of(trigger("dev.knative.sources.ping", "/1"), ticks=(tick,))
    clock.moment += timedelta(seconds=10)
    ticking = asyncio.create_task(broker.tick())
    await _until(lambda: len(subscriber.got["/1"]) >= 2)
    ticking.cancel()
    await broker.close()
    assert clock.slept[:2] == [20.0, 30.0]
    (first, body), (second, _) = subscriber.got["/1"][:2]
    assert first["ce-type"] == "dev.knative.sources.ping"
    assert body == b"{}"
    assert first["ce-id"] != second["ce-id"]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another server
            await asyncio.sleep(0.005)


@pytest.fixture
async def served(broker_of: Callable[..., Broker]) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    async with contextlib.AsyncExitStack() as stack:

        async def serve(*triggers: Trigger, **options: Any) -> str:
            app = create_app(lambda _: broker_of(*triggers, **options))
            server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
            task = asyncio.create_task(server._serve())  # noqa: SLF001 - serve() would take pytest's signal handlers
            stack.push_async_callback(asyncio.wait_for, task, 10)
            stack.callback(server.handle_exit, signal.SIGTERM, None)
            await _until(lambda: server.started)
            return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

        yield serve


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


HEADERS = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "a", "ce-source": "/s", "content-type": "application/json"}


@pytest.mark.parametrize("path", ["/", "/any/knudge"])
async def test_ingress_takes_both_modes(
    served: Callable[..., Awaitable[str]], client: aiohttp.ClientSession, subscriber: Subscriber, path: str
) -> None:
    """Binary and structured events are accepted with 202 and an empty body, on the root and on Knative's path."""
    url = await served(trigger("a", "/1"))
    structured = {"specversion": "1.0", "id": "2", "type": "a", "source": "/s", "data": {"n": 2}}
    async with client.post(url + path, data=b'{"n":1}', headers=HEADERS) as response:
        assert (response.status, await response.read()) == (202, b"")
    media_type = {"content-type": "application/cloudevents+json; charset=utf-8"}
    async with client.post(url + path, data=json.dumps(structured), headers=media_type) as response:
        assert response.status == 202
    assert [json.loads(body) for _, body in subscriber.got["/1"]] == [{"n": 1}, {"n": 2}]
    assert [headers["content-type"] for headers, _ in subscriber.got["/1"]] == ["application/json"] * 2


@pytest.mark.parametrize(
    ("path", "changed", "size", "code"),
    [
        ("/", {"ce-specversion": "0.3"}, 2, 400),
        ("/", {"ce-source": ""}, 2, 400),
        ("/", {}, 1024 * 1024 + 1, 413),
        ("/default/other", {}, 2, 404),
    ],
)
async def test_ingress_refuses(
    served: Callable[..., Awaitable[str]], path: str, changed: dict[str, str], size: int, code: int
) -> None:
    """What is no event, too large or for another broker is refused with a problem document."""
    url = await served(trigger("a", "/1"))
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + path, data=io.BytesIO(b"x" * size), headers={**HEADERS, **changed}) as response,
    ):
        assert response.status == code
        assert (await response.json(content_type="application/problem+json"))["status"] == code


async def test_ingress_takes_only_events(served: Callable[..., Awaitable[str]], client: aiohttp.ClientSession) -> None:
    """A POST that is no CloudEvent is 415."""
    async with client.post(await served(), json={}) as response:
        assert response.status == 415


async def test_a_full_broker_asks_to_come_back(
    served: Callable[..., Awaitable[str]], client: aiohttp.ClientSession, subscriber: Subscriber
) -> None:
    """At capacity the broker refuses with 503 and Retry-After; with room again it accepts."""
    gate = asyncio.Event()

    async def wait(_: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response(status=204)

    subscriber.answers["/1"] = [wait]
    url = await served(trigger("a", "/1"), mode="async", capacity=2)

    async def post() -> tuple[int, str | None]:
        async with client.post(url, data=b"{}", headers=HEADERS) as response:
            return response.status, response.headers.get("retry-after")

    assert [await post() for _ in range(3)] == [(202, None), (202, None), (503, "1")]
    gate.set()
    await _until(lambda: len(subscriber.got["/1"]) == 2)
    async with asyncio.timeout(10):
        while (await post())[0] != 202:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    async with client.get(url + "/stats") as response:
        assert (await response.json())["types"]["a"]["refused"] >= 1


async def test_a_synchronous_failure_is_told(
    served: Callable[..., Awaitable[str]], client: aiohttp.ClientSession, subscriber: Subscriber
) -> None:
    """In synchronous mode the publisher gets 500 when nobody could take the event."""
    subscriber.answers["/1"] = [status(500)]
    url = await served(trigger("a", "/1"))
    async with client.post(url, data=b"{}", headers=HEADERS) as response:
        assert response.status == 500
