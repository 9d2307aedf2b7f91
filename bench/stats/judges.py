"""A judge that errs: its pass rate as it is, and corrected by a labelled subset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.rig.table import show
from common.stats.corrected import Labelled, rogan_gladen
from common.stats.intervals import wilson

_ITEMS = 1_000


@dataclass(frozen=True, slots=True)
class Case:
    """The truth: the share that people would pass, and how the judge sees passes and fails."""

    name: str
    rate: float
    sensitivity: float
    specificity: float
    labelled: int


_CASES = (
    Case("lenient", 0.7, 0.95, 0.7, 200),
    Case("strict", 0.7, 0.75, 0.95, 200),
    Case("good", 0.9, 0.95, 0.9, 200),
    Case("few_labels", 0.7, 0.95, 0.7, 50),
)


def simulate(runs: int) -> dict[str, float]:
    """Figures ``judge_bias_raw_<case>`` (mean error of the pass rate), ``judge_bias_corrected_…``, ``judge_coverage_…``."""
    print(f"pass rate by a judge over {_ITEMS} items, {runs} runs; error is the mean one, in points; 95 % intervals")
    figures: dict[str, float] = {}
    rows = []
    for case in _CASES:
        found = _runs(case, runs)
        figures |= {f"judge_{name}_{case.name}": value for name, value in found.items()}
        rows.append([case.name, *(f"{100 * value:.1f}" for value in found.values())])
    show(["judge", "error", "corrected", "coverage", "corrected", "not estimated"], rows)
    return figures


def _runs(case: Case, runs: int) -> dict[str, float]:
    rng = np.random.default_rng(4)
    raw, corrected, raw_held, held = [], [], [], []
    for _ in range(runs):
        good = rng.random(_ITEMS) < case.rate
        passed = rng.random(_ITEMS) < np.where(good, case.sensitivity, 1 - case.specificity)
        total = int(passed.sum())
        found = rogan_gladen(total, _ITEMS, labelled=_labelled(good[: case.labelled], passed[: case.labelled]))
        raw.append(total / _ITEMS - case.rate)
        raw_held.append(_holds(wilson(total, _ITEMS), case.rate))
        if found.rate is not None:
            corrected.append(found.rate - case.rate)
            held.append(_holds(found.interval, case.rate))
    return {
        "bias_raw": float(np.mean(raw)),
        "bias_corrected": float(np.mean(corrected)),
        "coverage_raw": float(np.mean(raw_held)),
        "coverage_corrected": float(np.mean(held)),
        "not_estimated": 1 - len(corrected) / runs,
    }


def _labelled(good: np.ndarray, passed: np.ndarray) -> Labelled:
    return Labelled(
        both_pass=int(np.sum(good & passed)),
        only_human_passes=int(np.sum(good & ~passed)),
        only_judge_passes=int(np.sum(~good & passed)),
        both_fail=int(np.sum(~good & ~passed)),
    )


def _holds(interval: tuple[float, float] | None, rate: float) -> bool:
    return interval is not None and interval[0] <= rate <= interval[1]
