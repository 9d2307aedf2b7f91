"""The sequential test under continuous peeking: false alarms, and what it saves."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from bench.rig.table import show
from common.stats.decisions import share_power
from common.stats.sequential import State, ThresholdTest, difference_test

if TYPE_CHECKING:
    from collections.abc import Callable

_ITEMS = 400
_THRESHOLD, _TRUE = 0.8, 0.85
_POWER = 0.8
_MANY = 10  # times the items that a planned sample would take


def simulate(runs: int) -> dict[str, float]:
    """Figures ``sequential_false_alarm…`` (the largest, and by kind of score) and ``sequential_calls_saved``, ``…power``, …."""
    print(f"sequential test, looked at after every item, alpha 5 %; {runs} runs of {_ITEMS} items whose mean is the threshold")
    alarms = {kind: _alarms(test, population, runs) for kind, (test, population) in _at_the_threshold().items()}
    show(["scores", "false alarms"], [[kind, f"{100 * share:.2f} %"] for kind, share in alarms.items()])
    figures = {f"sequential_false_alarm_{kind}": share for kind, share in alarms.items()}
    figures["sequential_false_alarm"] = max(alarms.values())
    return figures | _savings(runs // 2)


def _at_the_threshold() -> dict[str, tuple[ThresholdTest, list[float]]]:
    fifth = _ITEMS // 5
    return {
        "passes": (ThresholdTest(_ITEMS, 0.8), [1.0] * (4 * fifth) + [0.0] * fifth),
        "rare_fails": (ThresholdTest(_ITEMS, 0.98), [1.0] * 392 + [0.0] * 8),
        "grades": (ThresholdTest(_ITEMS, 3.0, low=1.0, high=5.0), [1.0, 2.0, 3.0, 4.0, 5.0] * fifth),
        "differences": (
            difference_test(_ITEMS, 0.1),
            [-1.0] * (2 * fifth) + [0.0] * (fifth + fifth // 2) + [1.0] * (fifth + fifth // 2),
        ),
    }


def _alarms(test: ThresholdTest, population: list[float], runs: int) -> float:
    rng = random.Random(1)
    return sum(test.update(State(), rng.sample(population, len(population))).decision is not None for _ in range(runs)) / runs


def _savings(runs: int) -> dict[str, float]:
    """A run of as many items as a planned test needs for 80 % power, and a run of ten times as many."""
    planned = next(n for n in range(10, 10_000) if share_power(_TRUE, _THRESHOLD, n) >= _POWER)
    alike = _runs(planned, runs, lambda rng: rng.random() < _TRUE)
    null = _runs(planned, runs, lambda rng: rng.random() < _THRESHOLD)
    many = _runs(planned * _MANY, runs // 5, lambda rng: rng.random() < _TRUE)
    figures = {
        "sequential_fixed_items": float(planned),
        "sequential_calls_saved": 1 - alike["seen"] / planned,
        "sequential_power": alike["above"],
        "sequential_wrong": alike["wrong"],
        "sequential_calls_saved_without_effect": 1 - null["seen"] / planned,
        "sequential_wrong_without_effect": null["wrong"],
        "sequential_items_of_many_to_fixed": many["seen"] / planned,
        "sequential_power_of_many": many["above"],
    }
    print(
        f"\na run of the {planned} items that give a planned test {_POWER:.0%} power, {_THRESHOLD} against {_TRUE}; {runs} runs"
    )
    show(["", ""], [[name.removeprefix("sequential_"), f"{value:.4g}"] for name, value in figures.items()])
    return figures


def _runs(items: int, runs: int, draw: Callable[[random.Random], bool]) -> dict[str, float]:
    """Mean items seen, and shares of runs decided "above", and decided against the mean of all their items."""
    rng = random.Random(2)
    test = ThresholdTest(items, _THRESHOLD)
    seen = above = wrong = 0
    for _ in range(runs):
        scores = [float(draw(rng)) for _ in range(items)]
        state = test.update(State(), scores)
        seen += state.seen
        above += state.decision == "above"
        over = math.fsum(scores) - items * _THRESHOLD
        wrong += state.decision is not None and (state.decision == "above") != (over > 0)
    return {"seen": seen / runs, "above": above / runs, "wrong": wrong / runs}
