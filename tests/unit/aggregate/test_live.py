from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest

from common.errors import NotFound, Overloaded, StoreUnavailable
from functions.aggregate.live import HEARTBEAT_S, MAX_STREAM_S, Pace, Progress, Streams, follow

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable


class Time:
    """A clock that only waiting moves on."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @property
    def pace(self) -> Pace:
        return Pace(lambda: self.now_s, self.wait)


def progress(done: int, status: str = "in_progress") -> Progress:
    return Progress("run_1", status, total=10, done=done, passed=done, failed=0, errored=0)


def looks(*states: Progress | Exception) -> Callable[[], Progress]:
    """A run that goes through `states`, one a look, and stays in the last."""
    left = list(states)

    def look() -> Progress:
        state = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(state, Exception):
            raise state
        return state

    return look


def parsed(frames: Iterable[bytes]) -> list[tuple[str, str | None, int]]:
    """(event, id, items done) of each event; comments and the retry hint aside."""
    found = []
    for frame in frames:
        fields = dict(line.split(": ", 1) for line in frame.decode().strip().split("\n") if not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], fields.get("id"), orjson.loads(fields["data"]).get("done", -1)))
    return found


def test_every_new_state_once_then_the_end() -> None:
    """A state is sent when more items are done than before, and the stream ends when the run has."""
    look = looks(progress(0), progress(0), progress(3), progress(3), progress(10, "completed"))
    frames = list(follow(look, last_event_id="", pace=Time().pace))
    assert frames[0] == b"retry: 2000\n\n"
    assert parsed(frames) == [
        ("progress", "0", 0),
        ("progress", "3", 3),
        ("progress", "10", 10),
        ("completed", "completed", 10),
    ]


def test_a_client_that_comes_back_gets_only_what_is_new() -> None:
    """States up to Last-Event-ID are left out; the end is always told."""
    look = looks(progress(3), progress(5), progress(5, "canceled"))
    assert parsed(follow(look, last_event_id="3", pace=Time().pace)) == [("progress", "5", 5), ("completed", "completed", 5)]


@pytest.mark.parametrize("last", ["", "x", "-1", "3.5", "²", "9" * 200 + "x"])
def test_a_foreign_last_event_id_is_ignored(last: str) -> None:
    """An id that is none of ours starts the stream from the beginning."""
    frames = parsed(follow(looks(progress(10, "completed")), last_event_id=last, pace=Time().pace))
    assert frames[0] == ("progress", "10", 10)


def test_silence_is_broken_by_heartbeats() -> None:
    """Nothing new for ten seconds gives a comment, so that neither side takes the other for dead."""
    time = Time()
    stream = follow(looks(progress(1)), last_event_id="1", pace=time.pace)
    assert next(stream).startswith(b"retry")
    assert next(stream) == b": still here\n\n"
    assert time.now_s - 1000 == HEARTBEAT_S
    assert next(stream) == b": still here\n\n"
    assert time.now_s - 1000 == 2 * HEARTBEAT_S


def test_a_stream_ends_by_itself() -> None:
    """A run that never ends does not hold a thread for ever; the client comes back with its last id."""
    time = Time()
    frames = list(follow(looks(progress(1)), last_event_id="", pace=time.pace))
    assert parsed(frames) == [("progress", "1", 1)]
    assert time.now_s - 1000 == MAX_STREAM_S


def test_a_server_that_stops_takes_its_streams_along() -> None:
    """A stream ends as soon as the server wants to, so that it never holds up a shutdown."""
    time = Time()
    pace = Pace(lambda: time.now_s, time.wait, lambda: time.now_s >= 1002)
    assert parsed(follow(looks(progress(1)), last_event_id="", pace=pace)) == [("progress", "1", 1)]
    assert time.now_s == 1002


def test_the_stream_waits_for_a_store_that_is_away() -> None:
    """That the store is away is told once; when it comes back it is followed on, nothing is lost and nothing is made up."""
    look = looks(progress(1), StoreUnavailable("away"), StoreUnavailable("away"), progress(10, "completed"))
    frames = list(follow(look, last_event_id="", pace=Time().pace))
    assert parsed(frames) == [
        ("progress", "1", 1),
        ("progress", "1", 1),
        ("progress", "10", 10),
        ("completed", "completed", 10),
    ]
    assert [b'"reason":"store"' in frame for frame in frames[1:]] == [False, True, False, False]


def test_what_a_run_waits_for_is_told_when_it_changes() -> None:
    """Without anything new to count, a state is sent again only when the run waits for something else."""
    waits = replace(progress(3), waiting_for=({"reason": "breaker", "model": "lab:judge", "since": 1, "items": 2},))
    longer = replace(waits, waiting_for=({"reason": "breaker", "model": "lab:judge", "since": 1, "items": 5},))
    look = looks(progress(3), waits, longer, progress(3), progress(10, "completed"))
    found = [event for event, _, done in parsed(follow(look, last_event_id="", pace=Time().pace)) if done == 3]
    assert found == ["progress"] * 3


def test_a_deleted_run_ends_its_streams() -> None:
    """The client is told why there is nothing more."""
    frames = list(follow(looks(progress(1), NotFound("no such run")), last_event_id="", pace=Time().pace))
    assert frames[-1] == b'event: error\ndata: {"code":"not_found","message":"no such run"}\n\n'


def endless() -> Generator[bytes]:
    while True:
        yield b"x"


def test_streams_are_bounded_and_give_their_places_back() -> None:
    """One more than the limit is refused; a closed stream frees its place once, even if it was never read."""
    streams = Streams(2)
    first, second = streams.hold(endless()), streams.hold(endless())
    assert next(iter(second)) == b"x"
    with pytest.raises(Overloaded) as refused:
        streams.hold(endless())
    assert refused.value.retry_after_s
    first.close()
    first.close()
    third = streams.hold(endless())
    with pytest.raises(Overloaded):
        streams.hold(endless())
    second.close()
    third.close()
