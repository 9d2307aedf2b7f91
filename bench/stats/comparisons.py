"""Two runs that are alike, or not by much: what the tests, the corrections and the gate say of them."""

from __future__ import annotations

import numpy as np

from bench.rig.table import show
from common.stats.decisions import items_needed, not_worse
from common.stats.multiple import benjamini_hochberg, holm
from common.stats.paired import difference, mcnemar, wilcoxon

_FAMILY = 20  # graders or slices
_REAL = 5  # of them with a real difference, where there are any
_ITEMS = 60
_LEVEL = 0.05
_MARGIN = 0.05


def simulate(runs: int) -> dict[str, float]:
    """Figures ``familywise_error_…``, ``false_discovery_…``, ``false_alarm_<test>``, ``not_worse_…``."""
    figures = _families(runs // 5) | _pairs(runs) | _gate(runs)
    print(f"comparisons of two runs; families of {_FAMILY} on {_ITEMS} items ({runs // 5} of them), else {runs} comparisons")
    show(["", ""], [[name, f"{100 * value:.2f} %"] for name, value in figures.items()])
    return figures


def _families(runs: int) -> dict[str, float]:
    """Nothing differs: how often anything is found. Five of twenty differ: what share of the findings is false."""
    rng = np.random.default_rng(1)
    found = {"raw": 0, "holm": 0, "benjamini_hochberg": 0}
    false_shares = {"raw": 0.0, "holm": 0.0, "benjamini_hochberg": 0.0}
    for _ in range(runs):
        for name, ps in _adjusted(_p_values(rng, real=0)).items():
            found[name] += min(ps) <= _LEVEL
        for name, ps in _adjusted(_p_values(rng, real=_REAL)).items():
            claims = [p <= _LEVEL for p in ps]
            false_shares[name] += sum(claims[_REAL:]) / max(1, sum(claims))
    figures = {f"familywise_error_{name}": count / runs for name, count in found.items() if name != "benjamini_hochberg"}
    return figures | {f"false_discovery_{name}": share / runs for name, share in false_shares.items()}


def _p_values(rng: np.random.Generator, *, real: int) -> list[float]:
    """Graders of one run look at the same items, so that their differences hang together."""
    shared = rng.normal(0, 0.5, _ITEMS)
    gains = [0.5 if index < real else 0.0 for index in range(_FAMILY)]
    return [difference(np.zeros(_ITEMS), gain + shared + rng.normal(0, 1, _ITEMS)).p or 0.0 for gain in gains]


def _adjusted(ps: list[float]) -> dict[str, list[float]]:
    return {"raw": ps, "holm": holm(ps), "benjamini_hochberg": benjamini_hochberg(ps)}


def _pairs(runs: int) -> dict[str, float]:
    """False alarms of one test each, for passes and fails of two runs that are equally good."""
    rng = np.random.default_rng(2)
    found = {"t": 0, "mcnemar": 0, "mcnemar_mid_p": 0, "wilcoxon": 0}
    for _ in range(runs):
        b = rng.choice([-1.0, 0.0, 1.0], _ITEMS, p=[0.15, 0.7, 0.15])
        lost, won = int(np.sum(b < 0)), int(np.sum(b > 0))
        p = difference(np.zeros(_ITEMS), b).p
        found["t"] += p is not None and p <= _LEVEL
        found["mcnemar"] += mcnemar(lost, won) <= _LEVEL
        found["mcnemar_mid_p"] += mcnemar(lost, won, mid_p=True) <= _LEVEL
        found["wilcoxon"] += wilcoxon(b) <= _LEVEL
    return {f"false_alarm_{name}": count / runs for name, count in found.items()}


def _gate(runs: int) -> dict[str, float]:
    """How often a loss of exactly the margin passes, and an equal run with as many items as were said to be needed."""
    rng = np.random.default_rng(3)
    spread = 0.3**0.5  # of differences of -1, 0 and 1, of which 30 % are not 0
    items = items_needed(_MARGIN, spread, one_sided=True) or 0
    passed = {"not_worse_false_pass": 0, "not_worse_power": 0}
    for name, loss in (("not_worse_false_pass", _MARGIN), ("not_worse_power", 0.0)):
        for _ in range(runs):
            b = rng.choice([-1.0, 0.0, 1.0], items, p=[0.15 + loss / 2, 0.7, 0.15 - loss / 2])
            passed[name] += not_worse(difference(np.zeros(items), b), _MARGIN)
    return {name: count / runs for name, count in passed.items()}
