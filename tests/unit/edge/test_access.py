from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from common.edge.access import Keys, refuse_other_sites
from common.errors import Forbidden, StoreUnavailable, Unauthenticated
from common.schemas.caller import Caller
from common.security.keys import new_key

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Lookups:
    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.known: set[str] = set()

    def __call__(self, token: str) -> Caller | None:
        self.tokens.append(token)
        return Caller("key_" + token[-4:]) if token in self.known else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_right_keys_are_remembered_for_a_while(clock: Clock) -> None:
    """A right key is looked up once in 10 s, and a revoked one fails after that."""
    lookups, key = Lookups(), new_key()
    lookups.known = {key}
    keys = Keys(lookups, clock=clock)
    for _ in range(3):
        assert (await keys.caller("POST", bearer(key))).key_id == "key_" + key[-4:]
    assert len(lookups.tokens) == 1
    lookups.known = set()
    clock.now_s = 10.0
    with pytest.raises(Unauthenticated):
        await keys.caller("POST", bearer(key))


async def test_requests_of_one_moment_share_a_look_up(clock: Clock) -> None:
    """Requests with one key ask the store once; one that is cancelled harms no other, and a failure is not kept."""
    lookups, key, answers = Lookups(), new_key(), [asyncio.Event(), asyncio.Event()]

    async def look_up(token: str) -> Caller | None:
        found = lookups(token)
        await answers[len(lookups.tokens) - 1].wait()
        if len(lookups.tokens) == 1:
            raise StoreUnavailable("away")
        return found

    lookups.known = {key}
    keys = Keys(look_up, clock=clock)
    for answer in answers:
        callers = [asyncio.create_task(keys.caller("POST", bearer(key))) for _ in range(5)]
        await asyncio.sleep(0)
        callers[0].cancel()
        answer.set()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        expected = StoreUnavailable if answer is answers[0] else Caller
        assert all(isinstance(outcome, expected) for outcome in outcomes[1:])
    assert len(lookups.tokens) == 2


async def test_wrong_keys_are_not_remembered(clock: Clock) -> None:
    """A key works from the moment it exists, even if it was tried before."""
    lookups, key = Lookups(), new_key()
    keys = Keys(lookups, clock=clock)
    with pytest.raises(Unauthenticated):
        await keys.caller("POST", bearer(key))
    lookups.known = {key}
    assert await keys.caller("POST", bearer(key))


async def test_memory_is_bounded(clock: Clock) -> None:
    """Many right keys do not grow the memory without end."""
    lookups = Lookups()
    lookups.known = {f"kn-{number}" for number in range(3000)}
    keys = Keys(lookups, clock=clock)
    for token in sorted(lookups.known):
        await keys.caller("POST", bearer(token))
    assert len(keys._known) <= 1024  # noqa: SLF001  # memory cannot be seen from outside


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "kn-x", "Basic kn-x", "Bearer sk-other", "Bearer kn-", f"Bearer kn-{'x' * 300}", "Bearer kn-é"],
)
async def test_what_cannot_be_a_key_is_never_looked_up(clock: Clock, header: str) -> None:
    """Headers that hold no key of ours are refused without asking the store."""
    lookups = Lookups()
    with pytest.raises(Unauthenticated):
        await Keys(lookups, clock=clock).caller("POST", {"authorization": header})
    assert lookups.tokens == []


async def test_lookups_may_wait(clock: Clock) -> None:
    """A lookup that is a coroutine is awaited."""

    async def find(token: str) -> Caller | None:
        return Caller(token)

    lookup: Callable[[str], Any] = find
    assert (await Keys(lookup, clock=clock).caller("POST", bearer("kn-1"))).key_id == "kn-1"


def test_other_sites_cannot_act() -> None:
    """Without keys, a browser's request from another site is refused unless it only reads."""
    foreign = {"sec-fetch-site": "cross-site"}
    with pytest.raises(Forbidden):
        refuse_other_sites("POST", foreign)
    refuse_other_sites("GET", foreign)
    refuse_other_sites("POST", {"sec-fetch-site": "same-origin"})
    refuse_other_sites("POST", {})
