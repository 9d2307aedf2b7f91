"""The model against what was measured on one machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.capacity.scenarios import SIMULATOR_S, local
from bench.capacity.simulation import simulate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.capacity.constants import Constants
    from bench.capacity.system import Scenario

_WINDOW = 512
_LOOK_S = 0.25  # ``bin/bench scale`` sees the end so much too late on average


@dataclass(frozen=True, slots=True)
class Measured:
    """A run of ``bin/bench scale`` with so many processes of `evaluate`; ``cpu_ms`` an item, all processes.

    ``batch``: items an event, 0: as many as the service makes them now.
    """

    items: int
    seconds: float
    cpu_ms: float
    evaluate: int = 1
    judged: bool = False
    batch: int = 0
    window: int = _WINDOW
    latency_s: float = SIMULATOR_S

    @property
    def name(self) -> str:
        """Such as ``100k``, ``100k_2``, ``20k_window_2048`` or ``5k_judged_1s``."""
        parts = [f"{self.items // 1000}k", "judged" if self.judged else "", str(self.evaluate) if self.evaluate > 1 else ""]
        parts += [f"{self.latency_s:g}s" if self.latency_s != SIMULATOR_S else ""]
        parts += [f"window_{self.window}" if self.window != _WINDOW else ""]
        return "_".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Compared:
    """What the model says of a measured run."""

    measured: Measured
    seconds: float
    cpu_ms: float
    event_items: int

    @property
    def error(self) -> float:
        """Of the time, relative: 0.1 is a tenth too long."""
        return self.seconds / self.measured.seconds - 1

    @property
    def cpu_error(self) -> float:
        """Of the CPU."""
        return self.cpu_ms / self.measured.cpu_ms - 1


# 100,000 items and 2,000 judged ones: docs/benchmarks.md, Scale, commit fda8dfe. The others: commit 47e902f, load averages of
# 1 to 3.
KNOWN = (
    Measured(10_000, 3.19, 0.36, batch=16),
    Measured(100_000, 25.5, 0.34, batch=16),
    Measured(100_000, 21.3, 0.34, evaluate=2, batch=16),
    Measured(6_000, 13.7, 3.82, batch=1),
    Measured(20_000, 4.94, 0.30, window=2048),
    Measured(2_000, 2.61, 1.28, judged=True, batch=16),
    Measured(5_000, 20.6, 1.16, judged=True, latency_s=1.0, batch=22),
    Measured(10_000, 19.8, 1.09, judged=True, latency_s=1.0, window=2048),
)


def compare(measured: Measured, constants: Constants) -> Compared:
    """The same run in the model."""
    found = simulate(_same(measured), constants)
    cpu_ms = 1000 * sum(found.cpu_s.values()) / measured.items
    return Compared(measured, found.wall_s + _LOOK_S, cpu_ms, found.system.event_items)


def _same(measured: Measured) -> Scenario:
    found = local("", "", measured.items, evaluate=measured.evaluate, judged=measured.judged)
    return replace(found, latency_s=measured.latency_s, window=measured.window, batch=measured.batch)


def measured_in(figures: Mapping[str, float]) -> list[Measured]:
    """Runs in what ``bin/bench scale --json`` wrote: the largest stands there under plain names, others under their sizes."""
    items, cpu_ms = round(figures["items_per_s"] * figures["seconds"]), figures["cpu_ms_per_item"]
    sizes = [int(name.removeprefix("seconds_")) for name in figures if name.startswith("seconds_")]
    found = [Measured(size, figures[f"seconds_{size}"], figures[f"cpu_ms_per_item_{size}"]) for size in sizes if size != items]
    found.append(Measured(items, figures["seconds"], cpu_ms))
    if twice := figures.get("items_per_s_evaluate_2"):
        found.append(Measured(items, items / twice, cpu_ms, evaluate=2))
    if seconds := figures.get("model_seconds"):
        judged = round(figures["model_items_per_s"] * seconds)
        found.append(Measured(judged, seconds, figures["model_cpu_ms_per_item"], judged=True))
    return found
