"""A run on a cluster, as stations that its waves go through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.capacity.waves import Round, going_round

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.capacity.constants import Constants
    from common.store.datasets import Dataset

_HELD = 4  # quarters of the window that are under way: `fold.lua` asks for more when one of them is free


@dataclass(frozen=True, slots=True)
class Pods:
    """How a function's pods are added: requests that one takes, what is aimed at, the most and the fewest there may be."""

    holds: int
    target: float
    most: int
    least: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run and the cluster that it goes over; ``key`` is what its figures are called by.

    ``calls`` are model calls an item, each of ``latency_s``, of which the provider allows ``rpm`` a minute (0: any number).
    ``window`` and ``batch`` are ``KNUDGE_RUN_WINDOW`` and ``KNUDGE_RUN_BATCH`` (0: left to the service), ``row_bytes`` a row of
    the data. ``runs`` of one project share the items evenly and go at once. ``redis_nodes`` 1 is one server for all; with
    more, the runs and the gateway have a node each. ``cores`` 0 is a cluster with room for every pod, else one machine with
    so many for everything.
    """

    key: str
    name: str
    items: int
    calls: int = 0
    latency_s: float = 1.0
    rpm: float = 0
    window: int = 512
    batch: int = 0
    row_bytes: int = 130
    runs: int = 1
    evaluate: Pods = Pods(100, 28, 50)
    aggregate: Pods = Pods(32, 22.4, 10, 1)
    broker_cores: float = 8
    redis_nodes: int = 1
    cores: int = 0


@dataclass(frozen=True)
class System:
    """A scenario in its steady state, with so many pods."""

    scenario: Scenario
    constants: Constants
    evaluate_pods: int
    aggregate_pods: int

    @cached_property
    def _data(self) -> Dataset:
        """Of one of the runs."""
        from common.store.datasets import Dataset

        lines = -(-self.scenario.items // self.scenario.runs)
        return Dataset("", lines, lines * self.scenario.row_bytes)

    @cached_property
    def _share(self) -> int:
        """A run's part of the window, by the service's own rules."""
        from functions.tasks.runs.starting import window_items

        return max(1, window_items(self._data, at_most=self.scenario.window) // self.scenario.runs)

    @cached_property
    def wave_items(self) -> int:
        """Items of a wave: a quarter of what a run may have under way, or what there is."""
        return max(1, min(self._data.lines, self._share // _HELD))

    @cached_property
    def _waves(self) -> int:
        """Of a run."""
        return min(_HELD, -(-self._data.lines // self.wave_items))

    @cached_property
    def event_items(self) -> int:
        """Items of an event, by the service's own rules."""
        from common.schemas.runs import RunPlan, Target
        from functions.tasks.runs.shares import batch_size
        from functions.tasks.runs.starting import batch_items

        rule: dict[str, Any] = {
            "batch_items": batch_items(self._data, wanted=self.scenario.batch),
            "graders": [],
            "target": Target(model="model") if self.scenario.calls else None,
        }
        return batch_size(RunPlan.model_construct(**rule), self.wave_items, window=self._share)

    @cached_property
    def wave_events(self) -> int:
        """Events of a wave."""
        return -(-self.wave_items // self.event_items)

    def of_wave(self, name: str) -> float:
        """A cost of a wave: a field of `Constants`."""
        items = self.wave_items
        calls = items * self.scenario.calls
        return float(getattr(self.constants, name).of(items=items, events=self.wave_events, waves=1, calls=calls))

    @cached_property
    def parts(self) -> int:
        """What a wave falls into: what one pod of `evaluate` has of it moves on together."""
        return min(self.evaluate_pods, self.wave_events)

    @cached_property
    def demands_s(self) -> dict[str, float]:
        """How long a part keeps each station from the others. What belongs to one run is there once for each run."""
        run = self.scenario
        of_wave = {
            "tasks": self.of_wave("tasks_ms") / run.runs,
            "evaluate": self.of_wave("evaluate_ms") / self.parts,
            "aggregate": self.of_wave("aggregate_ms") / min(self.aggregate_pods, self.wave_events),
            **self._redis_ms(),
            "broker": self.of_wave("local_broker_ms") if run.cores else self.of_wave("knative_ms") / run.broker_cores,
        }
        demands = {name: ms / 1000 / self.parts for name, ms in of_wave.items()}
        if run.rpm and run.calls:
            demands["model's limit"] = self.wave_items * run.calls * 60 / (run.rpm * self.constants.pace) / self.parts
        return demands

    def _redis_ms(self) -> dict[str, float]:
        of_runs, of_gateway = self.of_wave("redis_ms"), self.of_wave("gateway_ms")
        nodes = self.scenario.redis_nodes
        if nodes == 1:
            return {"redis": of_runs + of_gateway}
        gateway = {"redis: gateway": of_gateway} if of_gateway else {}
        return {"redis: run": of_runs / min(self.scenario.runs, nodes - bool(of_gateway)), **gateway}

    @cached_property
    def delay_s(self) -> float:
        """What a part waits for besides: hops, its own pod's work beside other pods', and the model.

        The model as often as the pods cannot hold all events. A station of many servers is taken for a fast one and a delay:
        A. Seidmann, P. J. Schweitzer, S. Shalev-Oren, Computerized Closed Queueing Network Models of Flexible Manufacturing
        Systems, Large Scale Systems 12 (1987).
        """
        run = self.scenario
        turns = max(1.0, run.runs * self._waves * self.wave_events / (self.evaluate_pods * run.evaluate.holds))
        beside_s = self.demands_s["evaluate"] * (self.parts - 1)
        return self.constants.hops_ms / 1000 + beside_s + (run.latency_s * turns if run.calls else 0.0)

    @cached_property
    def cpu_s(self) -> dict[str, float]:
        """CPU of a wave by who spends it."""
        broker = "local_broker_ms" if self.scenario.cores else "knative_ms"
        names = {"tasks": "tasks_ms", "evaluate": "evaluate_ms", "aggregate": "aggregate_ms", "broker": broker}
        spent = {name: self.of_wave(field) / 1000 for name, field in names.items()}
        return {**spent, "redis": (self.of_wave("redis_ms") + self.of_wave("gateway_ms")) / 1000}

    @property
    def _cores(self) -> float:
        """What a run gets of one machine's."""
        return self.scenario.cores * self.constants.cores_used

    @cached_property
    def round(self) -> Round:
        """How the parts go round. One machine's cores bound them, too."""
        return self._round(self.demands_s)

    def _round(self, demands_s: Mapping[str, float], *, cores: float = 1.0) -> Round:
        found = going_round(demands_s, self.delay_s, self.scenario.runs * self._waves * self.parts)
        if self.scenario.cores:
            most = cores * self._cores * self.parts / sum(self.cpu_s.values())
            found = replace(found, per_s=min(found.per_s, most))
        return found

    @property
    def items_per_s(self) -> float:
        """Results a second."""
        return self.round.per_s * self.wave_items / self.parts

    def utilisation(self) -> dict[str, float]:
        """Share of the time that each station is busy."""
        busy = {name: self.round.per_s * demand for name, demand in self.demands_s.items()}
        if self.scenario.cores:
            busy["cores"] = self.round.per_s * sum(self.cpu_s.values()) / self.parts / self._cores
        return busy

    def requests_at(self, function: str) -> float:
        """Events that are in the pods of `evaluate` or `aggregate` on average, by Little's law."""
        at = self.round.residence_s
        stay_s = at[function]
        if function == "evaluate":
            stay_s += self.delay_s + at.get("model's limit", 0.0) + at.get("redis: gateway", 0.0)
        return self.round.per_s * stay_s * self.wave_events / self.parts

    def requests_first(self, function: str) -> float:
        """Events that wait for a function's first pod."""
        return self.scenario.runs * self._share / self.event_items if function == "evaluate" else 0.0

    @property
    def first_s(self) -> float:
        """How much later the first part is there than at the pace at which the others follow it."""
        return max(0.0, self.delay_s + sum(self.demands_s.values()) - 1 / self.round.per_s)

    def bottleneck(self) -> tuple[str, float]:
        """Whose doubling brings most, and how much more a second that is (0.5: half as much again).

        The window counts among them: twice as large, each wave carries twice as much through the same delays.
        """
        gains = {name: self._gain({**self.demands_s, name: at / 2}) for name, at in self.demands_s.items()}
        if self.scenario.cores:
            gains["cores"] = self._round(self.demands_s, cores=2).per_s / self.round.per_s - 1
        twice = replace(self.scenario, window=2 * self.scenario.window)
        wider = replace(self, scenario=twice)
        gains["window"] = wider.items_per_s / self.items_per_s - 1
        return max(gains.items(), key=lambda gain: gain[1])

    def _gain(self, demands_s: Mapping[str, float]) -> float:
        return self._round(demands_s).per_s / self.round.per_s - 1
