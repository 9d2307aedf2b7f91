"""Testing scenarios: loads and failures that an installation meets, each with criteria that it passes or fails.

Each starts the local runtime anew: a store, a broker, one process of each function, and the simulator for a provider. All of
it, the load generator included, is limited to two CPUs; the memory of everything but the load generator is watched against
2 GiB, and a scenario that needs more fails. Where the machine can, the limits are better set from outside, for example with
``systemd-run --scope -p CPUQuota=200% -p MemoryMax=2G bin/bench scenarios``.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from bench.rig.table import show
from bench.scenarios import brownout, burst, cold, redis_restart, smoke, soak, steady, storm
from bench.scenarios.stage import MEMORY_MIB, OverdueError, Seen

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

SCENARIOS: dict[str, Callable[[], Seen]] = {
    "smoke": smoke.play,
    "steady": steady.play,
    "burst": burst.play,
    "cold": cold.play,
    "brownout": brownout.play,
    "redis_restart": redis_restart.play,
    "storm": storm.play,
}
_CPUS = 2
_SOAK = "soak"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    names = (*SCENARIOS, _SOAK)
    parser.add_argument("--only", type=_names, default=names, metavar="NAME,...", help=f"of {', '.join(names)}")
    parser.add_argument("--soak-minutes", type=float, default=15.0, help="length of the soak (default 15)")


def run(*, rounds: int, only: Sequence[str], soak_minutes: float) -> dict[str, float]:
    """Figures ``scenario_<name>_ok`` (1 or 0), and those of each scenario with its name before them."""
    del rounds  # a criterion is met or not
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CPUS])
    figures: dict[str, float] = {}
    for name in only:
        play = SCENARIOS.get(name) or (lambda: soak.play(soak_minutes))
        began_s, load = time.monotonic(), os.getloadavg()[0]
        try:
            seen = play()
        except OverdueError as error:
            seen = Seen({}, {str(error): False})
        print(f"{name}: {time.monotonic() - began_s:.0f} s, load average before {load:.1f}", flush=True)
        figures |= _figures(name, seen)
    show(["figure", "value"], list(figures.items()))
    return figures


def _figures(name: str, seen: Seen) -> dict[str, float]:
    criteria = {**seen.criteria, "it stays within 2 GiB": seen.figures.get("rss_max_mib", 0) <= MEMORY_MIB}
    for criterion, is_met in criteria.items():
        print(f"  {'ok  ' if is_met else 'FAIL'} {criterion}", flush=True)
    return {
        f"scenario_{name}_ok": float(all(criteria.values())),
        **{f"{name}_{figure}": value for figure, value in seen.figures.items()},
    }


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - {*SCENARIOS, _SOAK}:
        raise ValueError(unknown)
    return names
