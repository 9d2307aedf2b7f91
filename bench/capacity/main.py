"""A model of a run at cluster scale: time, pods, Redis, events, the first bottleneck and what moves it.

Nothing is measured here. What was, stands in `bench.capacity.constants`; what the model leaves out, in ``docs/capacity.md``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bench.capacity.check import KNOWN, compare, measured_in
from bench.capacity.constants import Constants, measured
from bench.capacity.scenarios import MOVES, scenarios
from bench.capacity.simulation import simulate
from bench.capacity.text import checks, outcomes, utilisations
from bench.rig.table import show

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from bench.capacity.simulation import Outcome


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    told = "figures of bin/bench events or scale to use instead of the built-in constants; may be repeated"
    parser.add_argument("--constants", type=Path, action="append", default=[], metavar="FILE", help=told)
    parser.add_argument("--check", type=Path, metavar="FILE", help="figures of bin/bench scale to compare the model with")


def run(*, rounds: int, constants: Sequence[Path], check: Path | None) -> dict[str, float]:
    """Figures ``capacity_<scenario>_wall_s``, …, and ``capacity_error_<items>``, relative."""
    del rounds  # it always says the same
    known = Constants()
    for path in constants:
        known = measured(known, _figures(path))
    compared = [compare(each, known) for each in (measured_in(_figures(check)) if check else KNOWN)]
    found = [simulate(scenario, known) for scenario in scenarios()]
    for title, (header, rows) in (("check", checks(compared)), ("runs", outcomes(found)), ("busy", utilisations(found))):
        print(f"\n{title}")
        show(header, rows)
    print("\nwhat moves a bottleneck")
    for name in dict.fromkeys(outcome.system.bottleneck()[0] for outcome in found):
        print(f"  {name}: {MOVES[name]}")
    errors = {f"capacity_error_{each.measured.name}": each.error for each in compared}
    errors |= {f"capacity_cpu_error_{each.measured.name}": error for each in compared if (error := each.cpu_error) is not None}
    return errors | {name: value for outcome in found for name, value in _of(outcome).items()}


def _of(outcome: Outcome) -> dict[str, float]:
    figures = {
        "wall_s": outcome.wall_s,
        "items_per_s": outcome.system.items_per_s,
        "pod_s": sum(outcome.pod_s.values()),
        **{f"pod_s_{name}": seconds for name, seconds in outcome.pod_s.items()},
        "cpu_s": sum(outcome.cpu_s.values()),
        "events": outcome.events,
        "redis_ops": outcome.redis_commands,
        "redis_bytes": outcome.redis_kept_bytes,
        "redis_wire_bytes": outcome.redis_wire_bytes,
        "ends": float(outcome.ends),
    }
    return {f"capacity_{outcome.scenario.key}_{name}": value for name, value in figures.items()}


def _figures(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return found
