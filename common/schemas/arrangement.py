"""Where a run's items stand: which line of which data set is judged at a position.

A run counts, leases and stores its items by *position*. Mostly position and line are the same. A run with canaries has them
spread between its items; a run that may stop early takes its lines in a random order, so that its first items are a random
sample of all of them, however the data is sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from math import isqrt

_ROUNDS = 8
_WORD_BYTES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """A line (from 0) of the run's data set, or of its canaries."""

    canary: bool
    line: int


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The order of `item_count` lines and `canary_count` canaries. Without canaries and `seed` a position is a line.

    Nothing is stored: a place is worked out from its position in a few microseconds, and the other way round.
    """

    item_count: int
    canary_count: int = 0
    seed: str | None = None

    @property
    def position_count(self) -> int:
        """Items and canaries together."""
        return self.item_count + self.canary_count

    @property
    def identity(self) -> bool:
        """True when every position is the line of the same number."""
        return not self.canary_count and self.seed is None

    def place(self, position: int) -> Place:
        """What is judged at `position`, which lies in [0, ``position_count``)."""
        before = self._canaries_before(position)
        if before < self.canary_count and self.canary_position(before) == position:
            return Place(canary=True, line=before)
        slot = position - before
        return Place(canary=False, line=slot if self.seed is None else permuted(slot, self.item_count, seed=self.seed))

    def position(self, line: int) -> int:
        """Where a line of the data set is judged. Runs over the same data are compared line by line, by way of this."""
        slot = line if self.seed is None else permuted(line, self.item_count, seed=self.seed, backwards=True)
        if not self.canary_count:
            return slot
        ahead = -((self.position_count - 2 * self.canary_count * (slot + 1)) // (2 * self.item_count))
        return slot + min(self.canary_count, max(0, ahead))

    def canary_position(self, canary: int) -> int:
        """Where a canary stands: in the middle of its share of the positions."""
        return (2 * canary + 1) * self.position_count // (2 * self.canary_count)

    def canary_positions(self) -> list[int]:
        """Every canary's position, ascending."""
        return [self.canary_position(canary) for canary in range(self.canary_count)]

    def _canaries_before(self, position: int) -> int:
        if not self.canary_count:
            return 0
        count = -((self.position_count - 2 * self.canary_count * position) // (2 * self.position_count))
        return min(self.canary_count, max(0, count))


def permuted(number: int, size: int, *, seed: str, backwards: bool = False) -> int:
    """Where a keyed pseudo-random permutation of [0, `size`) takes `number`, or what it took there.

    A Feistel network over the least rectangle around `size` with sides near its root, walked on until it comes back into
    range; the rectangle is hardly larger than `size`, so one step nearly always does. The round function is keyed BLAKE2b.

    Source: Black & Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002, LNCS 2271, methods 2 (cycle walking) and
    3 (generalized Feistel), https://doi.org/10.1007/3-540-45760-7_9
    """
    key = seed.encode()
    rows = isqrt(max(0, size - 1)) + 1
    columns = -(-size // rows)
    step = _inverse if backwards else _forward
    while (number := step(number, rows, columns, key=key)) >= size:
        pass
    return number


def _forward(number: int, rows: int, columns: int, *, key: bytes) -> int:
    right, left = divmod(number, rows)
    for turn in range(_ROUNDS):
        left, right = right, (left + _round(right, turn, key)) % (columns if turn % 2 else rows)
    return rows * right + left


def _inverse(number: int, rows: int, columns: int, *, key: bytes) -> int:
    right, left = divmod(number, rows)
    for turn in reversed(range(_ROUNDS)):
        left, right = (right - _round(left, turn, key)) % (columns if turn % 2 else rows), left
    return rows * right + left


def _round(value: int, turn: int, key: bytes) -> int:
    digest = blake2b(value.to_bytes(_WORD_BYTES, "little"), key=key, salt=bytes([turn]), digest_size=_WORD_BYTES)
    return int.from_bytes(digest.digest(), "little")
