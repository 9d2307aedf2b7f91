"""A load generator that costs little: ``python -m bench.rig.load``, a process of its own, started by `drive`.

Keep-alive connections, each with one request at a time, the request's bytes made once. It says what it saw as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools
import uvloop

from bench.rig.homes import environment
from local.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OK = 200
_DRAIN_S = 60.0
_SPREAD_S = 0.1  # over which connections begin


def post(url: str, text: str, more: Mapping[str, str]) -> bytes:
    """A POST of the JSON `text` as it goes over the wire, with `more` headers."""
    where, body = urlsplit(url), text.encode()
    headers = {"host": where.netloc, "content-type": "application/json", "content-length": str(len(body)), **more}
    lines = [f"POST {where.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


@dataclass(frozen=True, slots=True)
class Load:
    """POSTs of ``body`` to ``url`` over ``connections`` for ``seconds``; latencies count after ``warm_up_s``."""

    url: str
    body: str
    connections: int
    seconds: float
    warm_up_s: float = 0.5
    headers: dict[str, str] = field(default_factory=dict)

    def message(self) -> bytes:
        """The request as it goes over the wire."""
        return post(self.url, self.body, self.headers)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the load generator saw. ``calls`` were all, warm-up and the end included; ``per_s`` and latencies are after it."""

    calls: int
    bad: int
    per_s: float
    p50_ms: float
    p99_ms: float


def drive(load: Load) -> Seen:
    """Run `load` in a process of its own. Raises `RuntimeError` when it cannot connect."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.rig.load"],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=load.seconds + 2 * _DRAIN_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the load on {load.url} failed: {done.stderr.strip()[-300:]}")
    return Seen(**json.loads(done.stdout))


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last is whole."""

    def __init__(self, message: bytes, stop_s: float) -> None:
        self._message = message
        self._stop_s = stop_s
        self._parser = httptools.HttpResponseParser(self)
        self._sent_s = 0.0
        self._transport: Any = None
        self.done = asyncio.get_running_loop().create_future()
        self.answers: list[tuple[float, float]] = []  # (when, ms)
        self.bad = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.bad += 1
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))

    def on_message_complete(self) -> None:
        now_s = time.perf_counter()
        self.answers.append((now_s, (now_s - self._sent_s) * 1000))
        self.bad += self._parser.get_status_code() != _OK
        self._parser = httptools.HttpResponseParser(self)
        if now_s < self._stop_s:
            self._ask()
        else:
            self.done.set_result(None)
            self._transport.close()

    def _ask(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(self._message)


async def _run(load: Load) -> Seen:
    loop = asyncio.get_running_loop()
    where = urlsplit(load.url)
    host, port = where.hostname or "127.0.0.1", where.port or 80
    began_s = time.perf_counter()
    stop_s = began_s + load.seconds
    message = load.message()
    connections: list[_Connection] = []
    for number in range(load.connections):
        await asyncio.sleep(began_s + number / load.connections * _SPREAD_S - time.perf_counter())
        _, connection = await loop.create_connection(lambda: _Connection(message, stop_s), host, port)
        connections.append(connection)
    async with asyncio.timeout(load.seconds + _DRAIN_S):
        await asyncio.gather(*(connection.done for connection in connections))
    return _summary(connections, from_s=began_s + load.warm_up_s, until_s=stop_s)


def _summary(connections: Sequence[_Connection], *, from_s: float, until_s: float) -> Seen:
    answers = [answer for connection in connections for answer in connection.answers]
    measured = sorted(ms for at_s, ms in answers if at_s >= from_s) or [0.0]
    return Seen(
        calls=len(answers),
        bad=sum(connection.bad for connection in connections),
        per_s=sum(from_s <= at_s < until_s for at_s, _ in answers) / (until_s - from_s),
        p50_ms=measured[len(measured) // 2],
        p99_ms=measured[len(measured) * 99 // 100],
    )


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_run(Load(**json.load(sys.stdin)))))))
