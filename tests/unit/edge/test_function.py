from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from common.edge.exchange import Incoming
from common.edge.function import Function
from common.edge.http import Request, Response, Route, json_response
from common.edge.surface import Surface
from common.errors import PayloadTooLarge, StoreUnavailable
from common.observability import logs
from common.schemas.caller import Caller
from common.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from common.edge.exchange import Outgoing


class Memory:
    """A body that is already there."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content

    async def read(self, limit: int, *, timeout_s: float) -> bytes:
        assert timeout_s > 0
        if len(self.content) > limit:
            raise PayloadTooLarge("too long")
        return self.content

    async def chunks(self, limit: int) -> AsyncIterator[bytes]:
        yield await self.read(limit, timeout_s=1)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    yield io.StringIO()
    logs.configure()


def function(*routes: Route, auth: bool = True, ready: Any = dict, clock: Any = None, **settings: Any) -> Function:
    return Function(
        "unit",
        Settings(auth=auth, **settings),
        lambda: Surface(routes, {"t.v1": lambda event, _request: event}),
        ready=ready,
        authenticate=lambda _token: Caller("key_1"),
        clock=clock or Clock(),
    )


def incoming(method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Incoming:
    return Incoming(method, path, "", headers or {}, Memory(body))


async def send(target: Function, *args: Any, **options: Any) -> tuple[Outgoing, Any]:
    answer = await target.handle(incoming(*args, **options))
    answer.finish(None)
    assert isinstance(answer.body, bytes)
    return answer, json.loads(answer.body or b"null")


def who(request: Request) -> Response:
    return json_response({"caller": request.caller.key_id, "authenticated": request.authenticated})


WHO = Route("POST", "/who", who, "Who asks")


async def test_without_authentication_everybody_is_anonymous() -> None:
    """With authentication off no key is asked for, and none makes a difference."""
    target = function(WHO, auth=False)
    for headers in ({}, {"authorization": "Bearer kn-any"}):
        _, body = await send(target, "POST", "/who", headers)
        assert body == {"caller": "anonymous", "authenticated": False}


async def test_without_authentication_other_sites_cannot_act() -> None:
    """With authentication off a browser's request from another site is refused; with keys there is nothing to abuse."""
    headers = {"sec-fetch-site": "cross-site", "authorization": "Bearer kn-any"}
    open_answer, problem = await send(function(WHO, auth=False), "POST", "/who", headers)
    assert (open_answer.status, problem["code"]) == (403, "forbidden")
    closed_answer, _ = await send(function(WHO), "POST", "/who", headers)
    assert closed_answer.status == 200


async def test_functions_without_events_take_none() -> None:
    """Where no events are declared, an event at `/` is a request like any other."""
    target = Function("unit", Settings(auth=False), lambda: Surface([]), ready=dict, authenticate=lambda _token: None)
    answer, _ = await send(target, "POST", "/", {"ce-specversion": "1.0"})
    assert answer.status == 404


async def test_deadlines_count_from_arrival() -> None:
    """The deadline is the arrival on the function's clock plus what the caller allows."""

    def when(request: Request) -> Response:
        return json_response([request.arrived_s, request.deadline_s])

    target = function(Route("GET", "/when", when, "When", public=True), default_deadline_s=30)
    assert (await send(target, "GET", "/when"))[1] == [100, 130]
    assert (await send(target, "GET", "/when", {"x-knudge-deadline-s": "5"}))[1] == [100, 105]


async def test_readiness_is_asked_once_a_second() -> None:
    """Answers of the probe, good or bad, are kept for a second and no longer."""
    clock, asked = Clock(), []

    def ready() -> dict[str, bool]:
        asked.append(clock.now_s)
        return {"store": clock.now_s < 101}

    target = function(ready=ready, clock=clock)
    for now_s, status in ((100.0, 200), (100.9, 200), (101.0, 503), (101.5, 503)):
        clock.now_s = now_s
        assert (await send(target, "GET", "/readyz"))[0].status == status
    assert asked == [100.0, 101.0]


@pytest.mark.parametrize("error", [StoreUnavailable("redis://:secret@host is away"), ZeroDivisionError("secret")])
async def test_probes_that_fail_mean_not_ready(error: Exception, log: io.StringIO) -> None:
    """A probe that raises, whatever it raises, is a 503 that can be retried and tells no secrets."""

    def ready() -> dict[str, bool]:
        raise error

    target = function(ready=ready)
    logs.configure(stream=log)
    answer, problem = await send(target, "GET", "/readyz")
    assert (answer.status, problem["retryable"]) == (503, True)
    assert "secret" not in json.dumps(problem)
    assert dict(answer.headers)["retry-after"] == "1"


async def test_probes_may_wait() -> None:
    """A probe of an async function is awaited."""

    async def ready() -> dict[str, bool]:
        await asyncio.sleep(0)
        return {"store": True}

    _, body = await send(function(ready=ready), "GET", "/readyz")
    assert body == {"status": "ready", "checks": {"store": True}}


async def test_places_come_back_however_a_request_ends() -> None:
    """A place is taken until the answer is out, and returned once, also when the request is cancelled or fails."""

    async def wait(_request: Request) -> Response:
        await asyncio.sleep(60)
        return Response()

    def fail(_request: Request) -> Response:
        raise ZeroDivisionError

    routes = (WHO, Route("GET", "/wait", wait, "Wait"), Route("GET", "/fail", fail, "Fail"))
    target = function(*routes, auth=False, max_concurrency=1)
    unfinished = await target.handle(incoming("POST", "/who"))
    assert (await send(target, "POST", "/who"))[0].status == 503
    unfinished.finish(None)
    unfinished.finish(None)
    task = asyncio.create_task(target.handle(incoming("GET", "/wait")))
    await asyncio.sleep(0)
    assert (await send(target, "POST", "/who"))[0].status == 503
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await send(target, "GET", "/fail"))[0].status == 500
    assert (await send(target, "POST", "/who"))[0].status == 200


async def test_events_leave_places_to_others() -> None:
    """Events take three places of four at most; the fourth is there for whoever waits for an answer."""
    target = function(WHO, auth=False, max_concurrency=4)
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t.v1", "ce-source": "/s", "content-type": "application/json"}
    unfinished = [await target.handle(incoming("POST", "/", headers, b"{}")) for _ in range(3)]
    assert (await send(target, "POST", "/", headers, b"{}"))[0].status == 503
    assert (await send(target, "POST", "/who"))[0].status == 200
    unfinished[0].finish(None)
    assert (await send(target, "POST", "/", headers, b"{}"))[0].status == 200


@pytest.mark.parametrize("length", ["999999999999999999999999999999", "1025"])
async def test_declared_lengths_are_checked_first(length: str) -> None:
    """However long the declared length is, it is refused before the body is read."""
    answer, problem = await send(function(WHO, auth=False, max_body_bytes=1024), "POST", "/who", {"content-length": length})
    assert (answer.status, problem["code"]) == (413, "payload_too_large")
    assert len(problem["detail"]) < 100


async def test_lines_tell_what_happened(log: io.StringIO) -> None:
    """The canonical line has the error's code; successful probes leave no line."""
    target = function(WHO, auth=False)
    logs.configure(stream=log)
    await send(target, "GET", "/livez")
    await send(target, "DELETE", "/who")
    (line,) = [json.loads(text) for text in log.getvalue().splitlines()]
    assert (line["event"], line["route"], line["status"], line["code"]) == ("request", "-", 405, "method_not_allowed")
