"""Coverage: how often a 95 % interval holds the true share of passes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from bench.rig.table import show
from common.stats.bootstrap import bca
from common.stats.intervals import wilson
from common.stats.means import mean, proportion

if TYPE_CHECKING:
    from collections.abc import Callable

    Interval = tuple[float, float] | None

_SIZES = (10, 30, 100, 1000)
_SHARES = (0.02, 0.5, 0.9)
_CLUSTER = 5  # items
_ALIKE = 0.3  # correlation of the items of a cluster
_FEWEST_CLUSTERS = 20
_RESAMPLES = 2_000


def simulate(runs: int) -> dict[str, float]:
    """Figures ``coverage_<method>_<n>_<p>``."""
    print(f"coverage of 95 % intervals, {runs} runs each; in brackets where the method does not claim it")
    methods: dict[str, Callable[[int, int], Interval]] = {
        "wilson": wilson,
        "t": lambda passed, n: mean(_items(passed, n)).interval,
        "bca": lambda passed, n: bca(_items(passed, n), np.mean, rng=np.random.default_rng(passed), resamples=_RESAMPLES),
    }
    figures: dict[str, float] = {}
    rows = []
    for n in _SIZES:
        for share in _SHARES:
            covered = {name: _independent(method, n, share, runs=runs) for name, method in methods.items()}
            covered |= _clustered(n, share, runs=runs)
            figures |= {f"coverage_{name}_{n}_{share:g}": value for name, value in covered.items()}
            rows.append([f"n {n}, p {share:g}", *(_shown(name, n, share, value) for name, value in covered.items())])
    show(["", "wilson", "t", "bca", "clustered t", "clustered wilson"], rows)
    return figures


def claimed(method: str, n: int, share: float) -> bool:
    """Whether about 95 % is promised there.

    A share of few items moves in steps, so that no interval can hold 95 % at every share: Wilson's does from 100 items and
    one expected item of the rarer outcome on, what is built around a mean from ten of those, and the bootstrap, whose
    ends move in such steps too, from some hundred items. Clustered items count as many as they are worth, in twenty
    clusters at least.
    """
    in_clusters = method.startswith("clustered")
    worth = n / (1 + (_CLUSTER - 1) * _ALIKE) if in_clusters else n
    rarer = round(worth * min(share, 1 - share), 9)
    if in_clusters and n / _CLUSTER < _FEWEST_CLUSTERS:
        return False
    if method.endswith("wilson"):
        return n >= 100 and rarer >= 1  # noqa: PLR2004  # as the docstring says
    return rarer >= 10 and (method != "bca" or n >= 200)  # noqa: PLR2004


def _independent(method: Callable[[int, int], Interval], n: int, share: float, *, runs: int) -> float:
    """By number of passes, as the interval hangs on nothing else: each distinct number is asked for once."""
    passes = np.random.default_rng(n).binomial(n, share, runs)
    held = functools.cache(lambda passed: _holds(method(passed, n), share))
    return float(np.mean([held(int(passed)) for passed in passes]))


def _clustered(n: int, share: float, *, runs: int) -> dict[str, float]:
    """Items in clusters whose own shares differ (beta-binomial, its correlation being `_ALIKE`)."""
    rng = np.random.default_rng(n)
    clusters = np.arange(n) // _CLUSTER
    strength = (1 - _ALIKE) / _ALIKE
    held: dict[str, list[bool]] = {"clustered_t": [], "clustered_wilson": []}
    for _ in range(runs):
        shares = rng.beta(share * strength, (1 - share) * strength, n // _CLUSTER)
        items = (rng.random(n) < shares[clusters]).astype(np.float64)
        held["clustered_t"].append(_holds(mean(items, clusters=clusters).interval, share))
        held["clustered_wilson"].append(_holds(proportion(items, clusters=clusters).interval, share))
    return {name: float(np.mean(holds)) for name, holds in held.items()}


def _items(passed: int, n: int) -> list[float]:
    return [1.0] * passed + [0.0] * (n - passed)


def _holds(interval: Interval, share: float) -> bool:
    return interval is not None and interval[0] - 1e-12 <= share <= interval[1] + 1e-12


def _shown(method: str, n: int, share: float, value: float) -> str:
    text = f"{100 * value:.1f} %"
    return text if claimed(method, n, share) else f"({text})"
