"""A function's edge: everything between the bytes and its handlers, written once for both runtimes.

`Function.handle` is one coroutine. The async adapter awaits it; the Flask adapter runs it to its end without a loop, which
works because there nothing in it ever waits.
"""

from __future__ import annotations

import inspect
import logging
import re
import secrets
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from common.edge.access import Keys, refuse_other_sites
from common.edge.exchange import Exchange, Incoming, Outgoing
from common.edge.http import Request, Response, Route, Router
from common.edge.limiting import limit_headers, refusal, take_turn, unlimited, unmetered
from common.edge.problems import InternalError, event_status, failure
from common.edge.standard import STANDARD, STANDARD_PATHS, standard_routes
from common.edge.surface import LazySurface
from common.errors import InvalidInput, KnudgeError, Overloaded, PayloadTooLarge, UnsupportedMediaType
from common.events.codec import is_event
from common.observability import logs, metrics, trace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from common.edge.http import ErrorShape
    from common.edge.limiting import Check
    from common.edge.surface import Surface
    from common.settings import Settings

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_MAX_DEADLINE_S = 3600.0
_MAX_PARAMETERS = 100
_NO_ROUTE = "-"
_LEFT_BY_EVENTS = 4  # of the places: one in so many
_SERVER_ERROR = 500
_HUNG_UP = 499


class Function:
    """One function: its routes and events, and the standard routes that every function has.

    Args:
        name: Folder, function target, Knative Service and metric label at once.
        surface: Builds the routes and event handlers; called when the first request for one of them comes, or in the
            background once the function was found ready.
        ready: What ``/readyz`` asks: returns checks by name (False: not ready; a text is a remark) or raises.
        authenticate: The `Caller` of an API key, None for an unknown key; raises `StoreUnavailable`.
        check_limits: Counts a request of a `Caller` and says how that stands; a coroutine that never waits in Flask functions.
        clock: Monotonic seconds; the clock of ``request.deadline_s``.

    `ready`, `authenticate` and all handlers may be coroutines in async functions, and only there.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        surface: Callable[[], Surface],
        *,
        ready: Callable[[], Any],
        authenticate: Callable[[str], Any],
        check_limits: Check = unlimited,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.settings = settings
        self._surface = LazySurface(name, surface)
        self._standard_routes = standard_routes(
            ready, surface=self._surface, describe=self.describe, expose=self.expose, clock=clock
        )
        self._clock = clock
        self._check_limits = check_limits
        self._standard = Router(self._standard_routes)
        self._keys = Keys(authenticate, clock=clock)
        self._counting = threading.Lock()
        self._in_flight = 0
        logs.configure(level=settings.log_level, style=settings.log_format, function=name)

    def describe(self) -> dict[str, Any]:
        """The function's OpenAPI document."""
        from common.edge.openapi import describe

        surface = self._surface.get()
        routes = (*surface.routes, *self._standard_routes)
        return describe(self.name, routes, event_types=surface.event_types, secured=self.settings.auth)

    def expose(self) -> tuple[str, bytes]:
        """Media type and text of the metrics."""
        return metrics.exposition(self._surface.get().collect)

    async def handle(self, incoming: Incoming) -> Outgoing:
        """The answer to any request. Never raises."""
        exchange = self._begin(incoming)
        try:
            response = await self._answer(exchange)
        except Exception as error:  # noqa: BLE001  # the one broad except: a caller gets an answer whatever happened
            response = self._failed(exchange, error)
        except BaseException:
            self._finish(exchange, _HUNG_UP, None)
            raise
        return Outgoing(
            status=response.status,
            headers=_headers(exchange, response),
            body=response.body,
            finish=lambda broken: self._finish(exchange, response.status, broken),
        )

    def _begin(self, incoming: Incoming) -> Exchange:
        headers = incoming.headers
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else "req_" + secrets.token_hex(12)
        traceparent = trace.child_of(headers.get("ce-traceparent") or headers.get("traceparent"))
        context = logs.bind(request_id=request_id, trace_id=trace.trace_id(traceparent))
        return Exchange(incoming, request_id, traceparent, self._clock(), context)

    async def _answer(self, exchange: Exchange) -> Response:
        exchange.route, params = self._find(exchange)
        if exchange.route.tags != STANDARD:
            self._admit(exchange)
            await self._identify(exchange, exchange.route)
        if exchange.route.limited:
            await self._limit(exchange)
        response = exchange.route.handler(await self._request(exchange, exchange.route, params))
        return await response if inspect.isawaitable(response) else response

    def _find(self, exchange: Exchange) -> tuple[Route, dict[str, str]]:
        incoming = exchange.incoming
        if incoming.path in STANDARD_PATHS:
            return self._standard.find(incoming.method, incoming.path)
        surface = self._surface.get()
        if surface.intake and incoming.method == "POST" and incoming.path == "/" and is_event(incoming.headers):
            exchange.is_event = True
            return surface.intake, {}
        return surface.router.find(incoming.method, incoming.path)

    def _admit(self, exchange: Exchange) -> None:
        """Take one of this process's places, or refuse at once: a queue here would only hide the overload.

        Events leave some: a broker sends one again by itself, and nobody looks at the clock meanwhile.
        """
        places = self.settings.max_concurrency
        if exchange.is_event:
            places -= places // _LEFT_BY_EVENTS
        with self._counting:
            exchange.admitted = self._in_flight < places
            self._in_flight += exchange.admitted
        if not exchange.admitted:
            metrics.REJECTED.inc(self.name, "overloaded")
            msg = "all places are taken, try again"
            raise Overloaded(msg, retry_after_s=1.0)
        metrics.IN_FLIGHT.inc(self.name)

    async def _identify(self, exchange: Exchange, route: Route) -> None:
        """Find out who asks. Public routes and events may come without a key; a key that is given must be right."""
        incoming = exchange.incoming
        if not self.settings.auth:
            refuse_other_sites(incoming.method, incoming.headers)
            return
        if route.public and "authorization" not in incoming.headers:
            return
        exchange.caller = await self._keys.caller(incoming.method, incoming.headers)
        exchange.authenticated = True
        exchange.log_context["key_id"] = exchange.caller.key_id

    async def _limit(self, exchange: Exchange) -> None:
        """Count the request against its caller's limits, before any of its body is read."""
        standing = await self._check_limits(exchange.caller)
        if standing is None:
            return
        exchange.limit_headers = limit_headers(standing)
        if standing.wait_s > 0:
            metrics.REJECTED.inc(self.name, f"{standing.scope}_limit")
            raise refusal(standing)

    async def _request(self, exchange: Exchange, route: Route, params: dict[str, str]) -> Request:
        incoming = exchange.incoming
        limit = route.max_body_bytes or self.settings.max_body_bytes
        allowance_s = self._allowance_s(incoming.headers)
        deadline_s = exchange.arrived_s + allowance_s
        _check_length(incoming.headers, limit)
        if route.body is not None and not route.streams_body:
            _check_media_type(incoming.headers)
        return Request(
            method=incoming.method,
            path=incoming.path,
            params=params,
            query=_query(incoming.query_string),
            headers=incoming.headers,
            body=b"" if route.streams_body else await incoming.body.read(limit, timeout_s=allowance_s),
            id=exchange.id,
            traceparent=exchange.traceparent,
            arrived_s=exchange.arrived_s,
            deadline_s=deadline_s,
            caller=exchange.caller,
            authenticated=exchange.authenticated,
            chunks=incoming.body.chunks(limit) if route.streams_body else None,
            take_turn=self._meter(exchange, deadline_s) if exchange.limit_headers else unmetered,
        )

    def _meter(self, exchange: Exchange, deadline_s: float) -> Callable[[], Awaitable[None]]:
        return partial(take_turn, self._check_limits, exchange.caller, deadline_s=deadline_s, clock=self._clock)

    def _allowance_s(self, headers: Mapping[str, str]) -> float:
        given = headers.get("x-knudge-deadline-s")
        if given is None:
            return self.settings.default_deadline_s
        try:
            allowance_s = float(given)
        except ValueError:
            allowance_s = 0.0
        if not 0 < allowance_s <= _MAX_DEADLINE_S:
            msg = f"x-knudge-deadline-s: expected seconds, above 0 and at most {_MAX_DEADLINE_S:.0f}"
            raise InvalidInput(msg)
        return allowance_s

    def _failed(self, exchange: Exchange, error: Exception) -> Response:
        known = error if isinstance(error, KnudgeError) else InternalError()
        if known is not error:
            logs.log("edge.unexpected_error", level=logging.ERROR, error=error)
        exchange.error = known
        shape = exchange.route.errors if exchange.route else _shape_of(exchange.incoming.path)
        status = event_status(known) if exchange.is_event else None
        return failure(known, shape=shape, request_id=exchange.id, status=status)

    def _finish(self, exchange: Exchange, status: int, broken: BaseException | None) -> None:
        """Give the place back, count, and write the canonical line; once, however often it is called."""
        if exchange.finished:
            return
        exchange.finished = True
        if exchange.admitted:
            with self._counting:
                self._in_flight -= 1
            metrics.IN_FLIGHT.dec(self.name)
        if broken is not None:
            logs.log("edge.answer_broke_off", level=logging.ERROR, error=broken)
        seconds = self._clock() - exchange.arrived_s
        route, method = exchange.route.path if exchange.route else _NO_ROUTE, exchange.incoming.method
        metrics.REQUESTS.inc(self.name, route, method, str(status))
        metrics.REQUEST_SECONDS.observe(seconds, self.name, route)
        quiet = exchange.route is not None and exchange.route.tags == STANDARD and status < _SERVER_ERROR
        fields: dict[str, Any] = {"route": route, "method": method, "status": status, "duration_ms": round(seconds * 1000, 2)}
        if exchange.error is not None:
            fields["code"] = exchange.error.code
        logs.log("request", level=logging.DEBUG if quiet else logging.INFO, **exchange.log_context, **fields)


def _headers(exchange: Exchange, response: Response) -> list[tuple[str, str]]:
    headers = [("x-request-id", exchange.id), ("x-content-type-options", "nosniff")]
    if response.content_type:
        headers.append(("content-type", response.content_type))
    return headers + [
        (name.lower(), value) for part in (exchange.limit_headers, response.headers) for name, value in part.items()
    ]


def _query(query_string: str) -> dict[str, str]:
    """Parameters by name; of one given twice the last counts."""
    try:
        return dict(parse_qsl(query_string, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
    except ValueError:
        msg = f"at most {_MAX_PARAMETERS} query parameters"
        raise InvalidInput(msg) from None


def _shape_of(path: str) -> ErrorShape:
    """Below /v1 OpenAI's clients call, and understand only OpenAI's errors, a wrong path included."""
    return "openai" if path.startswith("/v1/") else "problem"


def _check_length(headers: Mapping[str, str], limit: int) -> None:
    """Refuse by Content-Length, before a byte of the body is read."""
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        msg = f"the body has {declared[:20]} bytes, at most {limit} are taken"
        raise PayloadTooLarge(msg)


def _check_media_type(headers: Mapping[str, str]) -> None:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type and media_type != "application/json" and not media_type.endswith("+json"):
        msg = "expected content type application/json"
        raise UnsupportedMediaType(msg)
