"""Do the statistics keep their word? Simulated runs whose truth is known, seeded, with the functions that serve.

Every figure is a share of simulated runs, unless its name says otherwise; its own standard error is about 0.3 points for
a coverage and 0.25 for an error rate at the default number of rounds.
"""

from __future__ import annotations

import time

from bench.stats import comparisons, coverage, judges, sequential

_RUNS_A_ROUND = 1_000


def run(*, rounds: int) -> dict[str, float]:
    """Figures: ``coverage_<method>_<n>_<p>``, ``sequential_…``, ``judge_…``, ``familywise_…``, ``not_worse_…``, …."""
    runs = rounds * _RUNS_A_ROUND
    figures: dict[str, float] = {}
    for part in (coverage, sequential, comparisons, judges):
        began = time.perf_counter()
        figures |= part.simulate(runs)
        print(f"({time.perf_counter() - began:.0f} s)\n")
    return figures
