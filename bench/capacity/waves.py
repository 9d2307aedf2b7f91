"""How fast waves of events go round, and what holds them up: mean value analysis of a closed network.

A run never has more than its window under way. `fold` asks for more when a quarter of it is free, `issue` then sends out that
quarter: so a run is four waves that go round, each through every station. Wherever two meet, one waits for the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Round:
    """``per_s``: waves a second. ``residence_s``: how long one is at each station, its waiting included, by name."""

    per_s: float
    residence_s: dict[str, float]


def going_round(demands_s: Mapping[str, float], delay_s: float, waves: int) -> Round:
    """The exact solution for `waves` that are all alike.

    Args:
        demands_s: How long a wave that is alone needs each station, which serves one wave at a time.
        delay_s: What it waits for besides, whoever else is there: the network, the model's latency.
        waves: How many go round; 0 gives no throughput.

    Source: M. Reiser, S. S. Lavenberg, Mean-Value Analysis of Closed Multichain Queuing Networks, J. ACM 27(2), 1980,
    https://doi.org/10.1145/322186.322195, for one chain. By Little's law ``per_s * (delay_s + sum(residence_s)) == waves``.
    """
    queues = dict.fromkeys(demands_s, 0.0)
    found = Round(0.0, dict(demands_s))
    for number in range(1, waves + 1):
        residence = {name: demand * (1 + queues[name]) for name, demand in demands_s.items()}
        total = delay_s + sum(residence.values())
        found = Round(number / total, residence)
        queues = {name: found.per_s * at for name, at in residence.items()}
    return found
