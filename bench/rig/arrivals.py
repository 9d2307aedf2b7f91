"""Requests that come when they come: ``python -m bench.rig.arrivals IN OUT``, a process of its own, started by `begin`.

An open loop: each request has a moment at which it is due, whatever became of those before it, and its latency counts from
that moment. So a server that stands still is seen by everybody who would have come meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools
import uvloop

from bench.rig.homes import environment
from bench.rig.load import post
from local.children import Child, spawn, stop
from local.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBER = "#000000#"
"""In a body: becomes the request's own number, of the same length."""

_OK = 200
_REFUSED = (429, 503)
_LEAD_S = 0.2  # until the first one is due
_GRACE_S = 2.0
_KEPT_ALIVE_S = 1.0  # shorter than a server's own keep-alive, so that no request meets a connection being closed


@dataclass(frozen=True, slots=True)
class Arrivals:
    """``count`` POSTs of ``body``, ``per_s`` of them a second (0: all at the same moment), each given up after ``limit_s``.

    An answer is right when it is a 200 that has ``right`` in its body.
    """

    url: str
    body: str
    count: int
    per_s: float
    right: str = ""
    limit_s: float = 30.0
    headers: dict[str, str] = field(default_factory=dict)

    def message(self) -> tuple[bytes, bytes]:
        """The request as it goes over the wire, before and after its number."""
        before, _, after = post(self.url, self.body, self.headers).partition(NUMBER.encode())
        return before, after


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request that was due at ``at_s`` on the monotonic clock.

    ``status`` is 0 when the connection broke, or there was none, and -1 when nobody answered in time. ``told``: the answer
    says when to come again.
    """

    at_s: float
    ms: float
    status: int
    right: bool
    told: bool

    @property
    def refused(self) -> bool:
        """As it should be: 429 or 503, with ``Retry-After``."""
        return self.status in _REFUSED and self.told


@dataclass(frozen=True, slots=True)
class Underway:
    """Requests that are being sent."""

    child: Child
    out: Path

    def is_over(self) -> bool:
        """Whether all have been answered, or given up."""
        return self.child.exit_code is not None

    def answers(self) -> list[Answer]:
        """All of them, by the moment at which they were due. Raises `RuntimeError` when the load generator failed."""
        if self.child.exit_code != 0:
            stop([self.child], grace_s=_GRACE_S)
            raise RuntimeError(f"the load generator failed: {self.child.tail()}")
        if self.child.tail():
            print(self.child.tail())
        return [Answer(*row) for row in json.loads(self.out.read_text(encoding="utf-8"))]


def begin(wanted: Arrivals, folder: Path) -> Underway:
    """Start sending; `folder` is for the files by which it is told what to do, and says what it saw."""
    number = len(list(folder.glob("arrivals-*.in")))
    given, out = folder / f"arrivals-{number}.in", folder / f"arrivals-{number}.out"
    given.write_text(json.dumps(asdict(wanted)), encoding="utf-8")
    argv = [sys.executable, "-m", "bench.rig.arrivals", str(given), str(out)]
    log = folder / f"arrivals-{number}.log"
    return Underway(spawn(given.stem, argv, env=environment(), cwd=ROOT, log_path=log), out)


def percentile(answers: Sequence[Answer], percent: float) -> float:
    """A percentile of the latency in ms, 0 of nothing."""
    times = sorted(answer.ms for answer in answers) or [0.0]
    return times[min(len(times) - 1, int(len(times) * percent / 100))]


class _Connection(asyncio.Protocol):
    """A connection with one request under way."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._parser: Any = None
        self._reply: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_open = False
        self._used_s = time.monotonic()

    @property
    def is_fresh(self) -> bool:
        """Whether it may be used again."""
        return self.is_open and time.monotonic() - self._used_s < _KEPT_ALIVE_S

    def ask(self, parts: Sequence[bytes]) -> asyncio.Future[None]:
        """Send; done when the answer is whole."""
        self.status, self.told, self.body = 0, False, b""
        self._parser = httptools.HttpResponseParser(self)
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.writelines(parts)
        return self._reply

    def close(self) -> None:
        self.is_open = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.is_open = transport, True

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if not self._reply.done():
            self._reply.set_exception(exc or ConnectionError("the server closed the connection"))
            self._reply.exception()  # seen, whoever waits for it

    def on_header(self, name: bytes, _value: bytes) -> None:
        self.told = self.told or name.lower() == b"retry-after"

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.status, self._used_s = self._parser.get_status_code(), time.monotonic()
        if not self._parser.should_keep_alive():
            self.close()
        if not self._reply.done():
            self._reply.set_result(None)


class _Sender:
    """Sends each request when it is due, over a connection that is idle, or else a new one."""

    def __init__(self, wanted: Arrivals) -> None:
        self._wanted = wanted
        self._before, self._after = wanted.message()
        self._numbered = NUMBER in wanted.body
        self._idle: list[_Connection] = []

    async def run(self) -> list[Answer]:
        began_s, apart_s = time.monotonic() + _LEAD_S, 1 / self._wanted.per_s if self._wanted.per_s else 0.0
        due = [began_s + number * apart_s for number in range(self._wanted.count)]
        tasks = []
        for number, at_s in enumerate(due):
            await asyncio.sleep(max(0.0, at_s - time.monotonic()))
            tasks.append(asyncio.create_task(self._one(number, at_s)))
        return list(await asyncio.gather(*tasks))

    async def _one(self, number: int, at_s: float) -> Answer:
        connection: _Connection | None = None
        status, told, right = 0, False, False
        try:
            async with asyncio.timeout(self._wanted.limit_s):
                connection = await self._connection()
                await connection.ask(self._parts(number))
            status, told = connection.status, connection.told
            right = status == _OK and self._wanted.right.encode() in connection.body
        except TimeoutError:
            status = -1
        except OSError as error:
            print(f"request {number}: {error!r}", file=sys.stderr)
        ms = (time.monotonic() - at_s) * 1000
        if connection is not None and connection.is_open:
            self._idle.append(connection) if status > 0 else connection.close()
        return Answer(at_s, ms, status, right, told)

    async def _connection(self) -> _Connection:
        while self._idle:
            if (connection := self._idle.pop()).is_fresh:
                return connection
            connection.close()
        where = urlsplit(self._wanted.url)
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, where.hostname or "127.0.0.1", where.port or 80)
        return made

    def _parts(self, number: int) -> list[bytes]:
        return [self._before, f"#{number:06d}#".encode(), self._after] if self._numbered else [self._before]


def main() -> None:
    """Send, and write down what came of it."""
    given, out = map(Path, sys.argv[1:])
    answers = uvloop.run(_Sender(Arrivals(**json.loads(given.read_text(encoding="utf-8")))).run())
    rows = [[answer.at_s, answer.ms, answer.status, answer.right, answer.told] for answer in answers]
    out.write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
