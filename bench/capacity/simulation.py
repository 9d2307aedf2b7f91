"""A run from its creation to its last result: pods are added as it goes on, in steps of the autoscaler's tick."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.capacity.system import System

if TYPE_CHECKING:
    from bench.capacity.constants import Constants
    from bench.capacity.system import Pods, Scenario

TICK_S = 2.0
PANIC_S = 6.0  # a tenth of the stable window of 60 s: what the autoscaler looks at while it adds pods
STABLE_S = 60.0  # pods are not taken away before
_SETTLED = 4  # ticks without a new pod after which there will be none
_NOTHING = 1e-6  # items: what rounding leaves
FUNCTIONS = ("tasks", "evaluate", "aggregate")


@dataclass(slots=True)
class Scaler:
    """Pods of a function: Knative's autoscaler, simplified. It adds by what was there on average lately, and takes none away.

    Source: https://knative.dev/docs/serving/autoscaling/kpa-specific/.
    """

    pods: Pods
    start_s: float
    ready: int = 0
    _seen: deque[float] = field(default_factory=lambda: deque(maxlen=int(PANIC_S / TICK_S)), init=False)
    _starting: list[tuple[float, int]] = field(default_factory=list, init=False)
    unchanged: int = field(default=0, init=False)

    def tick(self, now_s: float, requests: float) -> None:
        """So many requests are in the pods, or wait for one."""
        self._seen.append(requests)
        wanted = math.ceil(sum(self._seen) / len(self._seen) / self.pods.target - 1e-9)
        wanted = max(1, min(self.pods.most, wanted))
        coming = self.ready + sum(count for _, count in self._starting)
        self.unchanged = 0 if wanted > coming else self.unchanged + 1
        if wanted > coming:
            self._starting.append((now_s + self.start_s, wanted - coming))

    def at(self, now_s: float) -> int:
        """Pods that are ready then."""
        self.ready += sum(count for ready_s, count in self._starting if ready_s <= now_s)
        self._starting = [(ready_s, count) for ready_s, count in self._starting if ready_s > now_s]
        return self.ready


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run takes. ``system`` is its steady state; ``pod_s`` has the minute until pods go.

    ``ends`` False: it is refused.
    """

    scenario: Scenario
    system: System
    wall_s: float
    pod_s: dict[str, float]
    cpu_s: dict[str, float]
    events: float
    redis_commands: float
    redis_wire_bytes: float
    redis_kept_bytes: float
    ends: bool


def simulate(scenario: Scenario, constants: Constants) -> Outcome:
    """The run, tick by tick until no pod is added any more, and the rest at the speed that it has then."""
    start_s = constants.pod_start_s
    scalers = [Scaler(pods, start_s, ready=pods.least) for pods in (scenario.evaluate, scenario.aggregate)]
    pod_s = dict.fromkeys(FUNCTIONS, 0.0)
    now_s, left = scenario.items / constants.rows_per_s, float(scenario.items)
    while True:
        ready = [scaler.at(now_s) for scaler in scalers]
        system = System(scenario, constants, *(max(1, count) for count in ready))
        rate = system.items_per_s if all(ready) else 0.0
        for name, scaler in zip(FUNCTIONS[1:], scalers, strict=True):
            scaler.tick(now_s, system.requests_at(name) if rate else system.requests_first(name))
        step_s = _step_s(settled=all(scaler.unchanged > _SETTLED for scaler in scalers), left=left, rate=rate)
        for name, count in zip(FUNCTIONS, (scenario.runs, *ready), strict=True):
            pod_s[name] += count * step_s
        now_s, left = now_s + step_s, left - rate * step_s
        if left <= _NOTHING:
            break
    if not scenario.cores:
        pod_s |= {name: pod_s[name] + STABLE_S * count for name, count in zip(FUNCTIONS[1:], ready, strict=True)}
    return _outcome(system, now_s + system.first_s, pod_s)


def _step_s(*, settled: bool, left: float, rate: float) -> float:
    rest_s = left / rate if rate else math.inf
    return rest_s if settled else min(TICK_S, rest_s)


def _outcome(system: System, wall_s: float, pod_s: dict[str, float]) -> Outcome:
    run = system.scenario
    waves = run.items / system.wave_items
    kept = system.constants.result_bytes.of(items=run.items, events=0, waves=0, calls=run.items * run.calls)
    return Outcome(
        scenario=run,
        system=system,
        wall_s=wall_s,
        pod_s=pod_s,
        cpu_s={name: cpu * waves for name, cpu in system.cpu_s.items()},
        events=waves * (2 * system.wave_events + 1),
        redis_commands=waves * system.of_wave("commands"),
        redis_wire_bytes=waves * system.of_wave("wire_bytes"),
        redis_kept_bytes=kept + run.items * (run.row_bytes + system.constants.row_extra_bytes),
        ends=-(-run.items // run.runs) <= system.constants.most_items,
    )
