"""A run on its way while a scenario goes on, and whether it is as if nothing had happened."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import httpx

from bench.chaos.main import is_quiet, judged, start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.scenarios.stage import Stage

_POLL_S = 0.25
_SETTLE_S = 15.0
_EXACT = ("lost", "duplicates", "summary_mismatch", "errored")


@dataclass
class Run:
    """A run of the chaos bench's eval, two judges and a check, over invented items."""

    stage: Stage
    items: int
    began_s: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    _polled_s: float = 0.0

    def __post_init__(self) -> None:
        self.item_ids = [f"run-{number}" for number in range(self.items)]
        self.run_id = start(self.stage.system, self.item_ids, Random(0))

    def is_over(self) -> bool:
        """Whether it has ended; looks a few times a second."""
        now_s = time.monotonic()
        if not self.seconds and now_s - self._polled_s >= _POLL_S:
            self._polled_s = now_s
            try:
                summary = self.stage.system.get("aggregate", f"/runs/{self.run_id}")
            except httpx.HTTPError:
                return False
            if summary["status"] not in ("queued", "in_progress"):
                self.seconds = time.monotonic() - self.began_s
        return self.seconds > 0

    def finish(self, *, limit_s: float) -> Mapping[str, float]:
        """Watch until it has ended and nothing is under way any more; what the oracles of the chaos bench say of it."""
        self.stage.watch(self.is_over, limit_s=limit_s)
        self.stage.watch(lambda: is_quiet(self.stage.system), limit_s=_SETTLE_S)
        return judged(self.stage.system, self.run_id, self.item_ids)


def is_exact(found: Mapping[str, float]) -> bool:
    """Every item has one result, and the summary is what the results make."""
    return not any(found[name] for name in _EXACT)
