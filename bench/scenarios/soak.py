"""Does it stay as it is, for a quarter of an hour and more?

Load: 50 evaluations a second with a judge (50 ms), and every minute a run of 300 items. Criteria: each evaluation is judged
or refused with ``Retry-After``, at most 1 % of them; each run is completed; and what the functions and the broker have in
memory grows by at most 20 MiB an hour: the slope by least squares, after the first fifth of the time. The store keeps the
runs, and the simulator an account of all calls: they grow.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.rig.arrivals import Arrivals, percentile
from bench.scenarios.asking import RIGHT, evaluation, explain, outcome
from bench.scenarios.running import Run
from bench.scenarios.stage import Seen, stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rig.arrivals import Answer, Underway
    from bench.scenarios.stage import Stage

_PER_S = 50
_ITEMS, _RUN_EVERY_S = 300, 60.0
_WARMING_UP = 0.2  # of the time
_SHED_SHARE = 0.01
_GROWTH_MIB_PER_H = 20.0
_NOT_COUNTED = ("redis", "simulator")
_MINUTE_S = 60.0


def play(minutes: float) -> Seen:
    """Figures: ``rss_growth_mib_per_h``, ``p99_ms``, ``p99_worst_minute_ms``, ``errors``, ``shed_share``, ``runs``."""
    with stage(provider={"latency_ms": 50}) as scene:
        wanted = Arrivals(scene.url("evaluate"), evaluation(), round(_PER_S * minutes * _MINUTE_S), _PER_S, RIGHT)
        load = scene.begin(wanted)
        runs = Runs(scene, load)
        scene.watch(runs.go_on, limit_s=(minutes + 2) * _MINUTE_S)
        answers, memory, memory_mib = load.answers(), list(scene.memory), scene.memory_max_mib()
    by_minute = _by_minute(answers)
    growth = growth_mib_per_h(memory)
    found = outcome(answers)
    errors, shed_share = found.wrong + found.partly, found.refused / len(answers)
    for number, part in enumerate(by_minute, 1):
        print(f"  minute {number}: p50 {percentile(part, 50):.1f} ms, p99 {percentile(part, 99):.1f} ms", flush=True)
    figures = {
        "minutes": minutes,
        "rss_growth_mib_per_h": growth,
        "p99_ms": percentile(answers, 99),
        "p99_worst_minute_ms": max(percentile(part, 99) for part in by_minute),
        "errors": errors,
        "shed_share": shed_share,
        "runs": runs.completed,
        "rss_max_mib": memory_mib,
    }
    criteria = {
        f"each evaluation is judged or properly refused {explain(answers)}": errors == 0,
        "at most 1 % is refused": shed_share <= _SHED_SHARE,
        "each run is completed": runs.completed == runs.begun > 0,
        "memory grows by at most 20 MiB an hour": growth <= _GROWTH_MIB_PER_H,
    }
    return Seen(figures, criteria)


@dataclass
class Runs:
    """A run a minute while the load lasts."""

    scene: Stage
    load: Underway
    begun: int = 0
    completed: int = 0
    _run: Run | None = None

    def go_on(self) -> bool:
        """Whether all is over; begins the next run when it is time."""
        if self._run is not None and self._run.is_over():
            self.completed += self.scene.system.get("aggregate", f"/runs/{self._run.run_id}")["status"] == "completed"
            self._next_s, self._run = self._run.began_s + _RUN_EVERY_S, None
        if self.load.is_over():
            return self._run is None
        if self._run is None and (not self.begun or time.monotonic() >= self._next_s):
            self._run, self.begun = Run(self.scene, _ITEMS), self.begun + 1
        return False


def _by_minute(answers: Sequence[Answer]) -> list[list[Answer]]:
    minutes: list[list[Answer]] = []
    for answer in answers:
        number = int((answer.at_s - answers[0].at_s) / _MINUTE_S)
        minutes += [[] for _ in range(number + 1 - len(minutes))]
        minutes[number].append(answer)
    return minutes


def growth_mib_per_h(memory: Sequence[tuple[float, dict[str, float]]]) -> float:
    """The slope of what the functions and the broker have together."""
    later = memory[int(len(memory) * _WARMING_UP) :]
    sums = [sum(mib for name, mib in programs.items() if name not in _NOT_COUNTED) for _, programs in later]
    return statistics.linear_regression([at_s / 3600 for at_s, _ in later], sums).slope
