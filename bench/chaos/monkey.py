"""Who kills, whom and when: by a seed, so that a run can be repeated as far as a machine's own timing allows."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from local.supervisor import Supervisor

VICTIMS = ("evaluate", "evaluate-2", "aggregate", "aggregate-2", "tasks")
_STORE = (("redis", signal.SIGKILL, 1 / 3), ("redis", signal.SIGTERM, 2 / 3))  # at this share of the items


class Monkey:
    """Kills a function process every `every_s` seconds (from, to), and restarts the store twice on the way.

    A process is killed as a pod is: the leader and its workers at once, without a warning. The supervisor starts it again.
    """

    def __init__(
        self, supervisor: Supervisor, rng: Random, *, every_s: tuple[float, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._supervisor = supervisor
        self._rng = rng
        self._every_s = every_s
        self._clock = clock
        self._store = list(_STORE)
        self._next_s = clock() + rng.uniform(*every_s) / 2
        self.kills: Counter[str] = Counter()

    def act(self, share: float) -> None:
        """Kill whose turn it is; `share` of the items is done."""
        if self._store and share >= self._store[0][2]:
            name, number, _ = self._store.pop(0)
            self._kill(name, number)
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + self._rng.uniform(*self._every_s)
            self._kill(self._rng.choice(VICTIMS), signal.SIGKILL)

    def _kill(self, name: str, number: signal.Signals) -> None:
        child = self._supervisor.child(name)
        if child.exit_code is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)
            self.kills[name] += 1
