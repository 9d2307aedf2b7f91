"""The tables of the model of a cluster (`bench.capacity`), for its page."""

from __future__ import annotations

from docs.tables import code, table


def capacity_runs() -> str:
    """What runs take."""
    from bench.capacity.constants import Constants
    from bench.capacity.scenarios import scenarios
    from bench.capacity.simulation import simulate
    from bench.capacity.text import outcomes, utilisations

    found = [simulate(scenario, Constants()) for scenario in scenarios()]
    return "\n\n".join(table(header, rows) for header, rows in (outcomes(found), utilisations(found)))


def capacity_moves() -> str:
    """What moves each bottleneck."""
    from bench.capacity.scenarios import MOVES

    return table(["bottleneck", "what moves it"], list(MOVES.items()))


def capacity_constants() -> str:
    """What the model is told."""
    from bench.capacity.constants import Constants

    return table(["constant", "value", "what it is", "from"], [(code(name), *rest) for name, *rest in Constants().table()])


def capacity_check() -> str:
    """The model beside what was measured."""
    from bench.capacity.check import KNOWN, compare
    from bench.capacity.constants import Constants
    from bench.capacity.text import checks

    return table(*checks([compare(each, Constants()) for each in KNOWN]))
