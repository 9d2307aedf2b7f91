"""CPU and memory of every program of a running system, sampled while it works."""

from __future__ import annotations

import statistics
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from bench.rig.processes import cpu_ms, rss_mib

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_EVERY_S = 0.5
_FEWEST = 8  # samples below which quarters of them say nothing


@dataclass
class Meter:
    """Between entry and exit: CPU in ms by program, and its resident set in MiB over time (the largest of its processes)."""

    pids: Mapping[str, int]
    rss: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._before = self._cpu()
        self.rss = {name: [] for name in self.pids}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self.cpu = {name: now - self._before[name] for name, now in self._cpu().items()}

    def rss_max(self) -> dict[str, float]:
        """The largest sample of each program."""
        return {name: max(samples) for name, samples in self.rss.items()}

    def rss_growth(self) -> dict[str, float]:
        """Median of the last quarter of the samples minus that of the second, MiB: the first one is the warming up."""
        growth = {}
        for name, samples in self.rss.items():
            quarter = len(samples) // 4
            if len(samples) >= _FEWEST:
                growth[name] = statistics.median(samples[-quarter:]) - statistics.median(samples[quarter : 2 * quarter])
        return growth

    def _sample(self) -> None:
        while True:
            for name, pid in self.pids.items():
                self.rss[name].append(rss_mib(pid))
            if self._ended.wait(_EVERY_S):
                return

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_ms(pid) for name, pid in self.pids.items()}
