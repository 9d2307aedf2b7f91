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

_K = 1000
_WINDOW = 512
_LOOK_S = 0.5  # ``bin/bench scale`` looks so often whether the run has ended, and sees it half of that too late on average


@dataclass(frozen=True, slots=True)
class Measured:
    """A run with so many processes of `evaluate`; ``cpu_ms`` an item, all of the service's processes.

    ``batch``: items an event, 0: as many as the service makes them. ``look_s``: how often the bench looked for the end.
    """

    items: int
    seconds: float
    cpu_ms: float | None = None
    evaluate: int = 1
    judged: bool = False
    batch: int = 0
    window: int = _WINDOW
    latency_s: float = SIMULATOR_S
    look_s: float = _LOOK_S

    @property
    def name(self) -> str:
        """Such as ``100k``, ``100k_2``, ``1500_window_1600`` or ``4k_judged_1s``."""
        items = str(self.items) if self.items % _K else f"{self.items // _K}k"
        parts = [items, "judged" if self.judged else "", str(self.evaluate) if self.evaluate > 1 else ""]
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
    def cpu_error(self) -> float | None:
        """Of the CPU, where it was measured."""
        return self.cpu_ms / self.measured.cpu_ms - 1 if self.measured.cpu_ms else None


def _events(items: int, per_s: float, cpu_ms: float, *, batch: int, judged: bool = False) -> Measured:
    """A run of ``bin/bench events``: its window, its judge's latency, and how often it looks."""
    latency_s = 0.01 if judged else SIMULATOR_S
    return Measured(items, items / per_s, cpu_ms, judged=judged, batch=batch, window=1600, latency_s=latency_s, look_s=0.2)


# ``bin/bench scale --items 1000,10000,100000 --evaluate 1,2 --model-items 2000``, without the 1,000, which are mostly start;
# and ``bin/bench events --rounds 3``: commit 41e2a3e, two cores that did nothing else. The judge that takes a second: the same
# system, commits a44195a (window 512) and e813f34, once each.
KNOWN = (
    Measured(10_000, 2.14, 0.288),
    Measured(100_000, 17.15, 0.277),
    Measured(100_000, 16.77, 0.306, evaluate=2),
    Measured(2_000, 2.07, 1.065, judged=True),
    Measured(4_000, 10.72, judged=True, latency_s=1.0),
    Measured(10_000, 11.74, judged=True, window=2048, latency_s=1.0),
    _events(1_500, 463, 3.440, batch=1),
    _events(5_000, 3_141, 0.490, batch=10),
    _events(10_000, 6_270, 0.239, batch=50),
    _events(600, 320, 4.900, batch=1, judged=True),
    _events(1_500, 1_134, 1.133, batch=10, judged=True),
    _events(2_000, 1_572, 0.780, batch=50, judged=True),
)


def compare(measured: Measured, constants: Constants) -> Compared:
    """The same run in the model."""
    found = simulate(_same(measured), constants)
    cpu_ms = 1000 * sum(found.cpu_s.values()) / measured.items
    return Compared(measured, found.wall_s + measured.look_s / 2, cpu_ms, found.system.event_items)


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
        cpu_ms = figures["model_cpu_ms_per_item"] - figures.get("model_cpu_ms_per_item_simulator", 0.0)
        found.append(Measured(judged, seconds, cpu_ms, judged=True))
    return found
