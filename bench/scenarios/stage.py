"""What every scenario stands on: the local runtime, somebody who watches it, and what was seen in the end."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench.chaos.system import running
from bench.rig.arrivals import begin
from bench.rig.processes import pss_mib

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator, Mapping

    from bench.chaos.system import System
    from bench.rig.arrivals import Arrivals, Underway
    from local.programs import Program

MEMORY_MIB = 2048
_LOOK_EVERY_S = 1.0
_ONE_OF_EACH: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Seen:
    """Figures by name, and each criterion with whether it was met."""

    figures: Mapping[str, float]
    criteria: Mapping[str, bool]


class OverdueError(RuntimeError):
    """Something that a scenario waits for did not come."""


@dataclass
class Stage:
    """A running system. ``memory`` has a look a second: when, on the monotonic clock, and MiB by program.

    Nothing here is a thread: who started the load asks `watch` to wait for its end, which also starts killed programs again.
    """

    system: System
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    def url(self, function: str, path: str = "/") -> str:
        """Where a function answers."""
        return f"{self.system.url(function)}{path}"

    def program(self, name: str) -> Program:
        """How a program is started."""
        return next(program for program in self.system.supervisor.programs if program.name == name)

    def begin(self, wanted: Arrivals) -> Underway:
        """Start sending requests."""
        return begin(wanted, self.system.settings.data_dir)

    def watch(self, until: Callable[[], bool], *, limit_s: float) -> None:
        """Return when `until` is true. Raises `OverdueError` after ``limit_s``, `SystemExit` when asked to stop."""
        overdue_s = time.monotonic() + limit_s

        def is_over() -> bool:
            self.look()
            if time.monotonic() > overdue_s:
                raise OverdueError(f"not over after {limit_s:.0f} s")
            return until()

        self.system.supervisor.watch(until=is_over)
        if self.system.supervisor.asked_to_stop():
            raise SystemExit(1)

    def wait(self, seconds: float) -> None:
        """Watch for so long."""
        over_s = time.monotonic() + seconds
        self.watch(lambda: time.monotonic() >= over_s, limit_s=seconds + 60)

    def look(self) -> None:
        """Note how much memory each program has, unless that was noted just now."""
        now_s = time.monotonic()
        if not self.memory or now_s - self.memory[-1][0] >= _LOOK_EVERY_S:
            self.memory.append((now_s, {child.name: pss_mib(child.process.pid) for child in self.system.supervisor.children}))

    def memory_max_mib(self) -> float:
        """The most that all programs had together."""
        self.look()
        return max(sum(programs.values()) for _, programs in self.memory)

    def kill(self, name: str, number: signal.Signals) -> None:
        """Signal a program's whole group. It is started again by `watch`."""
        os.killpg(self.system.supervisor.child(name).process.pid, number)


@contextmanager
def stage(*, provider: Mapping[str, float], **options: Any) -> Iterator[Stage]:
    """The local runtime, one process of each function; `options` as `bench.chaos.system.running` has them."""
    with running(provider=provider, **{"scale": _ONE_OF_EACH, **options}) as system:
        yield Stage(system)
