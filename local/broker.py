"""The broker as an HTTP server: ``python -m local.broker --port N``."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from common.errors import KnudgeError, NotFound, Overloaded, PayloadTooLarge
from common.observability.logs import configure
from common.settings import MIB, Settings
from local.courier import Courier
from local.dispatch import Broker, Mode
from local.envelope import from_http
from local.faults import Faults
from local.manifests import BASE, read_wiring
from local.scale import parse_scale, ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    MakeBroker = Callable[[Courier], Broker]

_RETRY_AFTER_S = 1


def create_app(make_broker: MakeBroker) -> Starlette:
    """The ASGI app around a broker: ingress, ``/stats``, ``/livez``; its clocks run as long as the app does."""
    brokers: list[Broker] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with Courier() as courier:
            broker = make_broker(courier)
            brokers.append(broker)
            clock = asyncio.create_task(broker.tick())
            try:
                yield
            finally:
                clock.cancel()
                await broker.close()

    async def ingress(request: Request) -> Response:
        try:
            return await _take(brokers[0], request)
        except KnudgeError as error:
            return _problem(error)

    async def stats(_: Request) -> Response:
        return Response(orjson.dumps(brokers[0].stats()), media_type="application/json")

    async def livez(_: Request) -> Response:
        return Response(b"", status_code=200)

    routes = [
        Route("/", ingress, methods=["POST"]),
        Route("/stats", stats, methods=["GET"]),
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", livez, methods=["GET"]),
        Route("/{namespace}/{name}", ingress, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _take(broker: Broker, request: Request) -> Response:
    name = request.path_params.get("name", broker.wiring.broker)
    if name != broker.wiring.broker:
        msg = f"no broker {name!r} here, only {broker.wiring.broker!r}"
        raise NotFound(msg)
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in request.scope["headers"]}
    envelope = from_http(headers, await _body(request))
    if broker.full:
        broker.refuse(envelope)
        msg = "the broker's queue is full"
        raise Overloaded(msg, retry_after_s=_RETRY_AFTER_S)
    return Response(status_code=202 if await broker.accept(envelope) else 500)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MIB:
            msg = "an event is at most 1 MiB"
            raise PayloadTooLarge(msg)
    return bytes(body)


def _problem(error: KnudgeError) -> Response:
    headers = {"retry-after": str(_RETRY_AFTER_S)} if error.retry_after_s is not None else None
    body = orjson.dumps({"status": error.http_status, "code": error.code, "detail": error.message})
    return Response(body, error.http_status, headers, media_type="application/problem+json")


@click.command()
@click.option("--port", type=int, default=None, help="Port on loopback (default: the broker's own, KNUDGE_PORT_BASE).")
@click.option("--mode", type=click.Choice(["async", "sync"]), default="async", show_default=True)
@click.option("--manifests", type=click.Path(path_type=Path), default=BASE, help="Folder of the kustomize base to read.")
@click.option("--capacity", type=int, default=10_000, show_default=True, help="Events under way before publishers wait.")
@click.option("--faults", default="", help="For tests: lose=RATE,duplicate=RATE,copies=N,reorder=RATE,late_s=S,seed=N.")
@click.option("--scale", default="", help="Processes of a function, for example evaluate=2: deliveries go to them in turn.")
def main(port: int | None, mode: Mode, manifests: Path, capacity: int, faults: str, scale: str) -> None:  # noqa: PLR0917 - as click passes them
    """Carry events between the functions of this machine, wired as the manifests say."""
    import uvicorn

    settings = Settings.from_env()
    configure(level=settings.log_level, style=settings.log_format, function="broker")
    try:
        wiring, misbehaviour = read_wiring(manifests), Faults.parse(faults)
        copies = parse_scale(scale, wiring.functions)
        listening = {name: ports(settings, name, copies) for name in wiring.functions}
    except KnudgeError as error:
        raise click.ClickException(error.message) from error
    urls = {name: [f"http://127.0.0.1:{each}" for each in found] for name, found in listening.items()}
    addresses = {"broker": f"http://127.0.0.1:{settings.port('broker')}", **{name: first for name, (first, *_) in urls.items()}}
    further = {name: others for name, (_, *others) in urls.items()}
    app = create_app(
        lambda courier: Broker(wiring, addresses, courier, misbehaviour, mode=mode, capacity=capacity, further=further)
    )
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=settings.port("broker") if port is None else port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
