"""A run's progress as Server-Sent Events.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, sections 9.2.3 to 9.2.6.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from common.errors import KnudgeError, Overloaded
from common.schemas.progress import RunProgress
from common.schemas.runs import ENDED, RunSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

CONTENT_TYPE = "text/event-stream"
POLL_S = 0.5
HEARTBEAT_S = 10.0
RETRY_MS = 2000
MAX_STREAMS = 16  # each holds a thread; half of what the manifest gives a pod
MAX_STREAM_S = 540.0  # ends before the manifest's request timeout cuts it; the client comes back by itself
ENDED_ID = "completed"
_STORE_AWAY: tuple[dict[str, Any], ...] = ({"reason": "store", "model": None, "since": None, "items": None},)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. Counts are items; ``errored`` ones have an unscored verdict. The rest is as in `RunProgress`."""

    run_id: str
    status: str
    total: int
    done: int
    passed: int
    failed: int
    errored: int
    cost_usd: float | None = None
    cost_projected_usd: float | None = None
    items_per_s: float | None = None
    eta_s: int | None = None
    waiting_for: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, summary: RunSummary) -> Progress:
        """The part of a summary that a progress bar needs."""
        now = summary.progress or RunProgress()
        return cls(
            run_id=summary.run_id,
            status=summary.status,
            total=summary.total,
            done=summary.done,
            passed=summary.passed,
            failed=summary.failed,
            errored=summary.errored,
            cost_usd=summary.cost_usd,
            cost_projected_usd=now.cost_projected_usd,
            items_per_s=now.items_per_s,
            eta_s=now.eta_s,
            waiting_for=tuple(wait.model_dump() for wait in now.waiting_for),
        )

    @property
    def waits(self) -> frozenset[tuple[str, str | None]]:
        """What is waited for, without how long and by how many."""
        return frozenset((wait["reason"], wait["model"]) for wait in self.waiting_for)


@dataclass(frozen=True, slots=True)
class Pace:
    """When to look. ``clock`` is monotonic, in seconds; ``wait`` sleeps for as long as it is told.

    ``stopping`` turns true when the server wants to end: a stream that went on would keep it from doing so.
    """

    clock: Callable[[], float]
    wait: Callable[[float], object]
    stopping: Callable[[], bool] = lambda: False


def server_stops() -> bool:
    """True once gunicorn has told this worker to end.

    functions-framework passes none of gunicorn's hooks on; but the worker handles SIGTERM with a method of its own.
    """
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(worker, "alive", True) is False


def follow(look: Callable[[], Progress], *, last_event_id: str, pace: Pace) -> Generator[bytes]:
    """Frames until the run has ended or was deleted, `MAX_STREAM_S` is over, or the server stops. A `look` every `POLL_S`.

    A state is told when more items are done than before, or when the run waits for something else. States with no more items
    done than ``last_event_id`` says are left out. When the store is away the stream says so and waits for it.
    """
    yield f"retry: {RETRY_MS}\n\n".encode()
    seen = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else -1
    last: Progress | None = None
    waits: frozenset[tuple[str, str | None]] = frozenset()
    until_s = pace.clock() + MAX_STREAM_S
    quiet_since_s = pace.clock()
    while pace.clock() < until_s and not pace.stopping():
        now: Progress | None
        try:
            now = look()
        except KnudgeError as error:
            if not error.retryable:
                yield _frame("error", None, {"code": error.code, "message": error.message})
                return
            now = None if last is None else replace(last, waiting_for=_STORE_AWAY, eta_s=None)
        if now is not None and (now.done > seen or (now.waits != waits and now.done >= seen)):
            seen, waits = now.done, now.waits
            quiet_since_s = pace.clock()
            yield _frame("progress", str(now.done), asdict(now))
        if now is not None and now.status in ENDED:
            yield _frame("completed", ENDED_ID, asdict(now))
            return
        last = now
        if pace.clock() - quiet_since_s >= HEARTBEAT_S:
            quiet_since_s = pace.clock()
            yield b": still here\n\n"
        pace.wait(POLL_S)


class Streams:
    """At most `limit` streams at a time in this process."""

    def __init__(self, limit: int = MAX_STREAMS) -> None:
        self._free = threading.BoundedSemaphore(limit)

    def hold(self, frames: Generator[bytes]) -> Held:
        """`frames`, holding a place until they are closed.

        Raises:
            Overloaded: every place is taken.
        """
        if not self._free.acquire(blocking=False):
            raise Overloaded("all streams are taken; poll the summary, or try again", retry_after_s=5.0)
        return Held(frames, self._free.release)


class Held:
    """An iterator that gives its place back when closed, even if nobody ever asked for the first frame."""

    def __init__(self, frames: Generator[bytes], release: Callable[[], None]) -> None:
        self._frames = frames
        self._release: Callable[[], None] | None = release
        self._closing = threading.Lock()

    def __iter__(self) -> Held:
        return self

    def __next__(self) -> bytes:
        return next(self._frames)

    def close(self) -> None:
        """Can be called any number of times."""
        self._frames.close()
        with self._closing:
            release, self._release = self._release, None
        if release is not None:
            release()


def _frame(event: str, event_id: str | None, data: dict[str, object]) -> bytes:
    name = b"" if event_id is None else b"id: " + event_id.encode() + b"\n"
    return b"event: " + event.encode() + b"\n" + name + b"data: " + orjson.dumps(data) + b"\n\n"
