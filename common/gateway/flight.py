"""Single flight: of equal calls at the same time, in any process, one is made, and the others get its answer.

Who makes it holds a lease, renewed while the call is under way. A process that dies stops renewing, and the next one that
looks takes over.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Literal, cast

from common.gateway import cache_keys as keys
from common.store.scripts import Script

if TYPE_CHECKING:
    from random import Random

    from common.store.scripts import ScriptRunner

Said = Literal["hit", "lead", "wait", "alone"]

# Renewed three times within its life, so that one lost renewal, or a busy loop, does not cost the lease.
_RENEWALS = 3
# Longer than the longest wait between two looks: everybody who waits gets to see it.
_ALONE_MS = 2_000
_FIRST_LOOK_S, _LAST_LOOK_S = 0.02, 0.25
_GROWTH = 1.5
_JITTER = 0.5


class Flight:
    """One caller's part in getting one answer. Every method is at most one trip, shared with what else goes at that moment.

    Args:
        digest: Names the answer; equal for equal calls only.
        lease_s: How long others wait for a holder that gives no sign of life.
        joins: False for a caller that only looks whether the answer is kept, and otherwise has nothing to do with others.
    """

    def __init__(self, runner: ScriptRunner, digest: str, *, lease_s: float, joins: bool = True) -> None:
        self._runner = runner
        self._keys = [keys.answer(digest), keys.flight(digest)]
        self._lease_s = lease_s
        self._token = secrets.token_hex(8) if joins else ""
        self._may_hold = False
        self._renewal: asyncio.TimerHandle | None = None

    def seek(self, *, drop: bytes = b"") -> asyncio.Future[list[bytes]]:
        """`Said` and the kept answer, to be handed to `heard`. `drop` is the id of a kept one that is not wanted.

        Raises:
            StoreUnavailable: nobody knows.
        """
        self._may_hold = bool(self._token)  # from here on: the script runs even when its answer is not awaited
        return self._runner.submit(_SEEK, self._keys, [self._token, int(self._lease_s * 1000), drop])

    def heard(self, answer: list[bytes]) -> tuple[Said, bytes]:
        """What `seek` brought. Whoever leads keeps the lease alive from here on."""
        said = cast("Said", answer[0].decode())
        self._may_hold = said == "lead"
        if self._may_hold and self._renewal is None:
            self._schedule_renewal()
        return said, answer[1]

    def keep(self, value: bytes, *, ttl_s: float) -> bool:
        """The answer is there: keep it, and let those who wait have it. Does not wait for the store. False if it only looks."""
        if self._token:
            self._land("keep", int(ttl_s * 1000), value)
        return bool(self._token)

    def leave(self) -> None:
        """There is no answer for others: they ask for themselves."""
        if self._may_hold:
            self._land("alone", _ALONE_MS)

    def hand_over(self) -> None:
        """This caller has gone, or has no time left: the next one asks. Nothing happens when the flight is over."""
        if self._may_hold:
            self._land("hand over", 0)

    def _land(self, ending: str, lasts_ms: int, value: bytes = b"") -> None:
        self._may_hold = False
        if self._renewal is not None:
            self._renewal.cancel()
        self._runner.submit_along(_LAND, self._keys, [self._token, ending, lasts_ms, value])

    def _schedule_renewal(self) -> None:
        self._renewal = asyncio.get_running_loop().call_later(self._lease_s / _RENEWALS, self._renew)

    def _renew(self) -> None:
        self._runner.submit_along(_SEEK, self._keys, [self._token, int(self._lease_s * 1000), ""])
        self._schedule_renewal()


def look_again_s(looks: int, rng: Random) -> float:
    """Seconds from look number `looks` (from 0) at a call under way to the next: the longer it takes, the rarer."""
    wait_s: float = min(_LAST_LOOK_S, _FIRST_LOOK_S * _GROWTH**looks)
    return wait_s * (1 + rng.random() * _JITTER)


_SEEK, _LAND = Script("seek.lua"), Script("land.lua")
