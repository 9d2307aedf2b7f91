"""The model against what was measured on one machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.capacity.scenarios import local
from bench.capacity.simulation import simulate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.capacity.constants import Constants
    from bench.capacity.system import Scenario

_LOOK_S = 0.25  # ``bin/bench scale`` sees the end so much too late on average


@dataclass(frozen=True, slots=True)
class Measured:
    """A run of ``bin/bench scale`` with so many processes of `evaluate`; ``cpu_ms`` an item, all processes."""

    items: int
    seconds: float
    cpu_ms: float
    evaluate: int = 1
    judged: bool = False

    @property
    def name(self) -> str:
        """Such as ``100k``, ``100k_2`` or ``2k_judged``."""
        return f"{self.items // 1000}k" + ("_judged" if self.judged else f"_{self.evaluate}" if self.evaluate > 1 else "")


@dataclass(frozen=True, slots=True)
class Compared:
    """What the model says of a measured run."""

    measured: Measured
    seconds: float
    cpu_ms: float

    @property
    def error(self) -> float:
        """Of the time, relative: 0.1 is a tenth too long."""
        return self.seconds / self.measured.seconds - 1

    @property
    def cpu_error(self) -> float:
        """Of the CPU."""
        return self.cpu_ms / self.measured.cpu_ms - 1


# docs/benchmarks.md, Scale, commit fda8dfe; 10,000 items at commit 47e902f, load average 1.2.
KNOWN = (
    Measured(10_000, 3.19, 0.36),
    Measured(100_000, 25.5, 0.34),
    Measured(100_000, 21.3, 0.34, evaluate=2),
    Measured(2_000, 2.61, 1.28, judged=True),
)


def compare(measured: Measured, constants: Constants) -> Compared:
    """The same run in the model."""
    found = simulate(_same(measured), constants)
    return Compared(measured, found.wall_s + _LOOK_S, 1000 * sum(found.cpu_s.values()) / measured.items)


def _same(measured: Measured) -> Scenario:
    return local("", "", measured.items, evaluate=measured.evaluate, judged=measured.judged)


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
